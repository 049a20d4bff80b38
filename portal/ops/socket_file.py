"""The socket file of a portal that takes over from another one, which listens at the same path."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


class TakingSocketFile:
    """A socket file that replaces another when its portal serves.

    The other portal keeps its socket, without a path to it. So a link to it stays until this portal stops: if
    the other one still serves then, because it is to go on, it gets its path back (docs/decisions/088).
    Parameters: made, where this portal's socket is bound; path, where clients look for it.
    """

    def __init__(self, made: Path, path: Path) -> None:
        self._made = made
        self._path = path
        self._former = made.with_name(f"{made.name[:-1]}~")  # not longer: paths of sockets are limited
        self._own = _identity(made)

    def replace(self) -> None:
        """Take the path; no effect when another worker of this portal has done it."""
        if not self._made.exists():
            return
        # No file to keep, or another worker keeps it; or a file system without links: nothing is given back.
        with contextlib.suppress(OSError):
            os.link(self._path, self._former)
        with contextlib.suppress(FileNotFoundError):
            self._made.rename(self._path)

    def give_back(self) -> None:
        """Return the path to the portal that had it, if that still serves and nobody else has taken it."""
        if _identity(self._path) == self._own and has_server(self._former):
            self._former.rename(self._path)

    def close(self) -> None:
        """Remove what only this portal needs."""
        for file in (self._made, self._former):
            file.unlink(missing_ok=True)


def has_server(path: Path) -> bool:
    """Whether a server listens at a socket file. Raises OSError, but not for a file that does not exist."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            pass  # its queue is full
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
