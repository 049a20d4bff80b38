"""Rows read from a SQLite file, with the entries made of them.

The version of the file is checked at every read, which takes a few microseconds without disk access: an entry
is returned only if no other process has committed since its row was read, and this process has not changed
the row. Otherwise the row is read again, and the entry is made again only if the row has changed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.stores.sqlite.own_changes import OwnChanges, Version
from portal.stores.stored_entries import Entry

Row = tuple[Any, ...]

RECENT_SECONDS = 60.0
"""How long after a read the system still has its pages of the file in memory."""
CHUNK_BYTES = 64_000
"""Bytes of rows that are read in one step on the event loop; a single larger row is a step of its own."""
_KEY_BYTES = 300
"""What a key counts for, also if there is no row."""
_NOT_FOUND = "-"
"""Owner of missing entries: an attacker can request any number of them."""


@dataclass(slots=True)
class _Cached(Generic[Entry]):
    """`row` and `entry` are None when the file has no row; `entry` also when the row is damaged."""

    row: Row | None
    entry: Entry | None
    size: int
    version: Version
    read_at: float

    @property
    def is_damaged(self) -> bool:
        """A damaged row is read and converted, and so reported, each time."""
        return self.entry is None and self.row is not None


@dataclass(slots=True)
class Looked(Generic[Entry]):
    """Result of a look into the memory.

    `found` are the current entries by key; `recent` the keys of stale rows that were read less than
    RECENT_SECONDS ago, and `recent_bytes` their size; `unknown` all others.
    """

    found: dict[str, Entry] = field(default_factory=dict)
    recent: list[str] = field(default_factory=list)
    recent_bytes: int = 0
    unknown: list[str] = field(default_factory=list)


class RowMemory(Generic[Entry]):
    """The rows of one table that were read last.

    Parameters: convert, makes the entry of a row, None for a damaged row; size, the bytes that row and entry
    take in memory; owner, whose share of the cache they count against; changes, those of this process;
    monotonic, a clock in seconds.
    """

    def __init__(
        self,
        convert: Callable[[Row], Entry | None],
        *,
        max_bytes: int,
        size: Callable[[Row], int],
        owner: Callable[[Row], str],
        changes: OwnChanges,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._convert = convert
        self.size = size
        self._owner = owner
        self._changes = changes
        self._monotonic = monotonic
        self._cached: ByteBoundedCache[str, _Cached[Entry]] = ByteBoundedCache(max_bytes)

    def find(self, keys: Collection[str], version: Version | None) -> Looked[Entry]:
        """Look for the entries of some keys that are current at a version of the file."""
        looked: Looked[Entry] = Looked()
        earliest = math.inf if version is None else self._monotonic() - RECENT_SECONDS
        for key in keys:
            cached = self._cached.get(key)
            if cached is None:
                looked.unknown.append(key)
            elif version is not None and self._is_current(key, cached, version):
                if cached.entry is not None:
                    looked.found[key] = cached.entry
            elif cached.read_at >= earliest:
                looked.recent.append(key)
                looked.recent_bytes += cached.size + _KEY_BYTES
            else:
                looked.unknown.append(key)
        return looked

    def _is_current(self, key: str, cached: _Cached[Entry], version: Version) -> bool:
        return (
            cached.version.others == version.others
            and not self._changes.is_stale(key, cached.version.own)
            and not cached.is_damaged
        )

    def chunks(self, looked: Looked[Entry]) -> Iterable[list[str]]:
        """The keys of `looked.recent` in chunks of at most CHUNK_BYTES, or one row."""
        if looked.recent_bytes <= CHUNK_BYTES:
            return [looked.recent] if looked.recent else []
        return self._chunks(looked.recent)

    def _chunks(self, keys: list[str]) -> Iterator[list[str]]:
        chunk: list[str] = []
        total = 0
        for key in keys:
            cached = self._cached.get(key)
            size = _KEY_BYTES + (cached.size if cached is not None else 0)
            if chunk and total + size > CHUNK_BYTES:
                yield chunk
                chunk, total = [], 0
            chunk.append(key)
            total += size
        yield chunk

    def keep(self, key: str, row: Row | None, version: Version | None) -> Entry | None:
        """Return the entry of a row that was just read, or None; cache both.

        Parameters: row, None when the file has none; version, that of the file before the read, so that the
        row may be newer than it, but not older; None: do not cache.
        """
        cached = self._cached.get(key)
        if cached is None or cached.row != row or cached.is_damaged:
            entry = None if row is None else self._convert(row)
            if version is None:
                return entry
            size = 0 if row is None else self.size(row)
            cached = _Cached(row, entry, size, version, self._monotonic())
            owner = _NOT_FOUND if row is None else self._owner(row)
            self._cached.put(key, cached, size=size, owner=owner)
        elif version is not None:
            cached.version, cached.read_at = version, self._monotonic()
        return cached.entry

    def clear(self) -> None:
        """Remove all rows: versions of another connection cannot be compared."""
        self._cached.clear()
