"""How often the admins and setup links of a tenant may change something (THREATS D5).

Every change stores an event, and most store up to 64 KB more.
"""

from __future__ import annotations

from collections import OrderedDict

from portal.clock import Clock
from portal.errors import PortalError

BURST = 100
"""Changes that are allowed at once."""
SECONDS = 1.0
"""After which one more is allowed."""
_MOST_TENANTS = 10_000
_ROUNDING = 0.001


class TooManyChanges(PortalError):
    """The admins and setup links of a tenant changed more than anybody does by hand."""

    status = 429
    code = "too_many_changes"
    title = "This organisation was changed too often"
    advice = "Wait a minute and try again. Nothing was changed."


class ChangeLimit:
    """Counts the changes of each tenant, in this process.

    Parameters: clock, seconds since the epoch, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When each tenant may make BURST changes again; the one that changed last is the last."""

    def count(self, slug: str) -> None:
        """Count a change of a tenant. Raises TooManyChanges."""
        now, whole = self._clock(), BURST * SECONDS
        full_at = min(self._full_at.get(slug, now), now + whole)  # the clock may have been set back
        full_after = max(full_at, now) + SECONDS
        is_allowed = full_after - now <= whole + _ROUNDING
        self._full_at[slug] = full_after if is_allowed else full_at
        self._full_at.move_to_end(slug)
        if len(self._full_at) > _MOST_TENANTS:
            self._full_at.popitem(last=False)
        if not is_allowed:
            raise TooManyChanges(f"{slug} was changed more than {BURST} times", retry_after=60)
