"""Opens listening sockets, and explains why an address cannot be used."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import select
import socket
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from portal.errors import StartupError
from portal.ops.socket_file import TakingSocketFile, has_server

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
_SO_ATTACH_REUSEPORT_CBPF = 51
_SECOND_SOCKET = struct.pack("=HBBI", 0x06, 0, 0, 1)
"""A program that chooses the second of the sockets that share an address; without a second one it has no
effect (socket(7))."""


def listening_sockets(listen: str, *, choose: str) -> list[socket.socket]:
    """Listen at `host:port`, with port 0 at any free port, or at `unix:/path`.

    For a host name all of its addresses are used, or none. A socket file without a server is replaced.

    Parameters: choose, how to choose another address, as the end of a sentence.
    Raises: StartupError.
    """
    if listen.startswith(_UNIX):
        path = Path(listen.removeprefix(_UNIX))
        return [_at_path(listen, path, choose, remove=lambda: _remove_stale(path))]
    return _at_addresses(listen, choose, beside=False)


def take_over(listen: str, *, choose: str) -> tuple[list[socket.socket], list[TakingSocketFile]]:
    """Return sockets beside those of a portal of the same user that listens at the same place, if any.

    They get connections only after `listen_at`, and at a path after `TakingSocketFile.replace`. Returns the
    sockets and the files. Parameters and errors: see `listening_sockets`.
    """
    if not listen.startswith(_UNIX):
        return _at_addresses(listen, choose, beside=True), []
    path = Path(listen.removeprefix(_UNIX))
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    _refuse_other_files(listen, path, choose)
    bound = _at_path(f"{_UNIX}{made}", made, choose, remove=lambda: None)
    return [bound], [TakingSocketFile(made, path)]


def listen_at(one: socket.socket) -> None:
    """Listen on a socket from `take_over`; no effect when it listens already."""
    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        one.listen(_BACKLOG)


def prefer_successor(sockets: Sequence[socket.socket]) -> None:
    """Give new connections to the socket of a portal that was started beside this one, if there is one.

    Sockets of one address are in the order in which they began to listen; the one that listens longest stops
    first. Only Linux has this; elsewhere a client may have to connect again.
    """
    for one in sockets:
        if sys.platform == "linux" and one.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # closed already, or shared with nobody
                _attach(one, _SO_ATTACH_REUSEPORT_CBPF, _SECOND_SOCKET)


def _at_addresses(listen: str, choose: str, *, beside: bool) -> list[socket.socket]:
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
                _bind(one, (at, number, *address[2:]), beside=beside)
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
                _attach(one, _SO_ATTACH_FILTER, _DROP_SYN)


def _attach(one: socket.socket, option: int, instructions: bytes) -> None:
    """Attach a BPF program to a socket (struct sock_fprog). Raises OSError."""
    program = ctypes.create_string_buffer(instructions)
    value = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(program))
    one.setsockopt(socket.SOL_SOCKET, option, value)


def are_waiting(sockets: Sequence[socket.socket]) -> bool:
    """Whether a connection waits to be accepted at one of the listening sockets."""
    poll = select.poll()
    for one in sockets:
        if one.fileno() >= 0:
            poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


def _bind(one: socket.socket, address: tuple[object, ...], *, beside: bool) -> None:
    """Bind and listen; `beside` other sockets, bind only.

    SO_REUSEPORT is set after the address was found to be free, so that only `take_over` can share it.
    """
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setblocking(False)
    if beside:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        return
    one.bind(address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.listen(_BACKLOG)


def _lacks_ipv6(error: OSError, family: int) -> bool:
    """Whether a name has an IPv6 address that the machine does not support, as `::1` in many containers."""
    return family == socket.AF_INET6 and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def _at_path(listen: str, path: Path, choose: str, *, remove: Callable[[], None]) -> socket.socket:
    with contextlib.ExitStack() as opened:
        one = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            remove()
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


def _is_socket_file(path: Path) -> bool:
    """Whether the path is that of a socket file, not of nothing. Raises OSError for any other file."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "the file exists and is not a socket")
    except FileNotFoundError:
        return False
    return True


def _refuse_other_files(listen: str, path: Path, choose: str) -> None:
    try:
        _is_socket_file(path)
    except OSError as error:
        raise _refused(listen, error, choose) from error


def _remove_stale(path: Path) -> None:
    """Remove a socket file that an ended server left; raise OSError when a server is listening there."""
    if not _is_socket_file(path):
        return
    if has_server(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink(missing_ok=True)


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
