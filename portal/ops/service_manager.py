"""The protocol of systemd: the sockets that it passes, and what the portal tells it.

It needs no library: passed sockets are three environment variables (sd_listen_fds(3)), a notification is one
datagram (sd_notify(3)). Without these variables nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

import structlog

from portal.errors import StartupError

_log = structlog.get_logger("portal.service_manager")

_FIRST_DESCRIPTOR = 3
_MOST_DIGITS = 4
"""Of the number of passed descriptors."""
_SEND_SECONDS = 0.005
"""A notification that the service manager does not receive within this time is dropped and logged."""
_BEATS = 4
"""Signs of life within the time of the watchdog."""


@dataclass(frozen=True, slots=True)
class PassedSockets:
    """Listening sockets that the service manager passed, by the setting that they replace."""

    listen: tuple[socket.socket, ...] = ()
    metrics_listen: tuple[socket.socket, ...] = ()


def passed_sockets(environ: MutableMapping[str, str]) -> PassedSockets:
    """Return the sockets that the service manager passed to this process (sd_listen_fds(3)).

    Their names are those of settings, `listen` and `metrics_listen`; without names, all are for `listen`.
    Removes the variables, so that no other process believes that they are for it.
    Raises: StartupError when a descriptor is no listening socket, or has another name.
    """
    variables = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    pid, count, names = (environ.pop(name, None) for name in variables)
    if count is None or pid != str(os.getpid()):
        return PassedSockets()
    if not (count.isascii() and count.isdigit() and len(count) <= _MOST_DIGITS):
        raise _not_passed("LISTEN_FDS is not a number of descriptors")
    numbers = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    given = names.split(":") if names else ["listen"] * len(numbers)
    if len(given) != len(numbers):
        raise _not_passed(f"LISTEN_FDNAMES has {len(given)} names for {len(numbers)} descriptors")
    found: dict[str, list[socket.socket]] = {"listen": [], "metrics_listen": []}
    for number, name in zip(numbers, given, strict=True):
        if name not in found:
            raise _not_passed(f"descriptor {number} has another name")
        found[name].append(_listening_socket(number))
    return PassedSockets(tuple(found["listen"]), tuple(found["metrics_listen"]))


def _listening_socket(number: int) -> socket.socket:
    try:
        one = socket.socket(fileno=number)
        listens = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise _not_passed(f"descriptor {number} is no socket ({error.strerror})") from error
    if not listens:
        one.close()
        raise _not_passed(f"descriptor {number} does not accept connections")
    one.set_inheritable(False)
    one.setblocking(False)
    return one


def _not_passed(reason: str) -> StartupError:
    return StartupError(
        f"The sockets that the service manager passed cannot be used: {reason}.",
        remedy="Use ListenStream= and FileDescriptorName=listen or metrics_listen in the socket unit.",
    )


class ServiceManager:
    """Tells systemd when the portal serves, reloads, stops and lives (sd_notify(3)).

    Parameters: address, of the socket that receives notifications: a path, or `@` and an abstract name; None:
    nobody is told; watchdog_seconds, how long the portal may be silent before it is restarted; None: for any
    time.
    """

    def __init__(self, address: str | None = None, *, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.beat_seconds = None if watchdog_seconds is None else watchdog_seconds / _BEATS
        """How often to call `alive`; None: never."""
        self.silence_seconds = watchdog_seconds
        """A worker that says nothing for so long counts as dead."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and remove them.

        Raises: StartupError.
        """
        address, microseconds, pid = (
            environ.pop(name, None) for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        if address is None or microseconds is None or pid not in (None, str(os.getpid())):
            return cls(address)
        if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) <= 18):
            raise StartupError("WATCHDOG_USEC is not a time.", remedy="Use WatchdogSec= in the unit.")
        return cls(address, watchdog_seconds=int(microseconds) / 1e6 or None)

    def serving(self) -> None:
        """Starting or reloading is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are read again; `serving` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """A graceful stop has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The portal is not stuck (WATCHDOG=1)."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(_SEND_SECONDS)
                sending.sendto(state.encode(), address)
        except OSError as error:  # the portal serves without being watched
            _log.warning("service_manager_not_told", state=state.partition("\n")[0], reason=str(error))
