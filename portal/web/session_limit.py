"""Ends the oldest sign-ins of a user who has too many (`limits.sessions_per_user`; THREATS L9)."""

from __future__ import annotations

import structlog

from portal.admin.actors import Actor, ActorType
from portal.errors import StoreUnavailable
from portal.ops.limit_metrics import Limit
from portal.sessions.ended import EndReason
from portal.stores.model import Login
from portal.web.admin.acts import act_of
from portal.web.base import PortalHandler

_log = structlog.get_logger("portal.limits")


async def end_oldest_logins(handler: PortalHandler, login: Login) -> None:
    """Keep the newest logins of the user of a new login.

    When the database fails, the new login stays, and so do the old ones until the next sign-in.
    """
    portal = handler.portal
    try:
        ended = await portal.user_logins.end_oldest(login, keep=portal.settings.limits.sessions_per_user)
    except StoreUnavailable as error:
        _log.warning("oldest_logins_not_ended", tenant=login.tenant, detail=error.detail)
        return
    if ended:
        portal.metrics.limits.hit(Limit.SESSIONS_PER_USER, login.tenant)
    for one in ended:
        act = act_of(handler, Actor(ActorType.SYSTEM))
        portal.user_events.session_ended(one, EndReason.TOO_MANY_SESSIONS, act)
