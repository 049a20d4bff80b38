"""The host names and e-mail domains that contents of tenants state, and the claims that none states."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from portal.admin.events import Act, EventKind
from portal.clock import Clock
from portal.config.field_types import EmailDomain, HostName
from portal.config.yaml_document import parse_document
from portal.errors import ConfigurationError
from portal.stores.tenant_store import TenantStore

Names = Mapping[str, tuple[str, ...]]
"""The kinds of each name: `hosts`, `email_domains` or both."""

NO_NAMES: Names = MappingProxyType({})
_TYPES: Mapping[str, TypeAdapter[str]] = {
    "hosts": TypeAdapter(HostName),
    "email_domains": TypeAdapter(EmailDomain),
}
_MOST = 200
"""Of each kind; the schema of a tenant allows no more."""


def names_in(content: str, tenant: str) -> Names:
    """The names that a content states, also an invalid one. Call it in a thread: it parses YAML."""
    try:
        root = parse_document(content.encode(), tenant).root
    except ConfigurationError:
        return NO_NAMES
    names: dict[str, tuple[str, ...]] = {}
    for kind, type_ in _TYPES.items():
        stated = root.get(kind)
        for text in stated[:_MOST] if isinstance(stated, list) else ():
            try:
                name = type_.validate_python(text, strict=True)
            except ValidationError:
                continue  # an invalid draft; the draft's page says what is wrong
            names[name] = (*(one for one in names.get(name, ()) if one != kind), kind)
    return names


async def stated_names(store: TenantStore, slug: str) -> tuple[Names, Names]:
    """The names of the live revision and of the draft of a tenant. Raises StoreUnavailable."""
    record = await store.get_tenant(slug)
    revisions = await store.read_revisions([(slug, record.live)]) if record and record.live else []
    draft = await store.get_draft(slug)
    live = await asyncio.to_thread(names_in, revisions[0].content, slug) if revisions else NO_NAMES
    return live, await asyncio.to_thread(names_in, draft.content, slug) if draft else NO_NAMES


async def release_unstated(store: TenantStore, slug: str, act: Act, *, clock: Clock) -> list[str]:
    """Release the names that neither the live revision nor the draft of a tenant states; return them.

    Another tenant can claim them then. Raises StoreUnavailable.
    """
    claims = await store.list_domains(slug)
    if not claims:
        return []
    live, draft = await stated_names(store, slug)
    released = []
    for claim in claims:
        if claim.name not in live and claim.name not in draft:
            event = act.event(EventKind.DOMAIN_RELEASED, tenant=slug, target=claim.name, at=clock())
            if await store.delete_domain(claim.name, tenant=slug, event=event):
                released.append(claim.name)
    return released
