"""A cache that is bounded by bytes, with a share for every owner.

Rule: what a tenant, a provider, an API or a stranger can make larger is kept in a cache like this one, and
never in a dict bounded by count: 4,096 entries are 4 MB when they are small, and 700 MB when somebody makes
them large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 400
"""Bytes that an entry costs besides its value: key, dictionary slots, bookkeeping."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    size: int
    owner: Hashable


@dataclass(slots=True)
class _Share(Generic[K]):
    """What one owner holds; the least recently used key first."""

    size: int = 0
    keys: OrderedDict[K, None] = field(default_factory=OrderedDict)


class ByteBoundedCache(Generic[K, V]):
    """The most recently used values, of at most `max_bytes` together. Not for use by several threads.

    When there is no room, the owner that holds the most loses its least recently used value. So an owner
    whose values are large displaces its own, and one that holds less than an equal share loses nothing.

    Parameters: max_bytes, bound of all sizes together, ENTRY_BYTES for each value included; max_value_bytes,
    size above which a value is not kept at all (default: an eighth of max_bytes).
    """

    def __init__(self, max_bytes: int, *, max_value_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_value_bytes = max_bytes // 8 if max_value_bytes is None else max_value_bytes
        self._entries: dict[K, _Entry[V]] = {}
        self._shares: dict[Hashable, _Share[K]] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes held, as the callers stated them, ENTRY_BYTES for each value included."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None when it is not held."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._shares[entry.owner].keys.move_to_end(key)
        return entry.value

    def put(self, key: K, value: V, *, size: int, owner: Hashable) -> None:
        """Keep a value in place of any under this key.

        Parameters: size, bytes of the value, an estimate; owner, who pays for it, usually the tenant.
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
        """Drop a value, if it is held."""
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
        """Drop everything."""
        self._entries.clear()
        self._shares.clear()
        self._size = 0
