"""Which database: chosen by the form of its URL."""

from __future__ import annotations

from pathlib import Path

from portal.errors import ConfigurationError, Problem
from portal.sessions.model import Clock, now
from portal.sessions.observer import StoreObserver
from portal.sessions.sqlite import SQLiteStore
from portal.sessions.store import Store

_EXPECTED = (
    "expected sqlite:///relative/path.db, sqlite:////absolute/path.db, mongodb://host/name "
    "or mongodb+srv://host/name"
)


def store_for(url: str, *, clock: Clock = now, observer: StoreObserver | None = None) -> Store:
    """Return the store that a database URL names; it is not opened yet.

    `sqlite:///relative` is relative to the working folder, `sqlite:////absolute` is not; `mongodb://` and
    `mongodb+srv://` are MongoDB connection strings. `clock` is that of the host: SQLite's, too. `observer`
    counts what happens inside.

    Raises ConfigurationError for any other URL; its message does not repeat the URL, which may hold a
    password.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("mongodb", "mongodb+srv"):
        from portal.sessions.mongo import MongoStore  # only who uses MongoDB waits for its driver to load

        return MongoStore(url, observer=observer)
    if not separator or scheme != "sqlite":
        raise ConfigurationError([Problem("database", f"this is not a database URL; {_EXPECTED}")])
    if not rest.startswith("/") or not rest.strip("/"):
        raise ConfigurationError([Problem("database", f"the URL names no file; {_EXPECTED}")])
    return SQLiteStore(Path(rest[1:]), clock=clock, observer=observer)
