"""One direction of a relayed WebSocket: passes data on, as fast as the sink takes it and the limit allows.

Nothing is buffered but two reads, of at most 64 KB each: while the sink is full, the limit of small frames is
reached, or a second read waits for its turn (`Turns`), the source is not read. The connection to the API may
hold one more read: 192 KB from the API, 128 KB from the browser.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from portal.outbound.tunnel import Waiting
from portal.web.websocket.frames import SMALL_FRAME, FrameError, FrameTracker
from portal.web.websocket.turns import Turns

_PAUSE_SECONDS = 0.05
"""On average: with equal pauses, the same directions would always come first."""
_FIRST_FRAMES = 50
"""Small frames that may pass at once when a direction begins: a page may open many sockets."""
_SHARE_DIVISOR = 16
"""One direction takes at most 1/16 of what its tenant has left."""
TENANT_SHARE = 10
"""How many times the rate of one direction all sockets of a tenant have together, in both directions."""


class Source(Protocol):
    """Where the data comes from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class FrameBudget:
    """How many small frames may pass.

    Parameters: rate, per second, as many may pass at once later; now, in seconds; first, how many may pass at
    once now, None for a full second's.
    """

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float, *, first: float | None = None) -> None:
        self._rate = rate
        self._tokens = rate if first is None else min(rate, first)
        self._at = now

    def available(self, now: float) -> int:
        """How many may pass now. Parameters: now, in seconds."""
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return int(self._tokens)

    def spend(self, frames: int) -> bool:
        """Count frames; return whether one more may pass."""
        self._tokens -= frames
        return self._tokens >= 1.0


@dataclass(frozen=True, slots=True)
class TenantShare:
    """What all sockets of a tenant share."""

    tenant: str
    frames: FrameBudget
    turns: Turns


class Direction:
    """One direction. Set `source` before the first data.

    Parameters: tracker, of its frames; rate, small frames a second; shared, with all sockets of the tenant;
    write, sends to the sink; failed, called when the peer broke the protocol, and must call `stop`;
    closed, called when a Close frame has begun, and with each further piece of it.
    """

    def __init__(
        self,
        tracker: FrameTracker,
        *,
        rate: float,
        shared: TenantShare,
        write: Callable[[bytes], None],
        failed: Callable[[FrameError], None],
        closed: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.tracker = tracker
        self.source: Source | None = None
        self._budget = FrameBudget(rate, self._loop.time(), first=_FIRST_FRAMES)
        self._tenant = shared.tenant
        self._shared = shared.frames
        self._turns = shared.turns
        self._write = write
        self._failed = failed
        self._closed = closed
        self._rest = b""
        """What was read and waits until more small frames may pass, or for its turn."""
        self._awaits_turn = False
        self._is_full = False
        """Whether the source is not read before the turn."""
        self._pause: asyncio.TimerHandle | None = None
        self._sink_full_since: float | None = None
        self._passed: Callable[[], object] | None = None
        """To call when nothing waits any more, once the source has ended."""
        self._stopped = False
        self.pending_close: bytes | None = None
        """A Close frame to send after the last complete frame of the next data that has one."""
        self.frames = 0
        self.bytes = 0
        self.received_at = self._loop.time()
        """When data arrived last, on the loop's clock."""

    @property
    def may_insert(self) -> bool:
        """Whether another frame may be sent to the sink now."""
        return self.tracker.at_boundary and not self.tracker.closed and not self._stopped

    @property
    def has_waiting_data(self) -> bool:
        """Whether data was read that has not been passed on."""
        return bool(self._rest)

    @property
    def is_held(self) -> bool:
        """Whether the source is not read at present."""
        return self._pause is not None or self._sink_full_since is not None or self._is_full

    @property
    def stalled_since(self) -> float | None:
        """Since when the sink has taken nothing, on the loop's clock; None while it takes data."""
        return self._sink_full_since

    def data_received(self, data: bytes) -> None:
        """Pass data of the source on."""
        self.received_at = self._loop.time()
        if self._stopped:
            return
        if self._pause is not None:  # the source had read it before the pause
            self._rest += data
        elif self._awaits_turn:
            self._rest += data
            self._is_full = True
            self._apply()
        elif self._turns.may_pass():
            self._process(data, self._available(self.received_at))
        else:
            self._rest = data
            self._wait_for_turn()

    def may_receive(self, waiting: Waiting) -> bool:
        """Whether data of the source may be processed now. If not, `waiting.take_turn` is called later."""
        if self._stopped or self._turns.may_pass():
            return True
        self._turns.wait(self._tenant, waiting)
        return False

    def _wait_for_turn(self) -> None:
        self._awaits_turn = True
        self._turns.wait(self._tenant, self)

    def take_turn(self) -> None:
        """Pass on what waits for this turn."""
        self._awaits_turn = self._is_full = False
        if not self._stopped:
            self._pass_rest()

    def _available(self, now: float) -> int:
        """How many small frames may pass now."""
        of_tenant = self._shared.available(now)
        return min(self._budget.available(now), max(min(1, of_tenant), of_tenant // _SHARE_DIVISOR))

    def _process(self, data: bytes, most: int) -> None:
        tracker = self.tracker
        if tracker.closed and tracker.at_boundary:
            return
        try:
            end = tracker.feed(data, most)
        except FrameError as error:
            self._failed(error)
            return
        self.frames += tracker.frames
        self.bytes += end
        if self.pending_close is not None and tracker.boundary >= 0 and not tracker.closed:
            data, end = data[: tracker.boundary] + self.pending_close, 0
            self.stop()
            self._write(data)
            self._closed()
            return
        self._write(data if end == len(data) else data[:end])
        spent = tracker.small or len(data) < SMALL_FRAME
        may_continue = self._shared.spend(spent) & self._budget.spend(spent)
        if tracker.closed:
            self._closed()
            return
        self._rest = data[end:]
        if self._rest or not may_continue:
            self._pause_for_frames()

    def _pause_for_frames(self) -> None:
        if self._pause is None:
            seconds = _PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - need not be unpredictable
            self._pause = self._loop.call_later(seconds, self._pause_ended)
            self._apply()

    def _pause_ended(self) -> None:
        self._pause = None
        if self._turns.may_pass():
            self._pass_rest()
        else:
            self._is_full = True
            self._wait_for_turn()

    def _pass_rest(self) -> None:
        most = self._available(self._loop.time())
        if most < 1:
            self._pause_for_frames()
            return
        rest, self._rest = self._rest, b""
        if rest:
            self._process(rest, most)
        self._apply()
        self._report_passed()

    def hold(self) -> None:
        """The sink is full: read no more."""
        if self._sink_full_since is None:
            self._sink_full_since = self._loop.time()
            self._apply()

    def release(self) -> None:
        """The sink has room again."""
        if self._sink_full_since is not None:
            self._sink_full_since = None
            self._apply()

    def _apply(self) -> None:
        if self.source is None:
            return
        if self.is_held and not self._stopped:
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    def finish(self, passed: Callable[[], object]) -> None:
        """The source has ended: call `passed` when what waits was passed on, as slowly as before."""
        self._passed = passed
        self._report_passed()

    def _report_passed(self) -> None:
        if self._passed is not None and not self._rest:
            passed, self._passed = self._passed, None
            passed()

    def stop(self) -> None:
        """Pass nothing more on; what the source still sends is read and dropped."""
        self._stopped = True
        self._rest, self._passed, self._is_full = b"", None, False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._apply()
