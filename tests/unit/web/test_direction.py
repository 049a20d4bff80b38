"""One direction of a WebSocket: limits, back-pressure, and what waits."""

from __future__ import annotations

import asyncio

import pytest

from portal.web.websocket.direction import Direction, FrameBudget, TenantShare
from portal.web.websocket.frames import FrameError, FrameTracker
from portal.web.websocket.turns import Turns
from tests.kit.raw import until
from tests.kit.websockets import CLOSE, TEXT, frame

ONE = frame(TEXT, b"x")


def plenty(turns: Turns | None = None) -> TenantShare:
    """The share of a tenant that has more frames than a test sends, and by default a turn at any time."""
    turns = Turns(lambda: 0.0) if turns is None else turns
    return TenantShare("acme", FrameBudget(1e6, asyncio.get_running_loop().time()), turns)


class Ends:
    """A source and a sink. The sink records what it gets."""

    def __init__(self, *, rate: float = 100.0, shared: TenantShare | None = None) -> None:
        self.reads = True
        self.sent = b""
        self.failures: list[FrameError] = []
        self.closed = 0
        self.direction = Direction(
            FrameTracker(masked=True),
            rate=rate,
            shared=shared or plenty(),
            write=self._write,
            failed=self.failures.append,
            closed=self._close,
        )
        self.direction.source = self

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def _write(self, data: bytes) -> None:
        self.sent += data

    def _close(self) -> None:
        self.closed += 1


def test_a_budget_refills_with_time_up_to_one_second() -> None:
    budget = FrameBudget(10.0, 0.0)
    assert budget.available(0.0) == 10
    assert budget.spend(9)
    assert not budget.spend(1)
    assert budget.available(0.05) == 0
    assert budget.available(0.5) == 5
    assert budget.available(100.0) == 10


@pytest.mark.gen_test
async def test_a_read_with_too_many_frames_waits_and_passes_in_order() -> None:
    ends = Ends()
    data = b"".join(frame(TEXT, b"%d" % number) for number in range(150))
    ends.direction.data_received(data)
    assert not ends.reads
    assert ends.direction.has_waiting_data
    assert 0 < len(ends.sent) < len(data)
    await until(lambda: ends.sent == data, "the rest does not pass")
    assert ends.direction.frames == 150
    await until(lambda: ends.reads, "the source is not read again")


@pytest.mark.gen_test
async def test_single_frames_and_single_bytes_are_counted_alike() -> None:
    for data in (ONE, frame(TEXT, bytes(500_000))[:20]):
        ends = Ends(rate=10.0)
        pieces = [data] * 10 if data is ONE else [data, *[b"x"] * 9]
        for piece in pieces[:-1]:
            ends.direction.data_received(piece)
            assert ends.reads
        ends.direction.data_received(pieces[-1])
        assert not ends.reads, "small reads cost as much as small frames"
        assert not ends.direction.has_waiting_data
        await until(lambda: ends.reads, "the source is not read again")  # noqa: B023


@pytest.mark.gen_test
async def test_large_frames_are_not_limited() -> None:
    ends = Ends(rate=10.0)
    for _ in range(100):
        ends.direction.data_received(frame(TEXT, bytes(5000)))
    assert ends.reads


@pytest.mark.gen_test
async def test_a_full_sink_and_the_limit_hold_the_source_together() -> None:
    ends = Ends()
    ends.direction.hold()
    assert not ends.reads
    await until(lambda: ends.direction.stalled_since, "nothing is noted")
    ends.direction.data_received(ONE * 100)
    ends.direction.release()
    assert not ends.reads, "the limit still holds it"
    assert ends.direction.stalled_since is None
    await until(lambda: ends.reads, "the source is not read again")


@pytest.mark.gen_test
async def test_a_direction_begins_with_few_frames_at_once() -> None:
    ends = Ends(rate=1000.0)
    ends.direction.data_received(ONE * 1000)
    assert ends.direction.frames == 50


@pytest.mark.gen_test
async def test_directions_of_one_tenant_share_its_frames_and_each_gets_some() -> None:
    frames = FrameBudget(400.0, asyncio.get_running_loop().time())
    shared = TenantShare("acme", frames, Turns(lambda: 0.0))
    some = [Ends(rate=1000.0, shared=shared) for _ in range(100)]
    for ends in some:
        ends.direction.data_received(ONE * 100)
    assert 100 < sum(ends.direction.frames for ends in some) < 450
    await until(lambda: all(ends.direction.frames > 10 for ends in some), "one gets nothing")


@pytest.mark.gen_test
async def test_the_rest_passes_within_the_limit_when_the_source_has_ended() -> None:
    ends, passed = Ends(rate=400.0), []
    ends.direction.data_received(ONE * 150)
    ends.direction.finish(lambda: passed.append(ends.direction.frames))
    assert ends.direction.frames == 50
    assert not passed
    await until(lambda: passed == [150], "the rest does not pass")
    assert ends.sent.count(b"\x81\x81") == 150
    ends.direction.finish(lambda: passed.append(0))
    assert passed == [150, 0]


@pytest.mark.gen_test
async def test_a_stopped_direction_reads_and_drops() -> None:
    ends = Ends()
    ends.direction.data_received(ONE * 150)
    sent = ends.sent
    ends.direction.stop()
    assert ends.reads
    ends.direction.data_received(ONE)
    ends.direction.hold()
    assert ends.reads
    await asyncio.sleep(0.06)
    assert ends.sent == sent
    assert not ends.direction.may_insert


@pytest.mark.gen_test
async def test_a_close_frame_of_the_portal_takes_the_place_of_what_follows() -> None:
    ends = Ends()
    first, second, third = (frame(TEXT, letter * 10) for letter in (b"a", b"b", b"c"))
    ends.direction.data_received(first[:5])
    ends.direction.pending_close = b"<close>"
    ends.direction.data_received(first[5:8])
    assert ends.closed == 0
    ends.direction.data_received(first[8:] + second + third[:7])
    assert ends.sent == first + second + b"<close>"
    assert ends.closed == 1


@pytest.mark.gen_test
async def test_a_close_frame_is_reported_when_it_begins_and_ends_the_data() -> None:
    ends = Ends()
    close = frame(CLOSE, b"\x03\xe8")
    ends.direction.data_received(close[:1])
    assert ends.closed == 0
    ends.direction.data_received(close[1:4])
    assert ends.closed == 1
    ends.direction.data_received(close[4:] + ONE)
    ends.direction.data_received(ONE)
    assert ends.sent == close


@pytest.mark.gen_test
async def test_an_error_is_reported_before_anything_of_that_read_passes() -> None:
    ends = Ends()
    ends.direction.data_received(ONE + b"\x83\x80")
    assert [str(error) for error in ends.failures] == ["a frame begins with 0x83"]
    assert ends.sent == b""
