"""The database's clock, and whether this host agrees with it.

Hosts that share a database decide by its clock what has expired and who may refresh a token. A host whose own
clock is far off can be trusted neither to judge tokens of providers nor to have measured the database's.
"""

from __future__ import annotations

import time

import structlog

from portal.clock import Clock
from portal.stores.store import Store

_log = structlog.get_logger("portal.store")

WARN_SECONDS = 5.0
"""A difference above it is reported in the log, at `/readyz` and as a metric."""
STOP_SECONDS = 60.0
"""A difference above it stops refreshes and sweeps of this process."""
_LOG_SECONDS = 60.0
_LONGEST_ROUND_TRIP = 2.0


class MeasuredClock:
    """The clock of a server, as measured: carried on by a clock of this host that nobody can set.

    `monotonic` gives seconds from any fixed moment on.
    """

    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None

    def start(self) -> float:
        """Call it before asking the server; `finish` takes what it returns."""
        return self._monotonic()

    def finish(self, started: float, server_time: float) -> None:
        """Take over what the server said its time was (seconds since the epoch, UTC).

        It is taken for the time in the middle between question and response, so it is off by half a round
        trip at most. A round trip that took too long, as when the process was suspended, changes nothing.
        """
        ended = self._monotonic()
        if self._ahead is None or ended - started <= _LONGEST_ROUND_TRIP:
            self._ahead = server_time - (started + ended) / 2

    def time(self) -> float:
        """Seconds since the epoch, UTC, to the millisecond; by the host's own clock until it was measured."""
        return round(time.time() if self._ahead is None else self._monotonic() + self._ahead, 3)


class ClockCheck:
    """How far the clock of this host is from the database's, and what that forbids.

    `clock` is the host's.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._logged_at = float("-inf")

    @property
    def offset(self) -> float:
        """Seconds by which this host's clock is ahead of the database's; negative when it is behind."""
        return round(self._clock() - self._store.time(), 3)

    def may_refresh(self) -> bool:
        """Whether this process may refresh tokens: its clock is within STOP_SECONDS of the database's.

        Asks nobody; a process that must not refresh lets calls use their token while it is valid, and
        responds with 503 afterwards.
        """
        return self._within(STOP_SECONDS)

    def may_sweep(self) -> bool:
        """Whether this process may delete what has expired; the rule of `may_refresh`."""
        return self._within(STOP_SECONDS)

    def agrees(self) -> bool:
        """Whether the difference is small enough that nobody needs to be told."""
        return self._within(WARN_SECONDS)

    def report(self) -> None:
        """Log a difference above WARN_SECONDS, once a minute at most."""
        if self.agrees() or time.monotonic() < self._logged_at + _LOG_SECONDS:
            return
        self._logged_at = time.monotonic()
        _log.error(
            "clock_differs_from_database",
            seconds=self.offset,
            refreshes=self.may_refresh(),
            sweeps=self.may_sweep(),
            remedy="set the clocks of this host and of the database's hosts by NTP",
        )

    def _within(self, seconds: float) -> bool:
        return abs(self.offset) <= seconds
