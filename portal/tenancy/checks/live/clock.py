"""Live check: whether the provider's clock and the portal's agree."""

from __future__ import annotations

from portal.oidc.id_token import LEEWAY
from portal.tenancy.checks.live.model import Context, Finding, NotPossible, failed, passed, warned

WARNING_SECONDS = 30.0
"""From this difference on there is a warning; from the portal's tolerance for ID tokens on, a failure."""


async def check_clock(context: Context) -> list[Finding]:
    """Compare the clocks: ID tokens are refused when they differ by more than the portal tolerates."""
    times = context.facts.times
    if not times:
        raise NotPossible("no response of the provider has a usable Date header")
    # the smallest difference: a slow response makes a clock look late
    difference = min((time.stated - time.received for time in times), key=abs)
    seconds = abs(difference)
    if seconds <= WARNING_SECONDS:
        return passed(f"the clocks differ by {seconds:.0f} s")
    direction = "ahead of" if difference > 0 else "behind"
    seen = f"the provider's clock is {seconds:.0f} s {direction} the portal's"
    advice = "synchronise both clocks with NTP: compare each with the time of another machine first"
    if seconds <= LEEWAY:
        return warned(f"{seen}; more than {LEEWAY:g} s make sign-ins fail", advice)
    return failed(f"{seen}; the portal tolerates {LEEWAY:g} s, so its ID tokens are refused", advice)
