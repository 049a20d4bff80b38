"""What a process that forks workers needs of the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Block signals in the block; they arrive afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def hold_hang_ups() -> None:
    """Keep a SIGHUP that arrives from now on for `let_hang_ups_in`: nobody can read files again before."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))


def let_hang_ups_in() -> None:
    """Receive SIGHUP, also one that was sent since `hold_hang_ups`. Call it when its handler is set."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))


def ended() -> Iterator[tuple[int, int]]:
    """Process ids and exit codes of the children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def drain(descriptor: int) -> bytes:
    """Read what is in a pipe, at most 4,096 bytes, without waiting."""
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


def do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal whose only purpose is to end a wait."""


def end_with(supervisor: int) -> None:
    """Stop this worker when its supervisor is killed; else the address would stay in use (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        os._exit(1)
