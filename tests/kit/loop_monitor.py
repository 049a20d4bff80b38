"""Measures how long callbacks of the portal hold the event loop (THREATS D1, docs/architecture.md rule 6).

It counts CPU time of the thread and, on Linux, time in which the thread slept, waiting for a file, a lock or
a socket. It does not count time in which other processes used the CPU, nor garbage collection: a test process
has far more objects than a portal.

Tests, providers and APIs run in the same loop. A callback belongs to the portal if the outermost function of
the project on its stack is in `portal`, and not in `portal.demo` or `tests`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

HOLD_PROPERTY = "longest hold of the event loop"
"""Property name in a JUnit report; the value is seconds, a space and a description."""
LONGEST_HOLD = 0.050
"""Seconds of CPU time. The rule requires 0.010; tests run with coverage, on busy machines."""
LONGEST_SLEEP = 1.0
"""Seconds. On a busy machine, a thread may start late or wait long for the interpreter lock."""
PROJECT_PREFIXES = ("portal.", "tests.", "test_", "conftest")
"""Prefixes of the project's module names; test modules outside packages have no package prefix."""
SAMPLED_AFTER = 0.010
"""Seconds after which the stack of a callback is sampled."""
_SAMPLE_INTERVAL = 0.005


@dataclass(frozen=True, slots=True)
class Hold:
    """A callback that held the event loop; times in seconds."""

    cpu: float
    slept: float
    stack: tuple[str, ...]
    """Functions, outermost first."""

    @property
    def is_too_long(self) -> bool:
        return self.cpu > LONGEST_HOLD or self.slept > LONGEST_SLEEP

    def __str__(self) -> str:
        own = [place for place in self.stack if place.startswith("portal.")]
        within = f"{own[0]} … {own[-1]}" if len(own) > 1 else "".join(own)
        return f"{self.cpu * 1e3:.0f} ms of CPU and {self.slept * 1e3:.0f} ms asleep in {within}"


@dataclass(slots=True)
class LoopMonitor:
    """Measures every callback of asyncio loops in this thread during `watching`."""

    holds: list[Hold] = field(default_factory=list)
    """Sampled holds of the portal."""
    _running_since: float | None = None
    _sample: tuple[str, ...] = ()
    _collecting_since: float | None = None
    _collected: float = 0.0

    @contextlib.contextmanager
    def watching(self) -> Iterator[LoopMonitor]:
        """Measure callbacks of this thread during the block."""
        thread = threading.get_ident()
        stop = threading.Event()
        watchdog = threading.Thread(target=self._watch, args=(thread, stop), name="loop monitor", daemon=True)
        scheduling = _Scheduling(threading.get_native_id())
        run = asyncio.events.Handle._run

        def measured(handle: asyncio.events.Handle) -> None:
            if threading.get_ident() != thread or self._running_since is not None:
                run(handle)
                return
            self._begin()
            waited, cpu = scheduling.waited(), time.thread_time()
            self._running_since = started = time.perf_counter()
            try:
                run(handle)
            finally:
                wall = time.perf_counter() - started
                self._running_since = None
                if self._sample:
                    used = time.thread_time() - cpu
                    slept = wall - used - (scheduling.waited() - waited) if scheduling.known else 0.0
                    self._note(used - self._collected, max(slept, 0.0))

        asyncio.events.Handle._run = measured  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collection)
        watchdog.start()
        try:
            yield self
        finally:
            asyncio.events.Handle._run = run  # type: ignore[method-assign]
            gc.callbacks.remove(self._collection)
            stop.set()
            watchdog.join()
            scheduling.close()

    def _begin(self) -> None:
        self._sample, self._collected = (), 0.0

    def _note(self, cpu: float, slept: float) -> None:
        outermost = next((place for place in self._sample if place.startswith(PROJECT_PREFIXES)), "")
        if outermost.startswith("portal.") and not outermost.startswith("portal.demo."):
            self.holds.append(Hold(cpu, slept, self._sample))

    def _watch(self, thread: int, stop: threading.Event) -> None:
        while not stop.wait(_SAMPLE_INTERVAL):
            since = self._running_since
            if since is None or time.perf_counter() - since < SAMPLED_AFTER:
                continue
            frame = sys._current_frames().get(thread)
            if frame is not None and self._running_since == since:
                self._sample = _stack(frame)

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        if self._running_since is None:
            return
        if phase == "start":
            self._collecting_since = time.thread_time()
        elif self._collecting_since is not None:
            self._collected += time.thread_time() - self._collecting_since
            self._collecting_since = None


class _Scheduling:
    """Scheduling statistics of a thread (Linux, sched-stats), if available."""

    def __init__(self, thread: int) -> None:
        path = Path(f"/proc/self/task/{thread}/schedstat")
        self.known = path.exists()
        self._file = os.open(path, os.O_RDONLY) if self.known else -1

    def waited(self) -> float:
        """Return the seconds in which the thread was ready to run, but others ran."""
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self.known else 0.0

    def close(self) -> None:
        if self.known:
            os.close(self._file)


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Return the functions between the event loop and the running function, outermost first."""
    places: list[str] = []
    while frame is not None and frame.f_code.co_name != "measured":
        places.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(places))
