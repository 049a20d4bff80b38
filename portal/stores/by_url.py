"""Chooses the store for a database URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from portal.clock import Clock, now
from portal.errors import ConfigurationError, Problem, StartupError, StoreUnavailable
from portal.stores.examination import Examination
from portal.stores.inspection import Inspection
from portal.stores.observer import StoreObserver
from portal.stores.sqlite.examination import SQLiteExamination
from portal.stores.sqlite.inspection import SQLiteInspection
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_store import Database

_EXPECTED = (
    "expected sqlite:///relative/path.db, sqlite:////absolute/path.db, mongodb://host/name "
    "or mongodb+srv://host/name"
)


def store_for(url: str, *, clock: Clock = now, observer: StoreObserver | None = None) -> Database:
    """Return the store for a database URL, not opened yet; its `tenants` are in the same database.

    `sqlite:///relative` is relative to the working directory, `sqlite:////absolute` is not; `mongodb://` and
    `mongodb+srv://` are MongoDB connection strings. `clock` is the host's clock, which SQLite uses as well.
    `observer` receives events of the store.

    Raises ConfigurationError for any other URL; its message does not quote the URL, which may contain a
    password.
    """
    path = sqlite_path(url)
    if path is None:
        from portal.stores.mongo.store import MongoStore  # load the slow driver only when it is used

        return MongoStore(url, observer=observer)
    return SQLiteStore(path, clock=clock, observer=observer)


def inspection_for(url: str) -> Inspection:
    """Return what reads all entries of a database, not opened yet. Raises as `store_for`."""
    path = sqlite_path(url)
    if path is not None:
        return SQLiteInspection(path)
    from portal.stores.mongo.inspection import MongoInspection

    return MongoInspection(url)


def examination_for(url: str, *, key_ring: str, clock: Clock = now) -> Examination:
    """Return what reads the state of a database. Raises as `store_for`.

    Parameters: key_ring, the id of that record; clock, the host's.
    """
    path = sqlite_path(url)
    if path is not None:
        return SQLiteExamination(path, key_ring=key_ring)
    from portal.stores.mongo.examination import MongoExamination

    return MongoExamination(url, key_ring=key_ring, clock=clock)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for a MongoDB URL.

    Raises ConfigurationError as `store_for` does.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("mongodb", "mongodb+srv"):
        return None
    if not separator or scheme != "sqlite":
        raise ConfigurationError([Problem("database", f"this is not a database URL; {_EXPECTED}")])
    if not rest.startswith("/") or not rest.strip("/"):
        raise ConfigurationError([Problem("database", f"the URL names no file; {_EXPECTED}")])
    return Path(rest[1:])


@contextlib.contextmanager
def startup_failures(url: str) -> Iterator[None]:
    """Turn StoreUnavailable into a StartupError that names the database and a remedy."""
    try:
        yield
    except StoreUnavailable as error:
        first = "Give the portal's user write access to the file and its folder"
        if not url.startswith("sqlite:"):
            first = "Start it"
        raise StartupError(
            f"The database {without_password(url)} cannot be used: {error.detail}.",
            remedy=f"{first}, or set `database` or PORTAL_DATABASE to another.",
        ) from error


def without_password(url: str) -> str:
    """A database URL without user, password and options; options may contain passwords of certificates."""
    if url.startswith("sqlite:"):
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
