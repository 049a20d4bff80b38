"""Secrets in the cookies of a browser: generated here, stored only as hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TypeGuard

from portal.secret import Secret

_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")
_BINDING = re.compile(r"[A-Za-z0-9_-]{43}")


def digest(value: str) -> str:
    """SHA-256 of a value, in hex: the stored form of a state, a binding or a cookie's secret."""
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The session cookie: the id that identifies the session and the secret that authenticates it."""

    session_id: str
    secret: Secret
    secret_hash: str = field(init=False, repr=False)
    """The hash that the store keeps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret_hash", digest(self.secret.reveal()))

    @classmethod
    def new(cls, session_id: str | None = None) -> SessionCookie:
        """Create a cookie with a new 256-bit secret, for a new session unless an id is given."""
        return cls(session_id or secrets.token_urlsafe(16), Secret(secrets.token_urlsafe(32)))

    @classmethod
    def parse(cls, value: AnyCookie) -> SessionCookie | None:
        """Parse the value of a cookie, if it is not parsed yet; None when it is missing or malformed."""
        if isinstance(value, SessionCookie):
            return value
        match = _COOKIE.fullmatch(value or "")
        return cls(match[1], Secret(match[2])) if match else None

    @property
    def value(self) -> str:
        """The value of the cookie."""
        return f"{self.session_id}.{self.secret.reveal()}"

    def matches(self, secret_hash: str) -> bool:
        """Whether the secret has this hash; compares in constant time."""
        return hmac.compare_digest(self.secret_hash, secret_hash)


AnyCookie = SessionCookie | str | None
"""A session cookie, parsed or as the browser sent it."""


def new_binding() -> str:
    """A new value for the cookie that binds login attempts to the browser that began them."""
    return secrets.token_urlsafe(32)


def is_binding(value: str | None) -> TypeGuard[str]:
    """Whether a cookie's value has the form of a binding."""
    return bool(_BINDING.fullmatch(value or ""))
