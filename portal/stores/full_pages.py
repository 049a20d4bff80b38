"""Pages of stored entries in which damaged ones leave no gap.

An entry that cannot be read counts as missing. Whoever reads page by page takes a page with fewer entries
than were asked for as the last one; so a page that lacks damaged entries is filled with those that follow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Place = TypeVar("Place")
Stored = TypeVar("Stored")
Entry = TypeVar("Entry")


async def full_page(
    read: Callable[[Place, int], Awaitable[Sequence[Stored]]],
    decode: Callable[[Sequence[Stored]], Awaitable[Sequence[Entry]]],
    place_of: Callable[[Stored], Place | None],
    *,
    begin: Place,
    most: int,
    at_once: int | None = None,
) -> list[Entry]:
    """The first `most` entries after a place that can be read; fewer only if there are no more.

    Parameters: read, returns up to so many stored entries after a place, in their order; decode, makes
    entries of those that are not damaged; place_of, the place of a stored entry, None if that is damaged;
    begin, the place of the first read; at_once, how many are read at a time, by default all.
    """
    at_once = most if at_once is None else min(most, at_once)
    entries: list[Entry] = []
    place, whole = begin, True
    while len(entries) < most:
        count = min(at_once, most - len(entries)) if whole else at_once
        stored = await read(place, count)
        decoded = await decode(stored)
        whole = whole and len(decoded) == len(stored)
        entries += decoded
        following = _last_place(stored, place_of)
        if len(stored) < count or following is None or following == place:
            break
        place = following
    return entries[:most]


def _last_place(stored: Sequence[Stored], place_of: Callable[[Stored], Place | None]) -> Place | None:
    return next((place for one in reversed(stored) if (place := place_of(one)) is not None), None)
