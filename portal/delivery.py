"""Wires what delivers events to the log and to a webhook."""

from __future__ import annotations

from portal.admin.event_delivery import EventDelivery
from portal.admin.event_webhook import Webhook
from portal.web.context import Portal


def event_delivery(portal: Portal) -> EventDelivery:
    """Make what delivers events as the settings say."""
    settings = portal.settings.events
    return EventDelivery(
        portal.store,
        portal.admin.store,
        receiver=Webhook(portal.http, settings.webhook, clock=portal.clock) if settings.webhook else None,
        log=settings.log,
        clock=portal.clock,
        observer=portal.metrics.events,
    )
