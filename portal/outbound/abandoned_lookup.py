"""A name lookup that does not delay the end of the process: for commands that must end in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence


async def lookup_in_daemon_thread(host: str) -> Sequence[str]:
    """Return the addresses of a host name, looked up by the operating system.

    A lookup cannot be interrupted, and Python waits at its end for threads of a pool; it does not wait for
    this one. Raises: OSError when there are none.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def deliver(addresses: list[str] | None, error: OSError | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses or [])

    def look_up() -> None:
        addresses, error = None, None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            addresses = [str(info[4][0]) for info in infos]
        except (OSError, UnicodeError) as failed:
            error = failed if isinstance(failed, OSError) else OSError(str(failed))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, addresses, error)

    threading.Thread(target=look_up, name="lookup", daemon=True).start()
    return await found
