"""Opens listening sockets, and explains why an address cannot be used."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from portal.errors import StartupError

_UNIX = "unix:"
_BACKLOG = 1024
_SOCKET_MODE = 0o660

_SO_ATTACH_FILTER = 26
_DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header (RFC 9293 3.1)
        (0x54, 0, 0, 0x12),  # of these, SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone begins a connection:
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # keep everything else
    )
)
"""A classic BPF program (Linux, Documentation/networking/filter.rst)."""


def listening_sockets(listen: str, *, choose: str) -> list[socket.socket]:
    """Listen at `host:port`, with port 0 at any free port, or at `unix:/path`.

    For a host name all of its addresses are used, or none. A socket file without a server is replaced.

    Parameters: choose, how to choose another address, as the end of a sentence.
    Raises: StartupError.
    """
    if listen.startswith(_UNIX):
        return [_at_path(listen, Path(listen.removeprefix(_UNIX)), choose)]
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host or None, int(port), 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except UnicodeError as error:
        raise _refused(listen, OSError(errno.EINVAL, "this is not a host name"), choose) from error
    except OSError as error:
        raise _refused(listen, error, choose) from error
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as opened:
        for family, address in sorted({(family, address) for family, *_, address in found}):
            at = str(address[0])
            number = bound[0].getsockname()[1] if bound else int(port)
            try:
                one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                _listen_at(one, (at, number, *address[2:]))
            except OSError as error:
                if _lacks_ipv6(error, family) and at != host:
                    continue
                raise _refused(listen if at == host else f"{listen} ({at})", error, choose, number) from error
            bound.append(one)
        opened.pop_all()
    if not bound:
        raise _refused(listen, OSError(errno.EADDRNOTAVAIL, ""), choose)
    return bound


def refuse_new_connections(sockets: Sequence[socket.socket]) -> None:
    """Permanently refuse new connections at listening sockets, for every process that shares them.

    Do not call it when only one of several processes stops.
    Closing a listening socket resets the connections that wait to be accepted. So new connections are refused
    first, then the waiting ones are accepted (`are_waiting`), then the socket is closed. A client that
    connects meanwhile is refused when it retransmits its SYN after a second. On systems without this filter
    of Linux, the short queue of `listen(0)` has nearly the same effect.
    """
    for one in sockets:
        with contextlib.suppress(OSError):  # closed already, or not supported by the system
            one.listen(0)
            if sys.platform == "linux" and one.family != socket.AF_UNIX:
                program = ctypes.create_string_buffer(_DROP_SYN)
                length = len(_DROP_SYN) // 8
                one.setsockopt(
                    socket.SOL_SOCKET,
                    _SO_ATTACH_FILTER,
                    struct.pack("@HP", length, ctypes.addressof(program)),
                )


def are_waiting(sockets: Sequence[socket.socket]) -> bool:
    """Whether a connection waits to be accepted at one of the listening sockets."""
    poll = select.poll()
    for one in sockets:
        if one.fileno() >= 0:
            poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


def _listen_at(one: socket.socket, address: tuple[object, ...]) -> None:
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setblocking(False)
    one.bind(address)
    one.listen(_BACKLOG)


def _lacks_ipv6(error: OSError, family: int) -> bool:
    """Whether a name has an IPv6 address that the machine does not support, as `::1` in many containers."""
    return family == socket.AF_INET6 and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def _at_path(listen: str, path: Path, choose: str) -> socket.socket:
    with contextlib.ExitStack() as opened:
        one = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            _remove_stale(path)
            one.setblocking(False)
            one.bind(str(path))
            path.chmod(_SOCKET_MODE)
            one.listen(_BACKLOG)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StartupError(
                f"The address {listen} cannot be used: there is no folder {path.parent}.",
                remedy=f"Make the folder, or {choose}.",
            ) from error
        except OSError as error:
            raise _refused(listen, error, choose) from error
        opened.pop_all()
    return one


def _remove_stale(path: Path) -> None:
    """Remove a socket file that an ended server left; raise OSError when a server is listening there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "the file exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # a server whose queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _refused(listen: str, error: OSError, choose: str, port: int = 0) -> StartupError:
    match error.errno:
        case errno.EADDRINUSE:
            reason, remedy = "is in use", f"Stop what listens there, or {choose}."
        case errno.EACCES if 0 < port < 1024:
            reason = "needs a privilege: its port is below 1024"
            remedy = f"Grant the portal CAP_NET_BIND_SERVICE, or {choose}."
        case errno.EADDRNOTAVAIL:
            reason, remedy = "is not an address of this machine", f"{choose[:1].upper()}{choose[1:]}."
        case _:
            reason = f"cannot be used: {error.strerror or error}"
            remedy = f"{choose[:1].upper()}{choose[1:]}."
    return StartupError(f"The address {listen} {reason}.", remedy=remedy)
