"""Live check: what cannot be checked from here, said instead of left out."""

from __future__ import annotations

from portal.tenancy.checks.live.model import Context, Finding, NotPossible


async def check_deliveries(context: Context) -> list[Finding]:
    """Whether requests of the provider reach the portal: only the provider can tell."""
    raise NotPossible(
        "whether back-channel logouts and webhooks of the provider reach the portal is not checked: a "
        "request from here would not show it; sign out at the provider, and see that the portal's login ends"
    )
