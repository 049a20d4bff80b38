"""Which tenants have metrics of their own.

The first tenants by slug, as many as the operator says, have their slug as the value of the label `tenant`;
all others share the value `_other`, which cannot be a slug. Every process and host has the same tenants and
so chooses the same ones, also after a restart: the sum over processes and hosts belongs to one tenant. The
busiest ones would differ from process to process.

A counter that has a name keeps it until the portal is restarted. So at most twice as many names are given
out, over all processes that share a folder: with tenants that come and go, the number of series stays
bounded.
"""

from __future__ import annotations

import fcntl
import heapq
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from portal.ops.tallies import FOLDER

OTHER = "_other"


class TenantLabels:
    """The values of the label `tenant`. Parameters: most, how many tenants have one of their own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._granted: frozenset[str] = frozenset()
        """Names that were given out since the start."""
        self._named: Mapping[str, str] = {}

    def of(self, slug: str) -> str:
        """The value of the label for a tenant, which need not exist."""
        return self._named.get(slug, OTHER)

    def is_named(self, slug: str) -> bool:
        """Whether a tenant has metrics of its own."""
        return slug in self._named

    def follow(self, slugs: Iterable[str]) -> None:
        """Choose among the live tenants. It may read a file: call it in a thread."""
        first = heapq.nsmallest(self._most, slugs)
        if not self._granted.issuperset(first):
            self._granted = self._grant(first)
        self._named = {slug: slug for slug in first if slug in self._granted}

    def _grant(self, slugs: Iterable[str]) -> frozenset[str]:
        folder = os.environ.get(FOLDER)
        if folder is None:
            return frozenset(self._added([*self._granted], slugs))
        with (Path(folder) / "tenants").open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read().split()
            after = self._added(before, slugs)
            file.write("".join(f"{slug}\n" for slug in after[len(before) :]))
        return frozenset(after)

    def _added(self, before: list[str], slugs: Iterable[str]) -> list[str]:
        new = [slug for slug in slugs if slug not in before]
        return [*before, *new[: max(0, 2 * self._most - len(before))]]
