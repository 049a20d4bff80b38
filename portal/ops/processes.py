"""Several worker processes on one set of listening sockets.

A worker that ends is replaced, whatever its exit code: a file or database that is broken for a while must
not stop the workers that still serve. The pauses between attempts grow. Only the first start can fail: when a
worker ends before any worker has served, the portal exits with its exit code.

After SIGHUP with changed settings, all workers are replaced one by one: a new one must serve before an old
one stops. When the first new one cannot serve, everything stays as it was.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

import structlog

from portal.errors import PortalError
from portal.ops.forking import blocked, do_nothing, drain, end_with, ended
from portal.ops.listening import ListeningSockets
from portal.ops.metrics import forget_process
from portal.ops.service_manager import ServiceManager
from portal.ops.worker_memory import WorkerMemory, WorkersMemory

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
_LONGEST_START = 120.0
"""Seconds in which a worker with changed settings must begin to serve before it is killed."""
_PID = struct.Struct("i")
_TO_STOP = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (*_TO_STOP, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Start:
    """How a worker is started."""

    alone: bool = False
    """Whether no other process has its listening sockets."""
    again: bool = False
    """Whether it replaces a worker while other workers may serve."""
    reloads: bool = False
    """Whether it does so because settings changed: it must serve what the others serve."""
    serves: Callable[[], None] = lambda: None
    """The worker calls it when it begins to serve."""
    alive: Callable[[], None] = lambda: None
    """The worker calls it every `alive_seconds`."""
    alive_seconds: float | None = None
    memory: WorkerMemory | None = None
    """What it shares with other workers; None without others."""


Work = Callable[[Start], int]
"""Serves until it receives a signal to stop, and returns an exit code."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The work of workers with changed settings."""

    work: Work
    give_up: Callable[[], None] = lambda: None
    """Called when the first of them cannot serve, and the former work goes on."""


Renew = Callable[[], Renewed | None]
"""Reads the settings again; returns the work of new workers, or None when nothing is to be replaced."""


@dataclass(slots=True)
class _Worker:
    slot: int
    """Its place in the loads."""
    begun: float
    heard: float
    """When it last said that it serves, on the monotonic clock."""
    serves: bool = False
    leaving: bool = False
    """Whether another worker has taken its place."""
    kill_at: float = float("inf")


