"""Live check: what cannot be checked from here, said instead of left out."""

from __future__ import annotations

from portal.tenancy.checks.live.model import Context, Finding, NotPossible


async def check_provider_logout(context: Context) -> list[Finding]:
    """Whether the provider reaches the portal for back-channel logout: only the provider can tell."""
    raise NotPossible(
        "whether the provider can reach the portal's back-channel logout address is not checked: a request "
        "from here would not show it; sign out at the provider, and see that the portal's login has ended"
    )
