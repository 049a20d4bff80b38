"""Child processes of a test: started within a bounded time, ended with it, their words shown on failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 10.0


async def eventually(look: Callable[[], T | None], what: str, *, seconds: float = 20.0) -> T:
    """Look again and again until there is something true to see; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"after {seconds:g} s there is still no sign of: {what}"
        await asyncio.sleep(0.01)
    return seen


class Child:
    """A child process whose output goes to two files.

    Its standard input stays open until it is ended: a child that reads it ends with whoever started it.
    Parameters: name, for messages and files; folder, where its output goes; first_line, written to its
    standard input.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        first_line: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._from = (out.tell(), err.tell())
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=os.environ if environment is None else environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                bufsize=0,
            )
        assert self._process.stdin is not None
        # One that has ended already says why in `ready`.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{first_line}\n".encode() if first_line else b"")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What it wrote to standard output."""
        return self._written(self._out, self._from[0])

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._written(self._err, self._from[1])

    @property
    def exit_code(self) -> int | None:
        """None: it runs."""
        return self._process.poll()

    async def ready(self, look: Callable[[], T | None], *, seconds: float = 20.0) -> T:
        """Wait until `look` sees that it serves; fails at once when it ends before."""

        def still_there() -> T | None:
            assert self.exit_code is None, f"{self.name} ended with {self.exit_code}:\n{self.errors[-4000:]}"
            return look()

        try:
            return await eventually(still_there, f"{self.name} serving", seconds=seconds)
        except AssertionError:
            print(self.errors)
            self.end()
            raise

    async def ended(self, *, seconds: float = 20.0) -> int:
        """Wait until it has ended by itself; return its exit code."""
        await eventually(lambda: self.exit_code is not None, f"the end of {self.name}", seconds=seconds)
        self.end()
        assert self.exit_code is not None
        return self.exit_code

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        """End it, whatever it is doing, and let go of it. Ending twice is allowed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()  # does nothing to one that has ended
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_STOP_SECONDS)

    @staticmethod
    def _written(path: Path, start: int) -> str:
        return path.read_bytes()[start:].decode(errors="replace")