class Supervisor:
    """Forks worker processes, replaces those that end, and forwards SIGTERM, SIGINT and SIGHUP to them."""

    def __init__(
        self,
        count: int,
        work: Work,
        *,
        sockets: Sequence[ListeningSockets] = (),
        renew: Renew = lambda: None,
        manager: ServiceManager | None = None,
    ) -> None:
        """Create a supervisor of `count` workers.

        Parameters: sockets, the listening sockets that they inherit; renew, called after SIGHUP; manager, who
        is told when the workers serve, and stop.
        """
        self._count = count
        self._work = work
        self._sockets = sockets
        self._renew = renew
        self._manager = manager or ServiceManager()
        self._started: dict[int, _Worker] = {}
        self._memory = WorkersMemory(2 * count)
        """For as many workers that finish their requests as for those that replace them."""
        self._due: list[float] = []
        self._failures = 0
        self._has_served = False
        self._stopping = False
        self._exit_code = 0
        self._reload_asked = False
        self._outdated: list[int] = []
        """Workers with former settings, which are to be replaced."""
        self._newcomer: int | None = None
        """The worker that replaces the next one of them."""
        self._former: Work | None = None
        """Until the first worker serves with new settings: the work of the others."""
        self._give_up: Callable[[], None] = lambda: None
        self._retry_at = 0.0
        self._is_announced = False
        self._beat_at = 0.0

    def run(self) -> int:
        """Run until a signal to stop arrives or the first start has failed; return the exit code."""
        self._served, self._serves = os.pipe()
        self._woken, self._wakes = os.pipe()
        for descriptor in (self._served, self._serves, self._woken, self._wakes):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, do_nothing)
        for number in _TO_STOP:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        for _ in range(self._count):
            self._fork(self._work)
        while self._started or (self._due and not self._stopping):
            self._wait()
            self._hear()
            self._reap()
            self._reload()
            self._replace()
            self._kill_late()
            self._tell_manager()
        signal.set_wakeup_fd(-1)
        return self._exit_code

    def _wait(self) -> None:
        """Sleep until a signal arrives, a worker says something, or the next act is due."""
        times = [worker.kill_at for worker in self._started.values()]
        if self._has_free_slot:
            times += self._due[:1]
            if self._outdated and self._newcomer is None:
                times.append(self._retry_at)
        if self._manager.beat_seconds is not None:
            times.append(self._beat_at)
        until = min(times, default=float("inf"))
        seconds = None if until == float("inf") else max(0.0, until - time.monotonic())
        select.select([self._served, self._woken], [], [], seconds)
        drain(self._woken)

    def _hear(self) -> None:
        """Take note of the workers that serve."""
        said = drain(self._served)
        self._has_served |= bool(said)
        for (pid,) in _PID.iter_unpack(said):
            worker = self._started.get(pid)
            if worker is None:
                continue
            worker.heard = time.monotonic()
            if not worker.serves and not worker.leaving and not self._stopping:
                worker.kill_at = float("inf")
            worker.serves = True

    def _reap(self) -> None:
        for pid, code in ended():
            worker = self._started.pop(pid, None)
            if worker is None:
                continue
            forget_process(pid)
            self._memory.of(worker.slot).end()
            self._hear()
            if self._stopping:
                by_signal = code in {-signal.SIGTERM, -signal.SIGINT}  # before it had begun to serve
                self._exit_code = self._exit_code or (0 if by_signal else abs(code))
            elif worker.leaving:
                _log.info("process_replaced", pid=pid, exit_code=code)
            elif not self._has_served:
                self._exit_code = abs(code) or 1
                self._stop(signal.SIGTERM, None)
            elif pid == self._newcomer:
                self._give_up_newcomer(pid, code, time.monotonic() - worker.begun)
            else:
                if pid in self._outdated:
                    self._outdated.remove(pid)
                self._plan(pid, code, time.monotonic() - worker.begun)

    def _plan(self, pid: int, code: int, life: float) -> None:
        """Schedule the replacement of a worker that has ended."""
        pause = self._next_pause(life)
        _log.error("process_died", pid=pid, exit_code=code, left=len(self._started), replaced_in=pause)
        heapq.heappush(self._due, time.monotonic() + pause)

    def _next_pause(self, life: float) -> float:
        if life >= _LONG_ENOUGH:
            self._failures = 0
        longest = _LONGEST_PAUSE if self._started else _LONGEST_OUTAGE
        pause = min(longest, _FIRST_PAUSE * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        return pause

    def _replace(self) -> None:
        while self._due and self._due[0] <= time.monotonic() and self._has_free_slot:
            heapq.heappop(self._due)
            pid = self._fork(self._former or self._work)
            if self._former is not None and pid is not None:
                self._outdated.append(pid)

    # --- changed settings

    def _reload(self) -> None:
        """Take the next step of replacing all workers, if there is one."""
        if self._stopping:
            return
        if self._newcomer is not None and self._started[self._newcomer].serves:
            self._newcomer, self._former = None, None
            if len(self._active) > self._count and self._outdated:
                self._retire(self._outdated.pop(0))
            if not self._outdated:
                _log.info("processes_replaced", count=self._count)
        if self._reload_asked and self._has_served and self._newcomer is None and not self._outdated:
            self._reload_asked = False
            self._manager.reloading()
            self._is_announced = False
            renewed = self._renew()
            if renewed is not None:
                self._former, self._work = self._work, renewed.work
                self._give_up = renewed.give_up
                self._outdated = list(self._active)
                self._retry_at = 0.0
        if self._outdated and self._newcomer is None and self._has_free_slot:
            if self._retry_at > time.monotonic():
                return
            self._newcomer = self._fork(self._work, reloads=True)
            if self._newcomer is not None:
                self._started[self._newcomer].kill_at = time.monotonic() + _LONGEST_START

    def _give_up_newcomer(self, pid: int, code: int, life: float) -> None:
        """Return to the former settings; when some workers have the new ones, try again later."""
        self._newcomer = None
        if self._former is not None:
            self._work, self._former = self._former, None
            self._give_up()
            self._outdated.clear()
            _log.error("reload_failed", pid=pid, exit_code=code)
            return
        self._retry_at = time.monotonic() + self._next_pause(life)
        _log.error("process_died", pid=pid, exit_code=code, left=len(self._started))

    def _retire(self, pid: int) -> None:
        worker = self._started[pid]
        worker.leaving = True
        worker.kill_at = time.monotonic() + _LONGEST_STOP
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    @property
    def _active(self) -> list[int]:
        return [pid for pid, worker in self._started.items() if not worker.leaving]

    # ---

    def _kill_late(self) -> None:
        now = time.monotonic()
        late = [pid for pid, worker in self._started.items() if now >= worker.kill_at]
        if late:
            _log.error("processes_killed", count=len(late))
        for pid in late:
            self._started[pid].kill_at = float("inf")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _tell_manager(self) -> None:
        """Tell the service manager that all workers serve, and that one of them is not stuck."""
        if self._stopping:
            return
        workers = [self._started[pid] for pid in self._active]
        is_reloading = self._newcomer is not None or bool(self._outdated)
        if not self._is_announced and not is_reloading and workers and all(one.serves for one in workers):
            self._is_announced = True
            self._manager.serving()
        now, seconds, silence = time.monotonic(), self._manager.beat_seconds, self._manager.silence_seconds
        if seconds is not None and silence is not None and now >= self._beat_at:
            self._beat_at = now + seconds
            heard = [one.heard for one in workers if one.serves]
            if not heard or now - max(heard) < silence:  # without any worker, replacing them is tried
                self._manager.alive()

    @property
    def _has_free_slot(self) -> bool:
        return len(self._started) < 2 * self._count

    def _fork(self, work: Work, *, reloads: bool = False) -> int | None:
        """Start a worker and return its process id; None when the portal is stopping.

        Signals are blocked until the worker is recorded.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        with blocked(_PASSED_ON):
            if self._stopping:
                return None
            supervisor = os.getpid()
            taken = {worker.slot for worker in self._started.values()}
            slot = next(slot for slot in range(2 * self._count) if slot not in taken)
            pid = os.fork()
            if pid:
                now = time.monotonic()
                self._started[pid] = _Worker(slot, now, now)
                return pid
            signal.set_wakeup_fd(-1)
            for number in (*_TO_STOP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker can reload
            for descriptor in (self._served, self._woken, self._wakes):
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
            end_with(supervisor)
            os._exit(self._work_to_the_end(work, slot, reloads=reloads))

    def _work_to_the_end(self, work: Work, slot: int, *, reloads: bool) -> int:
        """Run the worker; turn every exception into an exit code."""
        start = Start(
            again=self._has_served,
            reloads=reloads,
            serves=self._say,
            alive=self._say,
            alive_seconds=self._manager.beat_seconds,
            memory=self._memory.of(slot),
        )
        try:
            return work(start)
        except PortalError as error:
            _log.error("process_failed", code=error.code, detail=error.detail)
            return getattr(error, "exit_code", 1)
        except BaseException as error:  # noqa: BLE001 - a worker has no caller
            _log.error("process_failed", error=type(error).__name__)
            return 1

    def _say(self) -> None:
        """In a worker: say that it serves."""
        with contextlib.suppress(BlockingIOError):  # the supervisor has not yet read thousands of others
            os.write(self._serves, _PID.pack(os.getpid()))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Refuse new connections, close the supervisor's listening sockets, and signal the workers."""
        if not self._stopping:
            self._manager.stopping()
            for worker in self._started.values():
                worker.kill_at = min(worker.kill_at, time.monotonic() + _LONGEST_STOP)
            for one in self._sockets:
                one.refuse()
                one.close()
        self._stopping = True
        self._signal_workers(number)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._reload_asked = True
        self._signal_workers(number)

    def _signal_workers(self, number: int) -> None:
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
