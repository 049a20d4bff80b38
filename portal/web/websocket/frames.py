"""Follows the frames of one direction of a WebSocket (RFC 6455 5.2) without reading payloads. No I/O.

Rule for changes: the work for a piece of data is proportional to the number of frames that begin in it, and
`feed` stops after a number of small ones.
"""

from __future__ import annotations

SMALL_FRAME = 512
"""Bytes. Frames with less payload are counted: a peer can send many of them at little cost to itself."""

_MASKED = 0x80
_LONGEST_CONTROL = 125
_CLOSE = 8

_INVALID, _DATA, _CONTROL, _LAST = range(4)


def _kind(first: int, *, compressed: bool) -> int:
    """What the first byte of a frame announces: FIN, three reserved bits, and the opcode."""
    final, reserved, opcode = first & 0x80, first & 0x70, first & 0x0F
    if opcode in (8, 9, 10):
        if not final or reserved:
            return _INVALID
        return _LAST if opcode == _CLOSE else _CONTROL
    allowed = (0, 0x40) if compressed and opcode in (1, 2) else (0,)  # RFC 7692 6: the first of a message
    return _DATA if opcode in (0, 1, 2) and reserved in allowed else _INVALID


_KINDS = tuple(
    bytes(_kind(first, compressed=compressed) for first in range(256)) for compressed in (False, True)
)


class FrameError(Exception):
    """The peer broke the protocol; the message says how."""


class FrameTracker:
    """The frames of one direction.

    Parameters: masked, whether the frames must be masked: those of the client must, those of the server must
    not be; compressed, whether permessage-deflate was agreed.
    """

    __slots__ = ("_head", "_kinds", "_mask", "_remaining", "boundary", "closed", "frames", "small")

    def __init__(self, *, masked: bool, compressed: bool = False) -> None:
        self._mask = _MASKED if masked else 0
        self._kinds = _KINDS[compressed]
        self._head = b""
        """The bytes of a frame's head that have arrived, while it is incomplete."""
        self._remaining = 0
        """Bytes of the current frame that have not arrived."""
        self.closed = False
        """Whether a Close frame has begun: nothing after it is data."""
        self.frames = 0
        """Frames that began in the last call of `feed`."""
        self.small = 0
        """Those of them with less than SMALL_FRAME bytes."""
        self.boundary = 0
        """After how many bytes of the last call of `feed` another frame may be inserted; -1: nowhere."""

    @property
    def at_boundary(self) -> bool:
        """Whether everything that arrived are complete frames."""
        return not self._head and not self._remaining

    def feed(self, data: bytes, most_small: int) -> int:
        """Follow bytes; return how many of them to pass on: all, unless a limit or the Close frame ends them.

        Parameters: most_small, after how many small frames to stop; call again with the rest.
        Raises: FrameError.
        """
        size, place, head = len(data), self._remaining, self._head
        kinds, mask = self._kinds, self._mask
        frames = small = 0
        boundary = -1
        while head or place <= size:
            if not head:
                boundary = place
                if place == size or self.closed or small >= most_small:
                    break
            window = head + data[place : place + 10 - len(head)]
            needed = 2 if len(window) < 2 else (2, 4, 10)[max(0, (window[1] & 127) - 125)]
            if len(window) < needed:
                head, place = window, size
                break
            kind = kinds[window[0]]
            length = window[1] & 127
            if kind == _INVALID or window[1] & _MASKED != mask:
                raise FrameError(_fault(window, mask))
            if kind >= _CONTROL and length > _LONGEST_CONTROL:
                raise FrameError("a control frame has more than 125 bytes")
            if length > 125:
                length = _extended(window, needed)
            self.closed = kind == _LAST
            frames += 1
            small += length < SMALL_FRAME
            place += needed - len(head) + (length + 4 if mask else length)
            head = b""
        self._head, self.frames, self.small, self.boundary = head, frames, small, boundary
        passed = min(place, size)
        self._remaining = place - passed
        return passed


def _extended(window: bytes, needed: int) -> int:
    """The length in 16 or 64 bits; the shortest form must be used."""
    length = int.from_bytes(window[2:needed], "big")
    if length < (126 if needed == 4 else 65_536) or length >= 1 << 63:
        raise FrameError("the length of a frame is not in its shortest form, or too large")
    return length


def _fault(window: bytes, mask: int) -> str:
    if window[1] & _MASKED != mask:
        return "a frame is not masked" if mask else "a frame is masked"
    return f"a frame begins with {window[0]:#x}"
