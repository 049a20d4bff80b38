"""Load with `wrk`, and the CPU time, memory and descriptors of processes from /proc (Linux only)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)\b")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class LoadFailed(Exception):
    """Some response was not 200, or a connection failed; the message is what `wrk` printed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What `wrk` did: the number of calls, all with status 2xx, and the seconds it took."""

    calls: int
    seconds: float


def parse_wrk(printed: str) -> Load:
    """Read the output of `wrk`. Raises LoadFailed when any call failed."""
    found = _REQUESTS.search(printed)
    if found is None or "Non-2xx" in printed or "Socket errors" in printed or found[1] == "0":
        raise LoadFailed(printed)
    return Load(int(found[1]), float(found[2]) * _SECONDS[found[3]])


def run_wrk(
    url: str,
    headers: Mapping[str, str],
    seconds: float,
    *,
    connections: int = CONNECTIONS,
    script: Path | None = None,
) -> Load:
    """Load a URL for this many whole seconds. Raises LoadFailed.

    Parameters: script, a Lua script that makes the requests.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "10s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    return parse_wrk(subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout)


def processes_below(pid: int) -> Sequence[int]:
    """A process and all its descendants."""
    found = [pid]
    for one in found:
        for thread in _threads(one):
            found += map(int, (thread / "children").read_text().split())
    return found


def _threads(pid: int) -> Sequence[Path]:
    return [*Path(f"/proc/{pid}/task").iterdir()]


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU time that all threads of a process and its descendants have used.

    Linux counts it in nanoseconds (scheduler/sched-stats.rst); threads that have ended are not included.
    """
    threads = [thread for one in processes_below(pid) for thread in _threads(one)]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def open_descriptors(pid: int) -> int:
    """Open files and sockets of a process and its descendants."""
    return sum(len(os.listdir(f"/proc/{one}/fd")) for one in processes_below(pid))


def resident_bytes(pid: int) -> int:
    """Memory of a process and its descendants; pages that they share count for each of them."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes_below(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")
