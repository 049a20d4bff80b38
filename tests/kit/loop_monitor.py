"""Measures how long callbacks of the portal hold the event loop (THREATS D1, docs/architecture.md rule 6).

What counts is CPU time of the thread, and, on Linux, time in which it slept: waiting for a file,
a lock or a socket. Time in which the machine was busy with other processes does not count, nor does garbage
collection: a test process has far more objects than a portal.

Tests, providers and APIs run in the same loop. A callback is the portal's when the outermost function of the
project on its stack is of `portal`, and not of `portal.demo` or `tests`.
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
"""Name in a JUnit report; the value is seconds, a space and a description."""
LONGEST_HOLD = 0.050
"""Seconds of CPU. The rule says 0.010; tests run under coverage, on machines that do other things."""
LONGEST_SLEEP = 1.0
"""Seconds. The start of a thread or its turn at the interpreter lock may take long on a busy machine."""
OWN = ("portal.", "tests.", "test_", "conftest")
"""How names of the project's modules begin; test modules of folders that are no packages have no prefix."""
SAMPLED_AFTER = 0.010
"""Seconds after which it is noted what a callback is doing."""
_EVERY = 0.005


@dataclass(frozen=True, slots=True)
class Hold:
    """A callback that held the loop; times in seconds."""

    cpu: float
    slept: float
    stack: tuple[str, ...]
    """Functions, the outermost first."""

    @property
    def is_too_long(self) -> bool:
        return self.cpu > LONGEST_HOLD or self.slept > LONGEST_SLEEP

    def __str__(self) -> str:
        own = [place for place in self.stack if place.startswith("portal.")]
        within = f"{own[0]} … {own[-1]}" if len(own) > 1 else "".join(own)
        return f"{self.cpu * 1e3:.0f} ms of CPU and {self.slept * 1e3:.0f} ms asleep in {within}"


@dataclass(slots=True)
class LoopMonitor:
    """Watches every callback of every asyncio loop of this thread while `watching`."""

    holds: list[Hold] = field(default_factory=list)
    """Holds of the portal of which a sample was taken."""
    _running_since: float | None = None
    _sample: tuple[str, ...] = ()
    _collecting_since: float | None = None
    _collected: float = 0.0

    @contextlib.contextmanager
    def watching(self) -> Iterator[LoopMonitor]:
        """Measure callbacks of this thread while the block runs."""
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
        outermost = next((place for place in self._sample if place.startswith(OWN)), "")
        if outermost.startswith("portal.") and not outermost.startswith("portal.demo."):
            self.holds.append(Hold(cpu, slept, self._sample))

    def _watch(self, thread: int, stop: threading.Event) -> None:
        while not stop.wait(_EVERY):
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
    """What the kernel says of a thread (Linux, sched-stats); nothing where it says nothing."""

    def __init__(self, thread: int) -> None:
        path = Path(f"/proc/self/task/{thread}/schedstat")
        self.known = path.exists()
        self._file = os.open(path, os.O_RDONLY) if self.known else -1

    def waited(self) -> float:
        """Seconds in which the thread could have run, and others ran."""
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self.known else 0.0

    def close(self) -> None:
        if self.known:
            os.close(self._file)


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Functions between the loop and the one that runs, the outermost first."""
    places: list[str] = []
    while frame is not None and frame.f_code.co_name != "measured":
        places.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(places))
