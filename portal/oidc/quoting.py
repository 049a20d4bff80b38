"""Formats a provider's values for error messages: truncated, cleaned, next to the expected value.

Rule: an error in portal/oidc that compares two values shows both in its detail, by `mismatch` or `quoted`.
Never pass a token, code, secret, nonce or state to them; `hiding` removes one that a provider sends in the
wrong place. tests/unit/oidc/test_messages.py reads every raise statement and fails for one that breaks the
rule.
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
"""Maximum characters of one value in a message."""
_MAX_VALUES = 8
"""Maximum values of one list in a message."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+._:/-]*")
_RESERVED_WORDS = frozenset({"missing", "true", "false", "none", "an object"})
_PERHAPS_A_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*")
_PERCENT_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_LATEST_TIME = 1e11
_STEM = 12
"""Leading characters that identify a secret whose rest was truncated."""


def quoted(value: object) -> str:
    """Format a value of JSON or a form. Text with unusual characters is put in quotes."""
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
    """Format several values, separated by commas; `none` for an empty list."""
    parts = [
        quoted(value) if not isinstance(value, list) else "a list" for value in list(values)[:_MAX_VALUES]
    ]
    more = len(values) - len(parts)
    return ", ".join([*parts, f"{more} more"] if more > 0 else parts) or "none"


def mismatch(name: str, received: object, *expected: object) -> str:
    """Return `name is X; expected Y`, with a remark when X is Y with another URL encoding."""
    remark = ""
    if isinstance(received, str) and "%" in received and unquote(received[: 4 * LONGEST]) in expected:
        remark = ", which is URL-encoded twice"
    return f"{name} is {quoted(received)}{remark}; expected {' or '.join(map(quoted, expected))}"


def double_encoding_remark(name: str, value: Secret) -> str:
    """Return a remark when a rejected secret value contains percent-encoding; otherwise an empty text."""
    if _PERCENT_ENCODED.search(value.reveal()):
        return f"; the {name} contains percent-encoding: the provider may have URL-encoded it twice"
    return ""


def length_of(name: str, value: object, limit: int, unit: str = "characters") -> str:
    """Return the message for a text of invalid length, or for a value that is not a text."""
    if isinstance(value, str | bytes):
        return f"{name} has {len(value)} {unit}; expected 1 to {limit}"
    return f"{name} is {kind_of(value)}; expected 1 to {limit} {unit}"


def kind_of(value: object) -> str:
    """Return the type of a JSON value, for a message that must not show the value."""
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
    """Format a URL without its possibly secret parts: user name, password, query and fragment."""
    parts = urlsplit(url)
    return quoted(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def utc(seconds: float) -> str:
    """Format a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def quoted_time(value: object) -> str:
    """Format a claim that should be a time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_TIME:
        return quoted(value)
    return utc(value)


@contextlib.contextmanager
def hiding(*secrets: Secret | str | None) -> Iterator[None]:
    """Remove these from the detail of an error that is raised inside the block."""
    try:
        yield
    except PortalError as error:
        error.detail = without_truncated_secrets(_revealed(secrets), error.detail)
        error.args = (error.detail,)
        raise


def without_truncated_secrets(secrets: Iterable[str], text: str) -> str:
    """Remove these secrets, even truncated ones, and what follows them in the same quotes."""
    for secret in secrets:
        text = re.sub(re.escape(secret[:_STEM]) + r"[^']*", "…", text)
    return text


def _revealed(secrets: Iterable[Secret | str | None]) -> list[str]:
    texts = (secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets)
    return [text for text in texts if text and len(text) >= _STEM]


def _quoted_text(value: str) -> str:
    text = _PERHAPS_A_TOKEN.sub("…", display_text(value, LONGEST))
    length = f" ({len(value)} characters)" if len(value) > LONGEST else ""
    if _PLAIN.fullmatch(text) and text not in _RESERVED_WORDS:
        return text
    return f"'{text}'{length}"
