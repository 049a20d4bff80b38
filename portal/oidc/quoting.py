"""What a provider sent, as messages of errors show it: bounded, cleaned, beside what was expected.

Rule: an error in portal/oidc that compares two values names both in its detail, with `mismatch` or `quoted`.
A token, code, secret, nonce or state is given to neither; `hiding` takes out one that a provider puts where
it does not belong. tests/unit/oidc/test_messages.py reads every raise statement and fails for one without.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from portal.display_text import display_text
from portal.errors import PortalError
from portal.secret import Secret

LONGEST = 120
"""Characters of one value in a message."""
_MOST = 8
"""Values of one list in a message."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+._:/-]*")
_WORDS_OF_OURS = frozenset({"missing", "true", "false", "none", "an object"})
_PERHAPS_A_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*")
_PERCENT_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_LATEST_TIME = 1e11
_STEM = 12
"""Characters by which a secret is recognised when the rest of it was cut off."""


def quoted(value: object) -> str:
    """A value out of JSON or a form, for a message. Quotes show where a text begins and ends if it is odd."""
    match value:
        case None:
            return "missing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)[:LONGEST]
        case str():
            return _quoted_text(value)
        case list() | tuple():
            return listed(value)
    return "an object"


def listed(values: Collection[object]) -> str:
    """Values one after the other; `none` when there are none."""
    shown = [quoted(value) if not isinstance(value, list) else "a list" for value in list(values)[:_MOST]]
    more = len(values) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown) or "none"


def mismatch(name: str, received: object, *expected: object) -> str:
    """`name is X; expected Y`, and whether X is Y with its URL encoding left on."""
    odd = ""
    if isinstance(received, str) and "%" in received and unquote(received[: 4 * LONGEST]) in expected:
        odd = ", which is URL-encoded twice"
    return f"{name} is {quoted(received)}{odd}; expected {' or '.join(map(quoted, expected))}"


def perhaps_encoded_twice(name: str, value: Secret) -> str:
    """A remark on a secret value that was refused; empty when nothing is odd about it."""
    if _PERCENT_ENCODED.search(value.reveal()):
        return f"; the {name} has percent-encoding in it, as if the provider URL-encoded it twice"
    return ""


def length_of(name: str, value: object, limit: int, unit: str = "characters") -> str:
    """What is wrong with the length of a text, or its kind when it is none."""
    if isinstance(value, str | bytes):
        return f"{name} has {len(value)} {unit}; expected 1 to {limit}"
    return f"{name} is {kind_of(value)}; expected 1 to {limit} {unit}"


def kind_of(value: object) -> str:
    """What a value out of JSON is, for a message that must not show the value."""
    match value:
        case None:
            return "missing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return f"a text of {len(value)} characters"
        case list():
            return "a list"
    return "an object"


def address(url: str) -> str:
    """A URL without what may be secret in it: no user name, query or fragment."""
    parts = urlsplit(url)
    return quoted(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def utc(seconds: float) -> str:
    """A time in seconds since the epoch, as people read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(value: object) -> str:
    """A claim that should be a time, for a message."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_TIME:
        return quoted(value)
    return utc(value)


@contextlib.contextmanager
def hiding(*secrets: Secret | str | None) -> Iterator[None]:
    """Take these out of the detail of an error that is raised within."""
    try:
        yield
    except PortalError as error:
        error.detail = without_stems(_revealed(secrets), error.detail)
        error.args = (error.detail,)
        raise


def without_stems(secrets: Iterable[str], text: str) -> str:
    """A message without these secrets, also where one was cut; what follows in the same quotes goes too."""
    for secret in secrets:
        text = re.sub(re.escape(secret[:_STEM]) + r"[^']*", "…", text)
    return text


def _revealed(secrets: Iterable[Secret | str | None]) -> list[str]:
    texts = (secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets)
    return [text for text in texts if text and len(text) >= _STEM]


def _quoted_text(value: str) -> str:
    text = _PERHAPS_A_TOKEN.sub("…", display_text(value, LONGEST))
    length = f" ({len(value)} characters)" if len(value) > LONGEST else ""
    if _PLAIN.fullmatch(text) and text not in _WORDS_OF_OURS:
        return text
    return f"'{text}'{length}"
