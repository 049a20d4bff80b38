"""Who holds the refresh lease of a login, and whether that process is known to be gone.

A process that held a lease and did not give it back may have spent the login's refresh token: it was killed,
or it is cut off from the database and still holds the new one. Only the kernel can tell the two apart, and
only for processes of this machine; so the name of an owner says where its process runs.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_NAMESPACE = Path("/proc/self/ns/pid")


class LeaseOwners:
    """Names for the leases of this process, and what this process knows of the owners of others.

    A name is `{machine}.{process id}.{instance}.{random}`; the machine is one boot of a kernel and one
    process namespace of it, hashed; an instance is one object of this class. Where the machine cannot be
    found out, other processes are never known to be gone.
    """

    def __init__(self) -> None:
        self._machine = _machine()
        self._prefix = f"{self._machine}.{os.getpid()}.{secrets.token_hex(4)}."
        self._active: set[str] = set()

    def begin(self) -> str:
        """A new owner, for one refresh."""
        owner = self._prefix + secrets.token_hex(8)
        self._active.add(owner)
        return owner

    def end(self, owner: str) -> None:
        """The refresh of this owner is over, whether or not its lease could be given back."""
        self._active.discard(owner)

    def is_gone(self, owner: str) -> bool:
        """Whether the refresh of this owner is known to be over: nobody holds its result any more."""
        if owner.startswith(self._prefix):
            return owner not in self._active
        machine, process = _parts(owner)
        return machine == self._machine and not _runs(process)

    def is_near(self, owner: str) -> bool:
        """Whether the owner's process is of this machine, so that `is_gone` will tell when it has ended."""
        return _parts(owner)[0] == self._machine


def _parts(owner: str) -> tuple[str, int]:
    machine, _, rest = owner.partition(".")
    process = rest.partition(".")[0]
    return machine, int(process) if process.isdecimal() and len(process) < 10 else 0


def _runs(process: int) -> bool:
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
        place = f"{_BOOT_ID.read_text().strip()} {_PROCESS_NAMESPACE.readlink()} {os.uname().nodename}"
    except OSError:
        place = secrets.token_hex(16)
    return hashlib.sha256(place.encode()).hexdigest()[:16]
