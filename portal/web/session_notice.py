"""What a page needs to say in time that the session ends, and how to go on then (static/session.js)."""

from __future__ import annotations

from collections.abc import Sequence

from portal.sessions.service import RequestSession
from portal.web.views import SessionNotice, TenantCard

_MOST_LINKS = 5


def session_notice(
    found: RequestSession | None, tenant: str | None, cards: Sequence[TenantCard], now: float
) -> SessionNotice | None:
    """The notice of a page; None for a reader who is not signed in.

    Parameters: tenant, the slug of the page's own tenant, whose login counts as well; cards, of the tenants
    that the reader is signed in to.
    """
    if found is None or not cards:
        return None
    session = found.session
    used_until = now + session.idle_expires_at - session.last_seen_at  # the request for the page is a use
    ends_at = min(max(used_until, session.idle_expires_at), session.absolute_expires_at)
    own = [card for card in cards if found.login is not None and card.slug == tenant]
    if found.login is not None:
        ends_at = min(ends_at, found.login.expires_at)
    return SessionNotice(
        ends_in=max(0, int(ends_at - now)),
        tenant=own[0].slug if own else "",
        sign_in_at=tuple(own or cards[:_MOST_LINKS]),
    )
