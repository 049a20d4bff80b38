"""A note of each worker process, in memory that all workers share: what one tells the others.

A worker replaces its own note and reads those of the others. Nothing is locked: a note that is read while it
is replaced does not match its checksum, and is left out until the next time.
"""

from __future__ import annotations

import mmap
import struct
import time
import zlib
from collections.abc import Iterator

_HEADER = struct.Struct("<dII")
"""When it was written, in seconds of CLOCK_MONOTONIC, which all processes share; its length; its CRC-32."""
_SLOT_BYTES = 16_384
LONGEST = _SLOT_BYTES - _HEADER.size
"""Bytes of a note."""
OLDEST_SECONDS = 30.0
"""How old a note may be: a worker that was killed replaces its own no more."""


class WorkerNotes:
    """The notes of `count` workers. Make it before they are forked."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, count * _SLOT_BYTES)

    def of(self, slot: int) -> WorkerNote:
        """The note of one worker, from 0 to count - 1."""
        return WorkerNote(self._memory, slot)


class WorkerNote:
    """The note of one worker beside those of the others."""

    def __init__(self, memory: mmap.mmap, slot: int) -> None:
        self._memory = memory
        self._slot = slot

    def write(self, note: bytes) -> None:
        """Replace the note of this worker, at least every OLDEST_SECONDS.

        Raises: ValueError when it is longer than LONGEST.
        """
        if len(note) > LONGEST:
            raise ValueError(f"a note has {len(note)} bytes, and may have {LONGEST}")
        begin = self._slot * _SLOT_BYTES
        body = begin + _HEADER.size
        self._memory[body : body + len(note)] = note
        _HEADER.pack_into(self._memory, begin, time.monotonic(), len(note), zlib.crc32(note))

    def end(self) -> None:
        """Remove the note: the worker has ended."""
        self.write(b"")

    def others(self) -> Iterator[bytes]:
        """The notes of the other workers, without those that are empty, old or being replaced."""
        now = time.monotonic()
        for slot in range(len(self._memory) // _SLOT_BYTES):
            begin = slot * _SLOT_BYTES
            written, length, checksum = _HEADER.unpack_from(self._memory, begin)
            if slot == self._slot or not 0 < length <= LONGEST or now - written > OLDEST_SECONDS:
                continue
            body = begin + _HEADER.size
            note = self._memory[body : body + length]
            if zlib.crc32(note) == checksum:
                yield note
