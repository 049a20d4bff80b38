"""Summaries of tenants for the overview of the console: those of files and those of the database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from portal.admin.organisation_name import organisation_name
from portal.errors import Problem
from portal.sentences import message
from portal.stores.tenant_records import Draft, TenantRecord, TenantStatus
from portal.stores.tenant_store import TenantStore
from portal.tenancy.index import fold
from portal.tenancy.model import Tenant
from portal.tenancy.registry import Registry
from portal.time_slices import in_slices

OTHER_HAS_IT = message(
    "It claims a host name, an e-mail domain or a client that another organisation here has."
)
"""What is said of a conflict to who may not know the other organisation."""
_MOST_FOUND = 1_000


class DraftStage(StrEnum):
    """How far the draft of a tenant is."""

    NONE = ""
    WAITING = "draft"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class Summary:
    """A tenant in a list."""

    slug: str
    name: str
    live: Tenant | None
    """None: it is not served."""
    file: str | None
    """The name of its file; None: it is in the database."""
    record: TenantRecord | None
    draft: DraftStage
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SummaryPage:
    """Some of the tenants; `total` of all that were found."""

    summaries: tuple[Summary, ...]
    total: int


class Summaries:
    """Reads summaries."""

    def __init__(self, registry: Registry, store: TenantStore) -> None:
        self._registry = registry
        self._store = store

    async def of_all(self, query: str, *, skip: int, most: int) -> SummaryPage:
        """A page of all tenants, for operators: those that are not served first, then by name.

        Parameters: query, a part of a name or slug, or an e-mail address. Raises StoreUnavailable.
        """
        records = {record.slug: record for record in await self._store.list_tenants()}
        served: Sequence[Tenant] = self._registry.all()
        if query:
            served = self._registry.search(query, most=_MOST_FOUND)
        live = {tenant.slug async for tenant in in_slices(self._registry.all())}
        wanted = fold(query)
        slugs = sorted({*records, *self._registry.unclear} - live)
        slugs = [slug async for slug in in_slices(slugs) if wanted in slug]
        slugs += [tenant.slug async for tenant in in_slices(served)]
        shown = slugs[skip : skip + most]
        return SummaryPage(await self._of(shown, records, operator=True), len(slugs))

    async def of_admin(self, slugs: Iterable[str]) -> SummaryPage:
        """The tenants of an admin, by slug. Raises StoreUnavailable."""
        listed = sorted(slugs)
        found = await asyncio.gather(*(self._store.get_tenant(slug) for slug in listed))
        records = {record.slug: record for record in found if record is not None}
        return SummaryPage(await self._of(listed, records, operator=False), len(listed))

    async def of_one(self, slug: str, *, operator: bool) -> Summary | None:
        """The summary of a tenant; None when there is no such tenant. Raises StoreUnavailable."""
        record = await self._store.get_tenant(slug)
        if record is None and self._registry.get(slug) is None and self._registry.file_of(slug) is None:
            return None
        records = {} if record is None else {slug: record}
        return (await self._of([slug], records, operator=operator))[0]

    async def _of(
        self, slugs: Sequence[str], records: Mapping[str, TenantRecord], *, operator: bool
    ) -> tuple[Summary, ...]:
        stored = [slug for slug in slugs if slug in records]
        drafts = dict(
            zip(stored, await asyncio.gather(*(self._store.get_draft(slug) for slug in stored)), strict=True)
        )
        return tuple(self._summary(slug, records.get(slug), drafts.get(slug), operator) for slug in slugs)

    def _summary(
        self, slug: str, record: TenantRecord | None, draft: Draft | None, operator: bool
    ) -> Summary:
        live, file = self._registry.get(slug), self._registry.file_of(slug)
        loaded = self._registry.loaded(slug)
        named = live or (loaded.tenant if loaded is not None else None)
        return Summary(
            slug=slug,
            name=named.name
            if named is not None
            else organisation_name(slug, draft.content if draft is not None else ""),
            live=live,
            file=None if file is None else f"{file.parent.name}/{file.name}",
            record=record,
            draft=stage_of(draft) if file is None else DraftStage.NONE,
            problems=self.problems(slug, operator=operator),
        )

    def problems(self, slug: str, *, operator: bool) -> tuple[str, ...]:
        """Why a tenant, or its last change, is not served. No path of the host is in it.

        Parameters: operator, whether it may name another tenant.
        """
        found = self._registry.problems_of(slug)
        if found and not operator and self._registry.has_conflict(slug):
            return (OTHER_HAS_IT,)
        file = self._registry.file_of(slug)
        folder = "" if file is None else f"{file.parent}/"
        return tuple(str(Problem(one.place.removeprefix(folder), one.message)) for one in found)


def stage_of(draft: Draft | None) -> DraftStage:
    """How far a draft is."""
    if draft is None:
        return DraftStage.NONE
    try:
        proposed = bool(json.loads(draft.test)["proposal"])
    except (ValueError, KeyError, TypeError):  # nothing was tested yet, or by a later version
        proposed = False
    return DraftStage.PROPOSED if proposed else DraftStage.WAITING


def status_in_words(summary: Summary) -> str:
    """What a tenant may do now."""
    record = summary.record
    if summary.file is not None:
        return message("Live") if summary.live is not None else message("Not served")
    if record is not None and record.status == TenantStatus.SUSPENDED:
        return message("Suspended")
    if record is not None and record.live == 0:
        return message("Not published yet")
    if summary.live is None:
        return message("Not served")
    return message("Live") if summary.live.accepts_logins else message("Closed to new logins")
