"""Secrets that a browser holds: made here, stored only as hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from portal.secret import Secret

_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")
_BINDING = re.compile(r"[A-Za-z0-9_-]{43}")


def digest(value: str) -> str:
    """SHA-256 of a value, in hex: what the store keeps of a state, a binding or a cookie's secret."""
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The session cookie: the session's id, which finds it, and a secret, which opens it."""

    session_id: str
    secret: Secret

    @classmethod
    def new(cls, session_id: str | None = None) -> SessionCookie:
        """Make a cookie with a new 256-bit secret, for a new session unless an id is given."""
        return cls(session_id or secrets.token_urlsafe(16), Secret(secrets.token_urlsafe(32)))

    @classmethod
    def parse(cls, value: str | None) -> SessionCookie | None:
        """Read a cookie's value; None when it is not one that the portal made."""
        match = _COOKIE.fullmatch(value or "")
        return cls(match[1], Secret(match[2])) if match else None

    @property
    def value(self) -> str:
        """What is sent to the browser."""
        return f"{self.session_id}.{self.secret.reveal()}"

    @property
    def secret_hash(self) -> str:
        """What the store keeps."""
        return digest(self.secret.reveal())

    def opens(self, secret_hash: str) -> bool:
        """Compare with a stored hash in constant time."""
        return hmac.compare_digest(self.secret_hash, secret_hash)


def new_binding() -> str:
    """A value for the cookie that binds login attempts to the browser that began them."""
    return secrets.token_urlsafe(32)


def is_binding(value: str | None) -> bool:
    """Whether a cookie's value has the form of a binding."""
    return bool(_BINDING.fullmatch(value or ""))
