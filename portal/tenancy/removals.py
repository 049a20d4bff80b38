"""Distinguishes the removal of tenants from the loss of their folder.

An unmounted volume looks like an empty folder. So if many files disappear at once, their tenants stay live
until the files return, or until an operator confirms the removal with
`portal tenant reload --accept-removals`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import structlog

_log = structlog.get_logger("portal.tenancy")


def is_sudden_loss(*, lost: int, before: int, max_percent: int) -> bool:
    """Whether more than `max_percent` of the tenants disappeared at once. With 100: never."""
    return lost * 100 > max_percent * before


def acceptance_key(slugs: Collection[str]) -> str:
    """Return the key of an operator's confirmation that the folder has files for exactly these tenants.

    It covers no other state of the folder: a later loss needs its own confirmation.
    """
    text = "\n".join(sorted(slugs))
    return f"tenants-accepted:{hashlib.sha256(text.encode()).hexdigest()}"


class Removals:
    """Keeps the tenants of a sudden loss live until it ends."""

    def __init__(self, max_percent: int) -> None:
        self._max_percent = max_percent
        self.retained: frozenset[str] = frozenset()
        """Slugs of tenants that are live although their files are missing."""

    def is_loss(self, before: Collection[str], lost: Collection[str]) -> bool:
        """Whether to keep the tenants in `lost`, out of all tenants in `before`.

        A loss continues until all of its tenants have returned: if a folder returns file by file, the missing
        ones are not treated as removed.
        """
        if not self.retained.isdisjoint(lost):
            return True
        return is_sudden_loss(lost=len(lost), before=len(before), max_percent=self._max_percent)

    def retain(self, lost: Collection[str], *, of: int) -> None:
        """Keep these tenants live; log it if the set has changed."""
        if self.retained == frozenset(lost):
            return
        self.retained = frozenset(lost)
        _log.error(
            "tenants_lost",
            lost=len(lost),
            tenants=of,
            effect="all of them stay live, unchanged",
            remedy="restore the files, or confirm with: portal tenant reload --accept-removals",
        )

    def end(self, *, accepted: bool) -> None:
        """End the loss: its files have returned, or an operator has confirmed it."""
        if self.retained:
            _log.info("tenants_lost_no_more", accepted=accepted)
        self.retained = frozenset()
