"""Commits write operations that wait at the same time in one transaction.

A commit that reaches the disk costs more than the statements in it. What is guaranteed, also after failures,
is in docs/decisions/046-writes-that-wait-together-share-a-commit.md.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from portal.stores.sqlite.own_changes import OwnChanges

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_MOST_TOGETHER = 100
"""Operations of one transaction."""
_GROUP_SECONDS = 0.01
"""A transaction begins no further operation after this time: no other process can write meanwhile."""
_TIMEOUT_STEP = 0.05
"""Seconds. Lock timeouts are rounded up to it, since SQLite compiles a statement for each new value."""


class Operation(Generic[T]):
    """A function that writes, and its outcome.

    Parameters: begin_by, the monotonic time by which it must have the lock; synced, whether it must be on the
    disk when it is reported as done.
    """

    __slots__ = ("_error", "_result", "begin_by", "finished", "synced", "work")

    def __init__(self, work: Work[T], *, begin_by: float, synced: bool) -> None:
        self.work = work
        self.begin_by = begin_by
        self.synced = synced
        self.finished = False
        self._result: T | None = None
        self._error: BaseException | None = None

    def succeed(self, result: T) -> None:
        self._result, self.finished = result, True

    def fail(self, error: BaseException) -> None:
        self._error, self.finished = error, True

    def outcome(self) -> T:
        """Return the result of a finished operation, or raise its error. Raises: RuntimeError before that."""
        if not self.finished:
            raise RuntimeError("the operation has not been performed")
        if self._error is not None:
            raise self._error
        return cast(T, self._result)


class GroupCommit:
    """The write operations of one connection, which waits for none of them in between.

    Parameters: check, called before each transaction; its error fails the operation; changes, which learn of
    every transaction.
    """

    def __init__(self, check: Callable[[], None], changes: OwnChanges) -> None:
        self._check = check
        self._changes = changes
        self._waiting: deque[Operation[object]] = deque()
        self._synchronous = ""

    def add(self, operation: Operation[T]) -> None:
        """Add an operation. Call `perform` for each one, in the same order, in the connection's thread."""
        self._waiting.append(cast(Operation[object], operation))

    def perform(self, operation: Operation[T], database: sqlite3.Connection) -> None:
        """Finish an operation, together with later ones that wait already."""
        if operation.finished:  # with an earlier one
            return
        with self._changes.writing:
            try:
                self._perform(database)
            finally:
                database.execute("PRAGMA busy_timeout = 0")  # for what VersionWatch asks on the event loop

    def _perform(self, database: sqlite3.Connection) -> None:
        first = self._waiting[0]  # the operation to finish: each earlier one has finished
        try:
            synced = any(each.synced for each in tuple(self._waiting))
            self._begin(first, database, synced=synced)
        except BaseException as error:  # noqa: BLE001 - passed to the caller of the operation
            self._waiting.popleft()
            first.fail(error)
            return
        group = self._take(synced=synced)
        try:
            self._finish(group, database)
        except BaseException as error:  # noqa: BLE001 - even the rollback failed: nothing of it was committed
            for each in group:
                if not each.finished:
                    each.fail(error)

    def _take(self, *, synced: bool) -> list[Operation[object]]:
        """Remove the operations of the next transaction from those that wait."""
        group: list[Operation[object]] = []
        while self._waiting and len(group) < _MOST_TOGETHER and (synced or not self._waiting[0].synced):
            group.append(self._waiting.popleft())
        return group

    def _finish(self, group: list[Operation[object]], database: sqlite3.Connection) -> None:
        """Run and commit the operations of a transaction that has begun."""
        results: list[object] = []
        end = time.monotonic() + _GROUP_SECONDS
        try:
            for operation in group:
                if results and time.monotonic() > end:
                    break
                results.append(operation.work(database))
            self._changes.before_commit(database)
            database.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - passed to the callers of the operations
            database.rollback()
            if len(group) == 1:
                group[0].fail(error)
            else:
                self._finish_one_by_one(group, database)
            return
        self._waiting.extendleft(reversed(group[len(results) :]))
        for operation, result in zip(group, results, strict=False):
            operation.succeed(result)

    def _finish_one_by_one(self, group: list[Operation[object]], database: sqlite3.Connection) -> None:
        """After a failure, which may be of any of them: none has had an effect, and none shares another's."""
        for operation in group:
            try:
                self._begin(operation, database, synced=operation.synced)
            except BaseException as error:  # noqa: BLE001 - passed to the caller of the operation
                operation.fail(error)
            else:
                self._finish([operation], database)

    def _begin(self, operation: Operation[object], database: sqlite3.Connection, *, synced: bool) -> None:
        """Begin a transaction with the write lock, for which it waits until the operation's deadline."""
        self._check()
        database.rollback()
        wait_for_lock(operation.begin_by, database)
        synchronous = "FULL" if synced else "NORMAL"
        if synchronous != self._synchronous:
            database.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        database.execute("BEGIN IMMEDIATE")
        self._changes.begin()


def wait_for_lock(deadline: float, database: sqlite3.Connection) -> None:
    """Let the next statement wait for a lock until about this monotonic time. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    steps = int(left / _TIMEOUT_STEP) + 1
    database.execute(f"PRAGMA busy_timeout = {steps * _TIMEOUT_STEP * 1000:.0f}")
