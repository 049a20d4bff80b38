"""What the demo adds to the console: its operator, and the setup link of the organisation without a file."""

from __future__ import annotations

from portal.access.accounts import AccountRule, Operator
from portal.access.rules import Comparison, Rule
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.services import AdminServices
from portal.admin.setup_links import LinkState
from portal.demo.organisations import ACME_ORGANISATION, INITECH_ORGANISATION
from portal.secret import Secret

OPERATOR = ACME_ORGANISATION.users[0]
"""The user who is the operator of the demo's portal."""
_DEMO = Act(Actor(ActorType.SYSTEM, "demo"))


def operators() -> tuple[Operator, ...]:
    """The operators of the demo's portal."""
    rule = Rule(("email",), Comparison.EQUALS, (OPERATOR.email,), verified_by=("email_verified",))
    return (Operator(ACME_ORGANISATION.slug, AccountRule(rule)),)


async def make_setup_link(admin: AdminServices) -> Secret | None:
    """Make a setup link for Initech, and revoke those of earlier starts; None if Initech is published.

    Raises StoreUnavailable.
    """
    slug, links = INITECH_ORGANISATION.slug, admin.setup_links
    record = await admin.store.get_tenant(slug)
    if record is not None and record.live:
        return None
    for link in await links.of_tenant(slug):
        if links.state(link) in {LinkState.NOT_OPENED, LinkState.OPENED}:
            await links.revoke(slug, link.id, _DEMO)
    return (await links.make(slug, _DEMO, name="The admin of Initech")).url
