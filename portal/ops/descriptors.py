"""How many file descriptors this process may have, and how many connections fit into them."""

from __future__ import annotations

import resource

from portal.errors import StartupError

DEFAULT_CONNECTIONS = 4096
"""Of clients, for each process, when the settings name no number."""
_WANTED_DESCRIPTORS = 65_536
_RESERVED = 256
"""For the database, files, lookups, and connections to providers."""
_EACH = 2
"""A client's call holds its own connection and one to the API."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files as far as the hard limit allows (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_limit(configured: int | None) -> int:
    """Return how many clients' connections a process may have.

    Parameters: configured, what `limits.connections` says; None for as many as fit, 4,096 at most.
    Raises: StartupError when as many do not fit into the limit of open files.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return configured or DEFAULT_CONNECTIONS
    fitting = (soft - _RESERVED) // _EACH
    if fitting < 1 or (configured is not None and configured > fitting):
        wanted = configured or 1
        raise StartupError(
            f"{wanted} connections need {wanted * _EACH + _RESERVED} open files, and {soft} are allowed.",
            remedy="Raise the limit of open files (LimitNOFILE, ulimit -n), or lower limits.connections.",
        )
    return configured or min(fitting, DEFAULT_CONNECTIONS)
