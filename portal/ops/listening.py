"""Where listening sockets come from, when they begin to listen, and how they stop.

A portal opens its own sockets, gets them from the service manager, or opens them beside those of a portal
that it replaces (docs/decisions/088).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from portal.ops.socket_file import TakingSocketFile
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
    left to it; files, that replace others when the first worker serves.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        kept_elsewhere: bool = False,
        files: Sequence[TakingSocketFile] = (),
    ) -> None:
        self.sockets = list(sockets)
        self._kept_elsewhere = kept_elsewhere
        self._files = files

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
        bound, files = take_over(listen, choose=choose)
        return cls(bound, files=files)

    def begin(self) -> None:
        """Make sure that clients can connect. Each worker calls it when it can serve."""
        for one in self.sockets:
            listen_at(one)
        for file in self._files:
            file.replace()

    def refuse(self) -> None:
        """Refuse new connections, or leave them to whoever else has these sockets or listens beside them."""
        for file in self._files:
            file.give_back()
        if not self._kept_elsewhere:
            prefer_successor(self.sockets)
            refuse_new_connections(self.sockets)

    def close(self) -> None:
        """Close them in this process, which is not a worker beside others."""
        for one in self.sockets:
            one.close()
        for file in self._files:
            file.close()
