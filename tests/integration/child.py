"""Child processes of a test: bounded start, ended with the test, output printed on failure."""

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


async def eventually(condition: Callable[[], T | None], what: str, *, seconds: float = 20.0) -> T:
    """Poll `condition` until it returns a true value; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)
    return value


class Child:
    """A child process with its output in two files.

    Its standard input stays open until `end`: a child that reads it ends together with its parent.
    Parameters: name, for messages and files; folder, for its output; first_line, written to its standard
    input; passed, descriptors that it inherits with the same numbers.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        first_line: str = "",
        environment: Mapping[str, str] | None = None,
        passed: Sequence[int] = (),
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
                pass_fds=passed,
            )
        assert self._process.stdin is not None
        # `ready` reports why a process has already ended.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{first_line}\n".encode() if first_line else b"")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """Its standard output."""
        return self._written(self._out, self._from[0])

    @property
    def errors(self) -> str:
        """Its standard error."""
        return self._written(self._err, self._from[1])

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    async def ready(self, condition: Callable[[], T | None], *, seconds: float = 20.0) -> T:
        """Wait until `condition` reports that it serves; fail immediately if it ends before."""

        def check() -> T | None:
            assert self.exit_code is None, f"{self.name} ended with {self.exit_code}:\n{self.errors[-4000:]}"
            return condition()

        try:
            return await eventually(check, f"{self.name} serving", seconds=seconds)
        except AssertionError:
            print(self.errors)
            self.end()
            raise

    async def ended(self, *, seconds: float = 20.0) -> int:
        """Wait until it ends by itself; return its exit code."""
        await eventually(lambda: self.exit_code is not None, f"the end of {self.name}", seconds=seconds)
        self.end()
        assert self.exit_code is not None
        return self.exit_code

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        """Terminate it and release its resources. Repeated calls are allowed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()  # no effect if it has ended
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_STOP_SECONDS)

    @staticmethod
    def _written(path: Path, start: int) -> str:
        return path.read_bytes()[start:].decode(errors="replace")
