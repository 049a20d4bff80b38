"""The database's clock, and its difference from this host's clock.

Hosts that share a database use its clock to decide what has expired and which process may refresh a token. A
host whose own clock is far off can neither validate tokens of providers nor measure the database's clock
reliably.
"""

from __future__ import annotations

import time

import structlog

from portal.clock import Clock
from portal.stores.store import Store

_log = structlog.get_logger("portal.store")

WARN_SECONDS = 5.0
"""A larger difference is reported in the log, at `/readyz` and as a metric."""
STOP_SECONDS = 60.0
"""A larger difference stops refreshes and sweeps of this process."""
_LOG_SECONDS = 60.0
_LONGEST_ROUND_TRIP = 2.0


class MeasuredClock:
    """A server's clock: measured, and extrapolated with the monotonic clock of this host.

    `monotonic` returns seconds since any fixed point in time.
    """

    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None

    def start(self) -> float:
        """Call it before requesting the server's time; pass the result to `finish`."""
        return self._monotonic()

    def finish(self, started: float, server_time: float) -> None:
        """Use the time that the server returned (seconds since the epoch, UTC).

        It counts as the time halfway between request and response, so the error is at most half a round trip.
        A result after a very long round trip, for example of a suspended process, is ignored.
        """
        ended = self._monotonic()
        if self._ahead is None or ended - started <= _LONGEST_ROUND_TRIP:
            self._ahead = server_time - (started + ended) / 2

    def time(self) -> float:
        """Seconds since the epoch, UTC, to the millisecond; the host's time until the first measurement."""
        return round(time.time() if self._ahead is None else self._monotonic() + self._ahead, 3)


class ClockCheck:
    """Compares the host's clock with the database's, and decides what the difference forbids.

    `clock` is the host's.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._logged_at = float("-inf")

    @property
    def offset(self) -> float:
        """Seconds by which the host's clock is ahead of the database's; negative when it is behind."""
        return round(self._clock() - self._store.time(), 3)

    def may_refresh(self) -> bool:
        """Whether this process may refresh tokens: its clock is within STOP_SECONDS of the database's.

        Does no I/O. In a process that must not refresh, calls use their token while it is valid, and get a
        503 response afterwards.
        """
        return self._within(STOP_SECONDS)

    def may_sweep(self) -> bool:
        """Whether this process may delete expired entries; same rule as `may_refresh`."""
        return self._within(STOP_SECONDS)

    def agrees(self) -> bool:
        """Whether the difference is too small to be reported."""
        return self._within(WARN_SECONDS)

    def report(self) -> None:
        """Log a difference above WARN_SECONDS, at most once a minute."""
        if self.agrees() or time.monotonic() < self._logged_at + _LOG_SECONDS:
            return
        self._logged_at = time.monotonic()
        _log.error(
            "clock_differs_from_database",
            seconds=self.offset,
            refreshes=self.may_refresh(),
            sweeps=self.may_sweep(),
            remedy="synchronize the clocks of this host and of the database's hosts with NTP",
        )

    def _within(self, seconds: float) -> bool:
        return abs(self.offset) <= seconds
