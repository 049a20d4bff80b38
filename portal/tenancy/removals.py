"""Whether tenants whose files are gone were removed, or the folder was lost.

An unmounted volume looks like a folder from which everything was removed. So the loss of many tenants at once
is not believed: all of them stay as they were until their files return, or until an operator confirms with
`portal tenant reload --accept-removals` that the folder is as it should be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import structlog

_log = structlog.get_logger("portal.tenancy")


def is_sudden_loss(*, lost: int, before: int, max_percent: int) -> bool:
    """Whether more tenants went at once than `max_percent` of those that there were. 100: never."""
    return lost * 100 > max_percent * before


def acceptance_key(slugs: Collection[str]) -> str:
    """Name of an operator's confirmation that a folder holds files for the right tenants: exactly these.

    It says nothing about another state of the folder: a later loss has to be confirmed by itself.
    """
    text = "\n".join(sorted(slugs))
    return f"tenants-accepted:{hashlib.sha256(text.encode()).hexdigest()}"


class Removals:
    """Keeps the tenants of a sudden loss until it ends."""

    def __init__(self, max_percent: int) -> None:
        self._max_percent = max_percent
        self.held: frozenset[str] = frozenset()
        """Tenants that are served although their files are gone."""

    def is_loss(self, before: Collection[str], lost: Collection[str]) -> bool:
        """Whether to keep the tenants in `lost`, of those in `before`.

        A loss goes on while any of its tenants is away: a folder that comes back piece by piece is never
        taken for one from which the rest was removed.
        """
        if not self.held.isdisjoint(lost):
            return True
        return is_sudden_loss(lost=len(lost), before=len(before), max_percent=self._max_percent)

    def hold(self, lost: Collection[str], *, of: int) -> None:
        """Keep these tenants, and say so in the log when they are others than before."""
        if self.held == frozenset(lost):
            return
        self.held = frozenset(lost)
        _log.error(
            "tenants_lost",
            lost=len(lost),
            tenants=of,
            effect="all of them are served as they were",
            remedy="bring the files back, or confirm with: portal tenant reload --accept-removals",
        )

    def end(self, *, accepted: bool) -> None:
        """The loss is over: its files are back, or it was confirmed."""
        if self.held:
            _log.info("tenants_lost_no_more", accepted=accepted)
        self.held = frozenset()
