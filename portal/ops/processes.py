"""Several portal processes on one set of listening sockets."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import structlog

from portal.errors import PortalError
from portal.ops.metrics import forget_process

_log = structlog.get_logger("portal.processes")

_SHORTEST_LIFE = 1.0
"""Seconds; a process that dies sooner is not simply started again at once."""
_LONGEST_STOP = 40.0
"""Seconds that a worker may take to stop before it is killed; longer than it waits for requests in flight."""
_PR_SET_PDEATHSIG = 1
_TO_STOP = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Forks worker processes, starts a dead one again, and passes on the signal to stop."""

    def __init__(self, count: int, work: Callable[[], int]) -> None:
        self._count = count
        self._work = work
        self._started: dict[int, float] = {}
        self._stopping = False

    def run(self) -> int:
        """Run until told to stop or until workers cannot start; return the exit code."""
        for number in _TO_STOP:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._kill)
        for _ in range(self._count):
            self._fork()
        worst = 0
        while self._started:
            try:
                pid, status = os.wait()
            except InterruptedError:
                continue
            begun = self._started.pop(pid, None)
            if begun is None:
                continue
            forget_process(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                worst = max(worst, abs(code))
            elif code in {2, 3}:
                worst = max(worst, code)
                self._stop(signal.SIGTERM, None)
            else:
                _log.error("process_died", pid=pid, exit_code=code)
                time.sleep(max(0.0, _SHORTEST_LIFE - (time.monotonic() - begun)))
                self._fork()
        return worst

    def _fork(self) -> None:
        """Start a worker, unless told to stop meanwhile; a signal waits until the worker is known."""
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _TO_STOP)
        if not self._stopping:
            supervisor = os.getpid()
            pid = os.fork()
            if pid == 0:
                for number in _TO_STOP:
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)
                _end_with(supervisor)
                os._exit(self._work_to_the_end())
            self._started[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_STOP)

    def _work_to_the_end(self) -> int:
        """Work, and let nothing leave a worker by another way than its exit code."""
        try:
            return self._work()
        except PortalError as error:
            _log.error("process_failed", code=error.code, detail=error.detail)
            return getattr(error, "exit_code", 1)
        except BaseException as error:  # noqa: BLE001 - a worker has no caller
            _log.error("process_failed", error=type(error).__name__)
            return 1

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            signal.setitimer(signal.ITIMER_REAL, _LONGEST_STOP)
        self._stopping = True
        self._signal_workers(number)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        _log.error("processes_killed", count=len(self._started))
        self._signal_workers(signal.SIGKILL)

    def _signal_workers(self, number: int) -> None:
        for pid in list(self._started):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _end_with(supervisor: int) -> None:
    """Tell this worker to stop when its supervisor is killed, else it would keep the address (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        os._exit(1)
