"""The host names and e-mail domains that contents of tenants state, and the claims that none states."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from portal.admin.content_worker import ContentWorker
from portal.admin.events import Act, EventKind
from portal.clock import Clock
from portal.config.field_types import EmailDomain, HostName
from portal.config.yaml_document import parse_document
from portal.errors import ConfigurationError
from portal.stores.tenant_records import Draft, TenantRecord
from portal.stores.tenant_store import TenantStore

Names = Mapping[str, tuple[str, ...]]
"""The kinds of each name: `hosts`, `email_domains` or both."""

_Versions = tuple[tuple[int, float] | None, tuple[float, int] | None]
"""The version and time of a draft; the time when a tenant was made, and the number of its live revision."""

NO_NAMES: Names = MappingProxyType({})
_TYPES: Mapping[str, TypeAdapter[str]] = {
    "hosts": TypeAdapter(HostName),
    "email_domains": TypeAdapter(EmailDomain),
}
_MOST = 200
"""Of each kind; the schema of a tenant allows no more."""


def names_in(content: str, tenant: str) -> Names:
    """The names that a content states, also an invalid one. Call it in a `ContentWorker`: it parses YAML."""
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


async def stated_names(store: TenantStore, contents: ContentWorker, slug: str) -> tuple[Names, Names]:
    """The names of the live revision and of the draft of a tenant. Raises StoreUnavailable."""
    _, live, draft = await _versions_and_names(store, contents, slug)
    return live, draft


async def release_unstated(
    store: TenantStore, contents: ContentWorker, slug: str, act: Act, *, clock: Clock
) -> list[str]:
    """Release the names that neither the live revision nor the draft of a tenant states; return them.

    Another tenant can claim them then. It ends early when the tenant, its draft or a claim changes meanwhile:
    whoever changed it, or `domain_upkeep`, releases what is left. Raises StoreUnavailable.
    """
    claims = await store.list_domains(slug)
    if not claims:
        return []
    versions, live, draft = await _versions_and_names(store, contents, slug)
    released: list[str] = []
    for claim in claims:
        if claim.name in live or claim.name in draft:
            continue
        if _versions(await store.get_draft(slug), await store.get_tenant(slug)) != versions:
            break
        event = act.event(EventKind.DOMAIN_RELEASED, tenant=slug, target=claim.name, at=clock())
        if await store.delete_domain(claim.name, tenant=slug, event=event, replaces=claim):
            released.append(claim.name)
    return released


async def _versions_and_names(
    store: TenantStore, contents: ContentWorker, slug: str
) -> tuple[_Versions, Names, Names]:
    """What was read, and the names of the live revision and of the draft.

    The draft is read first: a publication in between makes it the live revision.
    """
    draft, record = await store.get_draft(slug), await store.get_tenant(slug)
    revisions = await store.read_revisions([(slug, record.live)]) if record and record.live else []
    live = await contents.run(slug, names_in, revisions[0].content, slug) if revisions else NO_NAMES
    of_draft = await contents.run(slug, names_in, draft.content, slug) if draft else NO_NAMES
    return _versions(draft, record), live, of_draft


def _versions(draft: Draft | None, record: TenantRecord | None) -> _Versions:
    """What distinguishes the draft and the live revision from earlier and later ones."""
    return (
        None if draft is None else (draft.version, draft.changed_at),
        None if record is None else (record.created_at, record.live),
    )
