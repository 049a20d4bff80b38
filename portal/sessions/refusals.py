"""Refresh tokens that a provider refused while the access token was still valid."""

from __future__ import annotations

from dataclasses import dataclass

from portal.bounded_cache import ByteBoundedCache
from portal.sessions.credentials import digest
from portal.stores.model import Login

ASK_AGAIN_SECONDS = 5.0
"""How long after a refusal the provider is asked a second time, at the earliest."""
_MAX_BYTES = 4_000_000
_REFUSAL_BYTES = 300


@dataclass(frozen=True, slots=True)
class _Refusal:
    tokens: str
    """Digest of the sealed token set that was refused."""
    at: float


class Refusals:
    """Remembers which token sets were refused once, so that a login ends at the second refusal.

    A provider whose servers do not agree yet, or whose database is being repaired, may refuse a good refresh
    token; while the access token is valid, nothing is lost by asking once more. Times are seconds, UTC.
    """

    def __init__(self) -> None:
        self._refused: ByteBoundedCache[str, _Refusal] = ByteBoundedCache(_MAX_BYTES)

    def is_repeated(self, login: Login, moment: float) -> bool:
        """Remember a refusal of the token set of a login; whether it was refused before."""
        if self._of(login) is not None:
            self._refused.discard(login.id)
            return True
        refusal = _Refusal(digest(login.tokens), moment)
        self._refused.put(login.id, refusal, size=_REFUSAL_BYTES, owner=login.tenant)
        return False

    def is_recent(self, login: Login, moment: float) -> bool:
        """Whether the token set of a login was refused a moment ago: asking again is of no use yet."""
        refused = self._of(login)
        return refused is not None and moment < refused.at + ASK_AGAIN_SECONDS

    def forget(self, login_id: str) -> None:
        """The login has other tokens now, or ended."""
        self._refused.discard(login_id)

    def _of(self, login: Login) -> _Refusal | None:
        """The refusal of the token set that the login has now."""
        refused = self._refused.get(login.id)
        return refused if refused is not None and refused.tokens == digest(login.tokens) else None
