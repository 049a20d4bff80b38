"""Which rows this process has changed itself, so that its own commits make only these rows stale.

`PRAGMA data_version` of a connection counts the commits of all other connections. For the connection that
writes, these are the commits of other processes. What this process writes is recorded by temporary triggers,
which exist only in that connection: no statement can be forgotten.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from typing import NamedTuple

_MOST_KEYS = 20_000
"""Changed keys that are remembered; more make all rows stale once."""

_KEYS = {"sessions": ("id",), "logins": ("id", "session")}
"""Tables whose rows are kept in memory, and the columns by which they are kept."""


class Version(NamedTuple):
    """A state of the file.

    `others` is equal for two states if no other process has committed in between; `own` is the number of the
    last transaction of this process.
    """

    others: int
    own: int


class OwnChanges:
    """The keys of the rows that transactions of this process have changed.

    The transactions run in the thread of the connection that writes, `is_stale` on the event loop. A change
    is recorded before it is committed, so no row can be current after the commit that changed it.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        """Held during each transaction."""
        self.number = 0
        """Of the last transaction."""
        self._changed: tuple[int, dict[str, int]] = (0, {})
        """A number; and by key the last transaction that changed it, for the transactions after that."""

    def record_in(self, database: sqlite3.Connection) -> None:
        """Let the connection that writes record its changes. Its tables must exist."""
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("CREATE TEMP TABLE own_changes (key TEXT)")
        for table, columns in _KEYS.items():
            for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
                values = ", ".join(f"(CAST({row}.{column} AS TEXT))" for column in columns)
                database.execute(
                    f"CREATE TEMP TRIGGER own_{event}_{table} AFTER {event} ON main.{table} "  # noqa: S608 - constants
                    f"BEGIN INSERT INTO own_changes (key) VALUES {values}; END"
                )

    def begin(self) -> None:
        """Call it when a transaction begins."""
        self.number += 1

    def before_commit(self, database: sqlite3.Connection) -> None:
        """Record what the transaction has changed."""
        keys = json.loads(database.execute("SELECT json_group_array(key) FROM own_changes").fetchone()[0])
        if not keys:
            return
        database.execute("DELETE FROM own_changes")
        _, changed = self._changed
        if len(changed) + len(keys) > _MOST_KEYS:
            self._changed = (self.number, {})
            return
        number = self.number
        changed.update((key, number) for key in keys)

    def is_stale(self, key: str, own: int) -> bool:
        """Whether a row that was read after the transaction `own` was changed by a later one."""
        complete_after, changed = self._changed
        return own < complete_after or changed.get(key, 0) > own


class VersionWatch:
    """Tells the version of the file without waiting.

    Parameters: watcher, a connection that only this object and reads on the event loop use; writer, the
    connection whose changes are recorded.
    """

    def __init__(self, watcher: sqlite3.Connection, writer: sqlite3.Connection, changes: OwnChanges) -> None:
        self._watcher = watcher
        self._writer = writer
        self._changes = changes
        self._seen = -1
        self._version = Version(0, 0)
        self._unknown = 0

    def version(self) -> Version:
        """The current version; during a transaction of this process, it may be one that equals no other.

        The connection that writes is asked only when any connection has committed since the last time.
        Raises: sqlite3.Error.
        """
        seen = _data_version(self._watcher)
        unchanged = seen == self._seen
        if unchanged and self._version.own == self._changes.number:
            return self._version
        if not self._changes.writing.acquire(blocking=False):
            if unchanged:
                return self._version  # nothing of the running transaction is committed
            self._unknown -= 1
            return Version(self._unknown, self._changes.number)
        try:
            self._version = Version(_data_version(self._writer), self._changes.number)
        finally:
            self._changes.writing.release()
        self._seen = seen
        return self._version


def _data_version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA data_version").fetchone()[0])
