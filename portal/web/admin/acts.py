"""What is recorded of a request that changes something."""

from __future__ import annotations

from portal.admin.actors import Actor
from portal.admin.events import Act
from portal.web.base import PortalHandler
from portal.web.client_address import client_network


def act_of(handler: PortalHandler, actor: Actor, reason: str = "") -> Act:
    """The act of this request. Parameters: actor, who acts; reason, in their words."""
    return Act(
        actor=actor,
        reason=reason,
        request_id=handler.request_id,
        client=client_network(handler.client_address()),
        device=handler.device(),
    )
