"""How much a connection reads at once, by the pace of the read before, and which reads are charged.

A server chooses how many pieces its bytes come in: chunks, TLS records, messages of TLS itself. Their cost is
known only when they have been read, so a connection begins with little (THREATS D2).
"""

from __future__ import annotations

READ_BYTES = 65_536
"""Bytes that one callback of the event loop reads and parses at most."""
TLS_READ_BYTES = 32_768
"""The same with TLS: messages of its own in large records take up to 4 us for 20 bytes (session tickets)."""
_SMALL_READ_BYTES = 8_192
"""The same for a server that has just sent small pieces."""
_FIRST_READ_BYTES = 4_096
"""The same before it is known how long a read takes."""
_LEAST_READ_BYTES = 1_024
_READ_SECONDS = 0.003
"""Time of the event loop's thread that a read may take, by the pace of the one before."""
_SMALL_PIECE = 512
"""Bytes of data; a read whose pieces are smaller on average is charged to the tenant's `ReadBudget`."""
_SLOW_READ = 0.0005
_SLOW_BYTE = 2e-8
"""Seconds for a read and for each byte of it; one that takes longer is charged, too: TLS may have read
messages of its own, which are no data."""
_FREE_READS = 16
"""Reads of a response that are not charged: many small responses are paid for by as many requests. Also reads
without data one after the other: the packets that one TLS record may come in."""


class ReadPace:
    """The pace of one connection.

    Parameters: most, bytes that it reads at once at most.
    """

    __slots__ = ("_reads", "_reads_without_data", "most", "next_bytes")

    def __init__(self, most: int) -> None:
        self.most = most
        self.next_bytes = _FIRST_READ_BYTES
        """Bytes to read at once now."""
        self._reads = 0
        self._reads_without_data = 0

    def begin_response(self) -> None:
        """Another response begins, with free reads of its own."""
        self._reads = 0

    def is_charged(self, nbytes: int, data_bytes: int, pieces: int, seconds: float) -> bool:
        """Whether a read is charged that took so many seconds for so many bytes, data and pieces of data."""
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
