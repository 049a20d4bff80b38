"""What was last read from a SQLite file, good for as long as nobody has changed the file.

SQLite says in `PRAGMA data_version` whether any other connection, of this or another process, has committed
since the last look. Asking costs a few microseconds of shared memory and no disk, so it is asked at every
read: what is kept is never older than the file, and a busy process reads a session once, not once a call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from portal.sessions.model import Login, Session

_MOST = 20_000

_Found = tuple[dict[str, Session], dict[str, Login]]


class SQLiteMemory:
    """Sessions and logins as they are at one version of the file; absent ones are remembered as None."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._sessions: dict[str, Session | None] = {}
        self._logins: dict[str, Login | None] = {}

    def look(
        self, version: int | None, session_ids: Collection[str], login_ids: Collection[str], now: float
    ) -> _Found | None:
        """Return what was asked for when all of it is known at `version`; else None."""
        if version is None or version != self._version or len(self._sessions) + len(self._logins) > _MOST:
            self._version = version
            self._sessions.clear()
            self._logins.clear()
            return None
        if not all(key in self._sessions for key in session_ids):
            return None
        if not all(key in self._logins for key in login_ids):
            return None
        kept_sessions = (self._sessions[key] for key in session_ids)
        kept_logins = (self._logins[key] for key in login_ids)
        return live(filter(None, kept_sessions), filter(None, kept_logins), now)

    def keep(
        self, version: int | None, session_ids: Collection[str], login_ids: Collection[str], found: _Found
    ) -> None:
        """Remember what a read gave that began when the file had `version`, expired entries included."""
        if version is None or version != self._version:
            return
        sessions, logins = found
        self._sessions |= {key: sessions.get(key) for key in session_ids}
        self._logins |= {key: logins.get(key) for key in login_ids}


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
