"""A cache that is bounded by bytes, with a share for every owner.

Rule: values whose size a tenant, a provider, an API or an unauthenticated client controls are cached here,
never in a dict bounded by count: 4,096 entries take 4 MB when they are small, and 700 MB when an attacker
makes them large.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 400
"""Bytes that an entry takes in addition to its value: key, dictionary slots, bookkeeping."""
_OBJECT_BYTES = 240
_LIST_BYTES = 110
_NEXT_ENTRY_BYTES = 100
_NAME_BYTES = 60
"""Memory of a JSON object and list with one entry, of each further entry, and of the name of an entry."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    size: int
    owner: Hashable


@dataclass(slots=True)
class _Share(Generic[K]):
    """The entries of one owner; the least recently used key first."""

    size: int = 0
    keys: OrderedDict[K, None] = field(default_factory=OrderedDict)


class ByteBoundedCache(Generic[K, V]):
    """The most recently used values, of at most `max_bytes` in total. Not thread-safe.

    When the cache is full, the owner with the most bytes loses its least recently used value. An owner of
    large values therefore evicts its own; an owner with less than an equal share loses nothing.

    Parameters: max_bytes, limit of the sum of all sizes, ENTRY_BYTES for each value included;
    max_value_bytes, larger values are not cached (default: an eighth of max_bytes).
    """

    def __init__(self, max_bytes: int, *, max_value_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_value_bytes = max_bytes // 8 if max_value_bytes is None else max_value_bytes
        self._entries: dict[K, _Entry[V]] = {}
        self._shares: dict[Hashable, _Share[K]] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """Sum of the sizes that callers gave, ENTRY_BYTES for each value included."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value and mark it as just used; None when it is not cached."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._shares[entry.owner].keys.move_to_end(key)
        return entry.value

    def put(self, key: K, value: V, *, size: int, owner: Hashable) -> None:
        """Cache a value, replacing the one under the same key.

        Parameters: size, estimated bytes of the value; owner, whose share it counts against, usually the
        tenant.
        """
        self.discard(key)
        if size > self._max_value_bytes:
            return
        size += ENTRY_BYTES
        share = self._shares.setdefault(owner, _Share())
        share.keys[key] = None
        share.size += size
        self._entries[key] = _Entry(value, size, owner)
        self._size += size
        while self._size > self._max_bytes:
            largest = max(self._shares.values(), key=lambda share: share.size)
            self.discard(next(iter(largest.keys)))

    def discard(self, key: K) -> None:
        """Remove a value, if it is cached."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        share = self._shares[entry.owner]
        del share.keys[key]
        share.size -= entry.size
        if not share.keys:
            del self._shares[entry.owner]
        self._size -= entry.size

    def clear(self) -> None:
        """Remove all values."""
        self._entries.clear()
        self._shares.clear()
        self._size = 0


def memory_of_json(stored: object) -> int:
    """Bytes in memory of a JSON text and of the values that it encodes, estimated without decoding it.

    Containers take up to 44 bytes for each character of the text, usual claims about six. Commas and braces
    within texts count as well.
    """
    if not isinstance(stored, str):
        return sys.getsizeof(stored)
    return (
        2 * sys.getsizeof(stored)
        + _OBJECT_BYTES * stored.count("{")
        + _LIST_BYTES * stored.count("[")
        + _NEXT_ENTRY_BYTES * stored.count(",")
        + _NAME_BYTES * stored.count(":")
    )
