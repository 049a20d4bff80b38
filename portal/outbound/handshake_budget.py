"""How much of the event loop's time the TLS handshakes with a tenant's servers may take.

The event loop checks every signature of the chain that a server sends. With authorities of its own (`tls.ca`)
a tenant makes such a chain as long and its keys as slow as TLS allows: half a second for one handshake. It
cannot be stopped halfway, so what it takes beyond the usual is charged, and the next ones have to wait.
"""

from __future__ import annotations

import ssl
import time

SHARE = 0.05
"""Part of the time of the event loop that slow handshakes may take."""
USUAL = 0.01
"""Seconds for one step of a handshake that are not charged."""
_SAVED = 2.0
"""Seconds for which an unused share is kept."""


class HandshakeBudget:
    """What the handshakes of one tenant have taken. Times are seconds of a monotonic clock."""

    __slots__ = ("_spent_until",)

    def __init__(self) -> None:
        self._spent_until = float("-inf")

    def spend(self, seconds: float, now: float) -> None:
        """Charge a step of a handshake that took so many seconds."""
        if seconds > USUAL:
            begin = max(self._spent_until, now - _SAVED)
            self._spent_until = begin + (seconds - USUAL) / SHARE

    def pause(self, now: float) -> float:
        """How long no handshake may begin or go on."""
        return max(0.0, self._spent_until - now)


def measure(context: ssl.SSLContext, budget: HandshakeBudget) -> None:
    """Charge all handshakes of a context to a budget, and end those that come too early."""

    class MeasuredTls(ssl.SSLObject):
        def do_handshake(self) -> None:
            if budget.pause(time.monotonic()):
                raise _refused()
            began = time.thread_time()
            try:
                super().do_handshake()
            finally:
                budget.spend(time.thread_time() - began, time.monotonic())

    context.sslobject_class = MeasuredTls


def _refused() -> ssl.SSLError:
    error = ssl.SSLError("handshakes took too long")
    error.reason = "HANDSHAKES_TOOK_TOO_LONG"  # what OpenSSL's own errors have
    return error
