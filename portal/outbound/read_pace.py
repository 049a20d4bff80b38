"""How many bytes a connection reads at once, given the speed of its last read, and which reads are charged.

A server chooses into how many pieces it splits its data: chunks, TLS records, messages of TLS itself. Their
cost is known only after reading them, so a connection begins with small reads (THREATS D2).
"""

from __future__ import annotations

READ_BYTES = 65_536
"""The most bytes that one callback of the event loop reads and parses."""
LARGE_READ_BYTES = 122_880
"""The same of a body without chunks, which needs no parsing. From 128 KB on, glibc asks the system for memory
each time."""
TLS_READ_BYTES = 32_768
"""The same with TLS: its own messages in large records take up to 4 us for 20 bytes (session tickets)."""
_SMALL_READ_BYTES = 8_192
"""The same after the server has sent small pieces."""
_FIRST_READ_BYTES = 4_096
"""The same for the first read, before the speed is known."""
_NEXT_READ_BYTES = 16_384
"""The same for the first read of a later response."""
_LEAST_READ_BYTES = 1_024
_READ_SECONDS = 0.003
"""CPU time that a read may take, estimated from the speed of the last one."""
_SMALL_PIECE = 512
"""Bytes of data; a read with smaller pieces on average is charged to the tenant's `ReadBudget`."""
_SLOW_READ = 0.0005
_SLOW_BYTE = 2e-8
"""Seconds for a read, and for each byte of it; a read that takes longer is charged as well: it may have
processed messages of TLS itself, which carry no data."""
_FREE_READS = 16
"""Number of reads of a response that are free: many small responses need as many requests. Also the number of
consecutive reads without data that are free: one TLS record may arrive in that many packets."""


class ReadPace:
    """The pace of one connection.

    Parameters: most, the largest number of bytes that it reads at once.
    """

    __slots__ = ("_most", "_reads", "_reads_without_data", "most", "next_bytes")

    def __init__(self, most: int) -> None:
        self.most = self._most = most
        self.next_bytes = _FIRST_READ_BYTES
        """The largest number of bytes for the next read."""
        self._reads = 0
        self._reads_without_data = 0

    def begin_response(self) -> None:
        """Begin another response, with free reads of its own; its pieces may be smaller than before."""
        self._reads = 0
        self.most = self._most
        self.next_bytes = min(self.next_bytes, _NEXT_READ_BYTES)

    def allow_large_reads(self) -> None:
        """Read more at once until the end of this response: its body has no chunks."""
        self.most = max(self.most, LARGE_READ_BYTES)

    def is_charged(self, nbytes: int, data_bytes: int, pieces: int, seconds: float) -> bool:
        """Whether a read of `nbytes` is charged that gave `data_bytes` in `pieces` and took `seconds`."""
        is_slow = seconds > _SLOW_READ + nbytes * _SLOW_BYTE
        if data_bytes:
            self._reads += 1
            self._reads_without_data = 0
            is_small = is_slow or data_bytes < _SMALL_PIECE * pieces
            charged = is_slow or (is_small and self._reads > _FREE_READS)
        else:
            self._reads_without_data += 1
            is_small = is_slow
            charged = is_slow or self._reads_without_data > _FREE_READS
        most = min(self.most, _SMALL_READ_BYTES) if is_small else self.most
        at_this_pace = int(nbytes * _READ_SECONDS / max(seconds, 1e-6))
        self.next_bytes = min(most, max(_LEAST_READ_BYTES, at_this_pace))
        return charged
