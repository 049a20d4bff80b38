"""Names of lease owners, and whether the process of an owner has ended.

A process that did not release its lease may have used the refresh token of the login. Either it was killed,
or it lost its connection to the database and still has the new token. Only the kernel can tell which, and
only for processes on the same machine; so the name of an owner includes its machine and process id.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_NAMESPACE = Path("/proc/self/ns/pid")


class LeaseOwners:
    """Creates names for the leases of this process and checks whether other owners still run.

    A name is `{machine}.{process id}.{instance}.{random}`. The machine is a hash of the kernel's boot id, the
    PID namespace and the host name; an instance is one object of this class. Where these cannot be read,
    `is_gone` is false for every other process.
    """

    def __init__(self) -> None:
        self._machine = _machine()
        self._prefix = f"{self._machine}.{os.getpid()}.{secrets.token_hex(4)}."
        self._active: set[str] = set()

    def begin(self) -> str:
        """Return a new owner name, for one refresh."""
        owner = self._prefix + secrets.token_hex(8)
        self._active.add(owner)
        return owner

    def end(self, owner: str) -> None:
        """Mark the refresh of this owner as finished, whether or not its lease could be released."""
        self._active.discard(owner)

    def is_gone(self, owner: str) -> bool:
        """Whether the refresh of this owner has certainly ended, so that no process has its result."""
        if owner.startswith(self._prefix):
            return owner not in self._active
        machine, process = _parts(owner)
        return machine == self._machine and not _is_running(process)

    def is_local(self, owner: str) -> bool:
        """Whether the owner's process runs on this machine, so that `is_gone` detects its end."""
        return _parts(owner)[0] == self._machine


def _parts(owner: str) -> tuple[str, int]:
    machine, _, rest = owner.partition(".")
    process = rest.partition(".")[0]
    return machine, int(process) if process.isdecimal() and len(process) < 10 else 0


def _is_running(process: int) -> bool:
    if process <= 0:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    try:
        identity = f"{_BOOT_ID.read_text().strip()} {_PROCESS_NAMESPACE.readlink()} {os.uname().nodename}"
    except OSError:
        identity = secrets.token_hex(16)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
