"""The limit of file descriptors of this process, and how many connections it allows."""

from __future__ import annotations

import resource
import sys

from portal.errors import StartupError

DEFAULT_CONNECTIONS = 4096
"""Of clients, for each process, when the settings contain no number."""
_TARGET_DESCRIPTORS = 65_536
_RESERVED = 256
"""For the database, files, name lookups, and connections to providers."""
_EACH = 2
"""A client's call uses its own connection and one to the API."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files, up to 65,536 or the hard limit (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = reachable_limit(soft, hard)
    if soft != target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def reachable_limit(soft: int, hard: int) -> int:
    """The limit that `raise_descriptor_limit` sets. Parameters: soft and hard, the limits of a process."""
    target = _TARGET_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _TARGET_DESCRIPTORS)
    return soft if soft == resource.RLIM_INFINITY else max(soft, target)


def fitting_connections(open_files: int) -> int:
    """How many connections of clients a limit of open files allows; below 1: the portal does not start."""
    if open_files == resource.RLIM_INFINITY:
        return sys.maxsize
    return (open_files - _RESERVED) // _EACH


def connection_limit(configured: int | None) -> int:
    """Return how many connections of clients a process may have.

    Parameters: configured, the setting `limits.connections`; None: as many as possible, at most 4,096.
    Raises: StartupError when the limit of open files is too low for this number.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fitting = fitting_connections(soft)
    if fitting < 1 or (configured is not None and configured > fitting):
        count = configured or 1
        raise StartupError(
            f"{count} connections need {count * _EACH + _RESERVED} open files, and {soft} are allowed.",
            remedy="Raise the limit of open files (LimitNOFILE, ulimit -n), or lower limits.connections.",
        )
    return configured or min(fitting, DEFAULT_CONNECTIONS)
