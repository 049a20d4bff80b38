"""Sessions, logins, login attempts and logout steps, independent of the database.

All times are seconds since the epoch, UTC, rounded to a millisecond (see `portal.clock.now`), so that every
store returns exactly the stored value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """An authorization request in progress; used once, by the browser that began it.

    `id` is the SHA-256 of `redirect_uri` and `state`; `binding_hash` that of the browser's binding cookie;
    `sealed` is encrypted by the vault: see `portal.sessions.sealed_attempt`.
    """

    id: str
    tenant: str
    provider: str
    registration: str
    binding_hash: str
    nonce: str
    sealed: str
    redirect_uri: str
    return_to: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class LogoutStep:
    """A logout in progress at a provider; tells where to send the browser when it returns.

    `id` is the SHA-256 of the `state` sent to the provider; `next_url` is encrypted by the vault, or empty.
    """

    id: str
    tenant: str
    binding_hash: str
    next_url: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Session:
    """The session of one browser. `secret_hash` is the SHA-256 of the secret half of its cookie."""

    id: str
    secret_hash: str
    created_at: float
    last_seen_at: float
    idle_expires_at: float
    absolute_expires_at: float
    device: str = ""

    def is_live_at(self, now: float) -> bool:
        """Whether neither limit has been reached."""
        return self.idle_expires_at > now and self.absolute_expires_at > now


class SessionTouch(NamedTuple):
    """A use of a session: when it was, and when the session expires unless it is used again."""

    session: str
    seen_at: float
    idle_expires_at: float


@dataclass(frozen=True, slots=True)
class Login:
    """The login at one tenant inside a session. Every change is a compare-and-swap on `version`.

    `sid` is a hash of the provider's session id (`Vault.sid_hash`), `tokens` a token set encrypted by the
    vault. `version` starts at a random number, so that a swap for a login that has ended cannot change its
    successor. A live lease names the process that is refreshing the token set.
    """

    session: str
    tenant: str
    provider: str
    registration: str
    issuer: str
    subject: str
    sid: str | None
    claims: Mapping[str, object]
    tokens: str
    access_expires_at: float
    signed_in_at: float
    expires_at: float
    version: int
    lease_owner: str | None = None
    lease_expires_at: float = 0.0

    @property
    def id(self) -> str:
        """Key of this login in every store: `{session}:{tenant}`."""
        return login_id(self.session, self.tenant)

    @property
    def sign_in(self) -> tuple[str, str, str, str, float]:
        """Identifies one sign-in: unchanged by refreshes, different after the user signs in again.

        The id is the same for both sign-ins, so compare this before a call uses a token set.
        """
        return self.id, self.registration, self.issuer, self.subject, self.signed_in_at


def login_id(session: str, tenant: str) -> str:
    """Key of the login at `tenant` inside `session`."""
    return f"{session}:{tenant}"
