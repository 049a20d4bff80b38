"""A cache of entries read from a SQLite file, valid until the file changes.

`PRAGMA data_version` changes when any other connection, of this or another process, has committed. It reads
shared memory in a few microseconds, without disk access, and is checked at every read: cached entries are
never older than the file, and a busy process reads a session once, not once per call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from portal.bounded_cache import ByteBoundedCache
from portal.stores.claims_codec import encode_claims
from portal.stores.model import Login, Session
from portal.time_slices import in_slices

_LOGIN_BYTES = 64_000_000
_SESSION_BYTES = 16_000_000
_OBJECTS_PER_CHARACTER = 6
"""Bytes in memory for each character of the claims' JSON; small values take the most."""

_Found = tuple[dict[str, Session], dict[str, Login]]


class SQLiteMemory:
    """Sessions and logins at one version of the file; missing ones are cached as None.

    Parameters: login_bytes, approximate limit of the memory for logins.
    """

    def __init__(self, *, login_bytes: int = _LOGIN_BYTES) -> None:
        self._version: int | None = None
        self._sessions: ByteBoundedCache[str, tuple[Session | None]] = ByteBoundedCache(_SESSION_BYTES)
        self._logins: ByteBoundedCache[str, tuple[Login | None]] = ByteBoundedCache(login_bytes)

    def look(
        self, version: int | None, session_ids: Collection[str], login_ids: Collection[str], now: float
    ) -> _Found | None:
        """Return the requested entries if all of them are cached at `version`; else None."""
        if version is None or version != self._version:
            self._version = version
            self._sessions.clear()
            self._logins.clear()
            return None
        sessions = [entry[0] for key in session_ids if (entry := self._sessions.get(key)) is not None]
        logins = [cached[0] for key in login_ids if (cached := self._logins.get(key)) is not None]
        if len(sessions) < len(session_ids) or len(logins) < len(login_ids):
            return None
        return live(filter(None, sessions), filter(None, logins), now)

    async def keep(
        self, version: int | None, session_ids: Collection[str], login_ids: Collection[str], found: _Found
    ) -> None:
        """Cache the result of a read that began at `version`, expired entries included."""
        if version is None or version != self._version:
            return
        sessions, logins = found
        for key in session_ids:
            session = sessions.get(key)
            self._sessions.put(key, (session,), size=len(session.device) if session else 0, owner="")
        async for key in in_slices(login_ids):
            if version != self._version:
                return  # the file has changed, and another read has noticed it meanwhile
            login, tenant = logins.get(key), key.rpartition(":")[2]
            self._logins.put(key, (login,), size=_bytes_of(login) if login else 0, owner=tenant)


def _bytes_of(login: Login) -> int:
    return len(login.tokens) + _OBJECTS_PER_CHARACTER * len(encode_claims(login.claims))


def live(sessions: Iterable[Session], logins: Iterable[Login], now: float) -> _Found:
    """Return those that have not expired, by id."""
    return (
        {
            session.id: session
            for session in sessions
            if session.idle_expires_at > now and session.absolute_expires_at > now
        },
        {login.id: login for login in logins if login.expires_at > now},
    )
