"""Several worker processes on one set of listening sockets.

A worker that ends is replaced, whatever its exit code: a file or database that is broken for a while must
not stop the workers that still serve. The pauses between attempts grow. Only the first start can fail: when a
worker ends before any worker has served, the portal exits with its exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

import structlog

from portal.errors import PortalError
from portal.ops.metrics import forget_process
from portal.ops.sockets import refuse_new_connections
from portal.ops.worker_loads import WorkerLoad, WorkerLoads

_log = structlog.get_logger("portal.processes")

_FIRST_PAUSE = 1.0
"""Seconds before a worker is replaced; doubled for each worker that ended within _LONG_ENOUGH."""
_LONGEST_PAUSE = 30.0
_LONGEST_OUTAGE = 5.0
"""The longest pause while no worker is running."""
_LONG_ENOUGH = 10.0
"""After a worker that has run this many seconds, the pauses begin again with _FIRST_PAUSE: workers that are
killed occasionally, for example for lack of memory, are replaced soon each time."""
_LONGEST_STOP = 40.0
"""Seconds in which a worker must stop before it is killed; longer than it waits for requests in flight."""
_PR_SET_PDEATHSIG = 1
_TO_STOP = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (*_TO_STOP, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Start:
    """How a worker is started."""

    alone: bool = False
    """Whether no other process has its listening sockets."""
    again: bool = False
    """Whether it replaces a worker while other workers may serve."""
    serves: Callable[[], None] = lambda: None
    """The worker calls it when it begins to serve."""
    load: WorkerLoad | None = None
    """Where it reports its connections; None without other workers."""


Work = Callable[[Start], int]
"""Serves until it receives a signal to stop, and returns an exit code."""


class Supervisor:
    """Forks worker processes, replaces those that end, and forwards SIGTERM, SIGINT and SIGHUP to them."""

    def __init__(self, count: int, work: Work, *, sockets: Sequence[socket.socket] = ()) -> None:
        """Create a supervisor of `count` workers; `sockets` are the listening sockets that they inherit."""
        self._count = count
        self._work = work
        self._sockets = sockets
        self._started: dict[int, float] = {}
        self._loads = WorkerLoads(count)
        self._slots: dict[int, int] = {}
        """Places in `_loads` by process id."""
        self._due: list[float] = []
        self._failures = 0
        self._has_served = False
        self._stopping = False
        self._kill_at = float("inf")
        self._exit_code = 0

    def run(self) -> int:
        """Run until a signal to stop arrives or the first start has failed; return the exit code."""
        self._served, self._serves = os.pipe()
        self._woken, self._wakes = os.pipe()
        for descriptor in (self._served, self._woken, self._wakes):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)
        for number in _TO_STOP:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        for _ in range(self._count):
            self._fork()
        while self._started or (self._due and not self._stopping):
            self._wait()
            self._reap()
            self._replace()
            self._kill_late()
        signal.set_wakeup_fd(-1)
        return self._exit_code

    def _wait(self) -> None:
        """Sleep until a signal arrives, a worker begins to serve, or a replacement or kill is due."""
        until = min([self._kill_at, *self._due[:1]])
        seconds = None if until == float("inf") else max(0.0, until - time.monotonic())
        select.select([self._served, self._woken], [], [], seconds)
        self._has_served |= bool(_drain(self._served))
        _drain(self._woken)

    def _reap(self) -> None:
        for pid, code in _ended():
            begun = self._started.pop(pid, None)
            if begun is None:
                continue
            forget_process(pid)
            self._loads.of(self._slots.pop(pid)).end()
            self._has_served |= bool(_drain(self._served))
            if self._stopping:
                by_signal = code in {-signal.SIGTERM, -signal.SIGINT}  # before it had begun to serve
                self._exit_code = self._exit_code or (0 if by_signal else abs(code))
            elif not self._has_served:
                self._exit_code = abs(code) or 1
                self._stop(signal.SIGTERM, None)
            else:
                self._plan(pid, code, time.monotonic() - begun)

    def _plan(self, pid: int, code: int, life: float) -> None:
        """Schedule the replacement of a worker that has ended."""
        if life >= _LONG_ENOUGH:
            self._failures = 0
        longest = _LONGEST_PAUSE if self._started else _LONGEST_OUTAGE
        pause = min(longest, _FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        _log.error("process_died", pid=pid, exit_code=code, left=len(self._started), replaced_in=pause)
        heapq.heappush(self._due, time.monotonic() + pause)

    def _replace(self) -> None:
        while self._due and self._due[0] <= time.monotonic():
            heapq.heappop(self._due)
            self._fork()

    def _kill_late(self) -> None:
        if time.monotonic() >= self._kill_at:
            _log.error("processes_killed", count=len(self._started))
            self._kill_at = float("inf")
            self._signal_workers(signal.SIGKILL)

    def _fork(self) -> None:
        """Start a worker, unless the portal is stopping; signals are blocked until the worker is recorded."""
        sys.stdout.flush()
        sys.stderr.flush()
        with _blocked(_PASSED_ON):
            if self._stopping:
                return
            supervisor = os.getpid()
            slot = next(slot for slot in range(self._count) if slot not in self._slots.values())
            pid = os.fork()
            if pid:
                self._started[pid] = time.monotonic()
                self._slots[pid] = slot
                return
            signal.set_wakeup_fd(-1)
            for number in (*_TO_STOP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker can reload
            for descriptor in (self._served, self._woken, self._wakes):
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
            _end_with(supervisor)
            os._exit(self._work_to_the_end(slot))

    def _work_to_the_end(self, slot: int) -> int:
        """Run the worker; turn every exception into an exit code."""
        start = Start(again=self._has_served, serves=lambda: _tell(self._serves), load=self._loads.of(slot))
        try:
            return self._work(start)
        except PortalError as error:
            _log.error("process_failed", code=error.code, detail=error.detail)
            return getattr(error, "exit_code", 1)
        except BaseException as error:  # noqa: BLE001 - a worker has no caller
            _log.error("process_failed", error=type(error).__name__)
            return 1

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Refuse new connections, close the supervisor's listening sockets, and signal the workers."""
        if not self._stopping:
            self._kill_at = time.monotonic() + _LONGEST_STOP
            refuse_new_connections(self._sockets)
            for one in self._sockets:
                one.close()
        self._stopping = True
        self._signal_workers(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signal_workers(number)

    def _signal_workers(self, number: int) -> None:
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _ended() -> Iterator[tuple[int, int]]:
    """Process ids and exit codes of the children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _drain(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


def _tell(descriptor: int) -> None:
    os.write(descriptor, b".")


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal whose only purpose is to end a wait."""


def _end_with(supervisor: int) -> None:
    """Stop this worker when its supervisor is killed; else the address would stay in use (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        os._exit(1)
