"""Where listening sockets come from, when they begin to listen, and how they stop.

A portal opens its own sockets, gets them from the service manager, or opens them beside those of a portal
that it replaces (docs/decisions/088).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from portal.ops.sockets import (
    listen_at,
    listening_sockets,
    prefer_successor,
    refuse_new_connections,
    take_over,
)


class ListeningSockets:
    """The listening sockets of one setting, which all workers share.

    Parameters: kept_elsewhere, whether another process has them too and serves them later: their queues are
    left to it; moves, socket files that replace others when the first worker serves.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        kept_elsewhere: bool = False,
        moves: Mapping[Path, Path] | None = None,
    ) -> None:
        self.sockets = list(sockets)
        self._kept_elsewhere = kept_elsewhere
        self._moves = dict(moves or {})

    @classmethod
    def open(
        cls, listen: str, *, choose: str, passed: Sequence[socket.socket] = (), beside: bool = False
    ) -> ListeningSockets:
        """Listen at `listen`, or use the passed sockets.

        Parameters: choose, how to choose another address, as the end of a sentence; beside, whether another
        portal may listen there, which then gets no more connections when the first worker here serves.
        Raises: StartupError.
        """
        if passed:
            return cls(passed, kept_elsewhere=True)
        if not beside:
            return cls(listening_sockets(listen, choose=choose))
        bound, moves = take_over(listen, choose=choose)
        return cls(bound, moves=moves)

    def begin(self) -> None:
        """Make sure that clients can connect. Each worker calls it when it can serve."""
        for one in self.sockets:
            listen_at(one)
        for made, path in self._moves.items():
            with contextlib.suppress(FileNotFoundError):  # another worker has moved it
                made.rename(path)

    def refuse(self) -> None:
        """Refuse new connections, or leave them to whoever else has these sockets or listens beside them."""
        if not self._kept_elsewhere:
            prefer_successor(self.sockets)
            refuse_new_connections(self.sockets)

    def close(self) -> None:
        """Close them in this process."""
        for one in self.sockets:
            one.close()
