"""One worker process writes the log lines about what all workers find in the same files.

The worker that first has such a line takes a lock, and writes these lines until it ends. The operating system
then releases the lock, and another worker takes it with its next line (fcntl(2), advisory record locks). When
that is the replacement of the worker that ended, it writes again what it finds wrong at its start.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import IO

import structlog
from structlog.typing import EventDict, WrappedLogger

_EVENTS = frozenset(
    {
        "tenant_file_rejected",
        "tenant_file_accepted",
        "preset_rejected",
        "preset_accepted",
        "operators_without_tenant_file",
    }
)
"""What every worker finds, because all read the same files and the same database."""


class ReportingWorker:
    """A processor of structlog that drops these lines in all processes but one worker.

    Make it in the supervisor, before the workers are forked. The supervisor itself writes none of these
    lines: its workers read the same files again.
    """

    def __init__(self) -> None:
        self._supervisor = os.getpid()
        self._file = _file_without_name()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if event.get("event") in _EVENTS and not self.is_this_process():
            raise structlog.DropEvent
        return event

    def is_this_process(self) -> bool:
        """Whether this process is the worker that reports; it is from now on if no other one is."""
        if os.getpid() == self._supervisor:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # another process has the lock: EAGAIN or EACCES
            return False
        return True


def _file_without_name() -> IO[bytes]:
    """A file that workers inherit and that needs no folder, which may be read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("portal-reporting-worker", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()
