"""Following the frames of a WebSocket without reading payloads (RFC 6455 5.2)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.websocket.frames import FrameError, FrameTracker
from tests.kit.websockets import BINARY, CLOSE, PING, PONG, TEXT, frame

MANY = 1 << 30

payloads = st.one_of(
    st.binary(max_size=130),
    st.sampled_from([0, 1, 125, 126, 127, 511, 512, 65_535, 65_536, 70_000]).map(bytes),
)
control = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125), st.just(True))
data_frames = st.tuples(st.sampled_from([0, TEXT, BINARY]), payloads, st.booleans())
frames = st.lists(st.one_of(data_frames, control), max_size=8)


def encoded(some: list[tuple[int, bytes, bool]], *, masked: bool) -> tuple[bytes, set[int]]:
    """The bytes of frames, and the places between them."""
    data, places = b"", {0}
    for opcode, payload, final in some:
        data += frame(opcode, payload, masked=masked, final=final)
        places.add(len(data))
    return data, places


@given(frames, st.booleans(), st.lists(st.integers(0, 80_000), max_size=12))
def test_every_split_gives_the_same_frames_and_boundaries(
    some: list[tuple[int, bytes, bool]], masked: bool, cuts: list[int]
) -> None:
    data, places = encoded(some, masked=masked)
    tracker = FrameTracker(masked=masked)
    counted = small = 0
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        if start == end:
            continue
        assert tracker.feed(data[start:end], MANY) == end - start
        counted += tracker.frames
        small += tracker.small
        inside = [place for place in places if start <= place <= end]
        assert tracker.boundary == (max(inside) - start if inside else -1)
        assert tracker.at_boundary == (end in places)
    assert counted == len(some)
    assert small == sum(len(payload) < 512 for _, payload, _ in some)
    assert tracker.at_boundary
    assert not tracker.closed


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300, 65_536])
def test_a_frame_is_followed_byte_by_byte(size: int, masked: bool) -> None:
    data = frame(TEXT, b"x" * size, masked=masked) * 2
    tracker = FrameTracker(masked=masked)
    counted = 0
    for place in range(len(data)):
        assert tracker.feed(data[place : place + 1], MANY) == 1
        assert tracker.at_boundary == (place + 1 in (len(data) // 2, len(data)))
        counted += tracker.frames
    assert counted == 2


@given(frames, st.integers(1, 4))
def test_the_limit_of_small_frames_stops_between_two_frames(
    some: list[tuple[int, bytes, bool]], most: int
) -> None:
    data, places = encoded(some, masked=True)
    tracker, place, counted = FrameTracker(masked=True), 0, 0
    while place < len(data):
        place += tracker.feed(data[place:], most)
        assert tracker.small <= most
        assert place in places
        assert tracker.at_boundary
        counted += tracker.frames
    assert counted == len(some)


def test_nothing_after_a_close_frame_passes() -> None:
    close = frame(CLOSE, b"\x03\xe8")
    tracker = FrameTracker(masked=True)
    assert tracker.feed(frame(TEXT, b"a") + close + frame(TEXT, b"b"), MANY) == 7 + len(close)
    assert tracker.closed
    assert tracker.at_boundary
    assert tracker.feed(frame(TEXT, b"c"), MANY) == 0
    split = FrameTracker(masked=True)
    assert split.feed(close[:3], MANY) == 3
    assert split.closed
    assert not split.at_boundary
    assert split.feed(close[3:] + b"more", MANY) == len(close) - 3
    assert split.at_boundary


BROKEN = {
    "an unmasked frame of the client": (True, frame(TEXT, b"a", masked=False), "not masked"),
    "a masked frame of the server": (False, frame(TEXT, b"a"), "is masked"),
    "a long ping": (True, frame(PING, b"x" * 126), "125 bytes"),
    "a long close": (True, frame(CLOSE, b"x" * 126), "125 bytes"),
    "a ping in parts": (True, frame(PING, final=False), "begins with 0x9"),
    "an unknown opcode": (True, frame(3, b"a"), "begins with 0x83"),
    "an unknown control opcode": (True, frame(11), "begins with 0x8b"),
    "a reserved bit": (True, b"\xa1" + frame(TEXT)[1:], "begins with 0xa1"),
    "compression that was not agreed": (True, b"\xc1" + frame(TEXT)[1:], "begins with 0xc1"),
    "16 bits for a short length": (True, b"\x82\xfe\x00\x7d", "shortest form"),
    "64 bits for a length of 16": (True, b"\x82\xff" + (65_535).to_bytes(8, "big"), "shortest form"),
    "the highest bit of a length": (True, b"\x82\xff" + (1 << 63).to_bytes(8, "big"), "too large"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_frame_is_an_error_wherever_it_is_split(case: str) -> None:
    masked, data, message = BROKEN[case]
    for before in (b"", frame(TEXT, b"fine", masked=masked)):
        for cut in range(len(before), len(before + data)):
            with pytest.raises(FrameError, match=message):
                feed_all(masked, [(before + data)[:cut], (before + data)[cut:]])


def feed_all(masked: bool, pieces: list[bytes]) -> None:
    tracker = FrameTracker(masked=masked)
    for piece in pieces:
        if piece:
            tracker.feed(piece, MANY)


def test_compression_is_allowed_where_it_was_agreed() -> None:
    tracker = FrameTracker(masked=True, compressed=True)
    for first in (0xC1, 0xC2, 0x41):
        assert tracker.feed(bytes([first]) + frame(TEXT, b"a")[1:], MANY) == 7
    for first in (0xC0, 0xC9, 0xC8, 0xA1):
        with pytest.raises(FrameError):
            FrameTracker(masked=True, compressed=True).feed(bytes([first]) + frame(TEXT)[1:], MANY)


def test_a_frame_of_a_gigabyte_is_a_stream() -> None:
    tracker = FrameTracker(masked=True)
    tracker.feed(b"\x82\xff" + (1 << 30).to_bytes(8, "big") + b"mask", MANY)
    piece = bytes(65_536)
    for _ in range((1 << 30) // len(piece)):
        assert tracker.feed(piece, MANY) == len(piece)
    assert tracker.at_boundary
    assert tracker.feed(frame(TEXT, b"next"), MANY) == 10


def test_a_read_full_of_empty_frames_takes_little_time() -> None:
    data = frame(TEXT) * 10_922
    best = 1.0
    for _ in range(5):
        started = time.thread_time()
        FrameTracker(masked=True).feed(data, 1000)
        best = min(best, time.thread_time() - started)
    assert best < 0.005
