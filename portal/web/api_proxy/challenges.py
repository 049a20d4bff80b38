"""Reads `WWW-Authenticate` of an API (RFC 9110 11.6.1). No I/O; linear in its input (THREATS D1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

LONGEST = 8_192
"""Characters of all challenges of a response; longer ones are not read."""
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # noqa: S105 - RFC 9110 5.6.2
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_PARAMETER = re.compile(
    rf"(?:(?P<scheme>{_TOKEN}) ++)?(?P<name>{_TOKEN})[\t ]*+=[\t ]*+(?P<value>{_TOKEN}|{_QUOTED})"
)
"""An auth-param, after the scheme when it is the first of a challenge."""
_BARE = re.compile(rf"(?P<scheme>{_TOKEN})(?: ++[A-Za-z0-9\-._~+/]++=*+)?")
"""A challenge without parameters, or with token68."""
_BETWEEN = re.compile(r"[\t ]*+(?:,[\t ,]*+|\Z)")
_START = re.compile(r"[\t ,]*+")
_ESCAPE = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """One challenge; scheme and names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class ChallengesMalformed(ValueError):
    """A field value does not follow the grammar, repeats a parameter, or is too long."""


def read_challenges(headers: Iterable[tuple[str, str]]) -> list[Challenge]:
    """Read the challenges among the headers of a response, in order.

    Raises: ChallengesMalformed.
    """
    values = [value for name, value in headers if name.lower() == "www-authenticate"]
    if sum(map(len, values)) > LONGEST:
        raise ChallengesMalformed("the challenges are too long")
    return [challenge for value in values for challenge in _challenges(value)]


def _challenges(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] | None = None
    for scheme, name, value in _elements(text):
        if scheme is not None:
            parameters = {}
            found.append(Challenge(scheme.lower(), parameters))
        if name is None:
            continue
        if parameters is None or name.lower() in parameters:
            raise ChallengesMalformed("a parameter is repeated, or belongs to no challenge")
        parameters[name.lower()] = value
    return found


def _elements(text: str) -> Iterator[tuple[str | None, str | None, str]]:
    """The parts between commas: a scheme, or None within a challenge; a name, or None; its value."""
    position = _end(_START.match(text))
    while position < len(text):
        found = _PARAMETER.match(text, position)
        if found is not None and (between := _BETWEEN.match(text, found.end())):
            yield found["scheme"], found["name"], _value(found["value"])
        else:
            found = _BARE.match(text, position)
            between = _BETWEEN.match(text, _end(found))
            yield found["scheme"] if found else None, None, ""
        position = _end(between)


def _value(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _end(found: re.Match[str] | None) -> int:
    if found is None:
        raise ChallengesMalformed("the challenges do not follow the grammar")
    return found.end()
