"""Records refresh tokens that a provider refused while the access token was still valid."""

from __future__ import annotations

from dataclasses import dataclass

from portal.bounded_cache import ByteBoundedCache
from portal.sessions.credentials import digest
from portal.stores.model import Login

RETRY_SECONDS = 5.0
"""The shortest time between a refusal and the second attempt."""
_MAX_BYTES = 4_000_000
_REFUSAL_BYTES = 300


@dataclass(frozen=True, slots=True)
class _Refusal:
    tokens: str
    """Digest of the sealed token set that was refused."""
    refused_at: float


class Refusals:
    """Remembers which token sets were refused once, so that a login ends at the second refusal.

    A provider may refuse a valid refresh token while its servers are out of sync or its database is being
    repaired. As long as the access token is valid, a second attempt costs nothing. Times are seconds, UTC.
    """

    def __init__(self) -> None:
        self._refused: ByteBoundedCache[str, _Refusal] = ByteBoundedCache(_MAX_BYTES)

    def record(self, login: Login, now: float) -> bool:
        """Record a refusal of the token set of a login. Return whether it was refused before."""
        if self._get(login) is not None:
            self._refused.discard(login.id)
            return True
        refusal = _Refusal(digest(login.tokens), now)
        self._refused.put(login.id, refusal, size=_REFUSAL_BYTES, owner=login.tenant)
        return False

    def is_recent(self, login: Login, now: float) -> bool:
        """Whether the token set of a login was refused so recently that it is too early to retry."""
        refused = self._get(login)
        return refused is not None and now < refused.refused_at + RETRY_SECONDS

    def forget(self, login_id: str) -> None:
        """Remove the refusal of a login that ended or has new tokens."""
        self._refused.discard(login_id)

    def _get(self, login: Login) -> _Refusal | None:
        """The refusal of the current token set of the login."""
        refused = self._refused.get(login.id)
        return refused if refused is not None and refused.tokens == digest(login.tokens) else None
