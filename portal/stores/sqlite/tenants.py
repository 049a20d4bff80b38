"""Tenants on one SQLite file: each change, its event and the counter are one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from portal.stores.record_checks import (
    MOST_REVISIONS,
    MOST_SETUP_LINKS,
    require_keys,
    require_numbers,
    require_short,
    require_times,
)
from portal.stores.sqlite import tenant_statements as sql
from portal.stores.sqlite.events import Parameters, SQLiteEvents, values_of
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.stored_entries import Entry, EntryReader, entry_from
from portal.stores.tenant_records import (
    DomainClaim,
    Draft,
    Event,
    Named,
    Revision,
    SetupLink,
    TenantRecord,
)
from portal.time_slices import in_slices

_REVISIONS_AT_ONCE = 100
_NO_NUMBER = 2**62

_Step = Callable[[sqlite3.Connection], None]


class SQLiteTenants(SQLiteEvents):
    """The TenantStore on the file of a SQLiteStore. See `portal.stores.tenant_store.TenantStore`."""

    def __init__(self, file: DatabaseFile, entries: EntryReader) -> None:
        super().__init__(file, entries)
        self._file = file
        self._entries = entries

    # --- tenants and revisions

    async def tenants_version(self) -> int:
        rows = await self._file.read(lambda db: db.execute(sql.READ_VERSION).fetchall())
        return int(rows[0][0]) if rows else 0

    async def list_tenants(self) -> list[TenantRecord]:
        return await self.list_entries(TenantRecord, sql.LIST_TENANTS, ())

    async def get_tenant(self, slug: str) -> TenantRecord | None:
        require_short(slug=slug)
        return await self._one(TenantRecord, sql.GET_TENANT, (slug,))

    async def add_tenant(self, tenant: TenantRecord, *, event: Event) -> bool:
        return await self._change(sql.ADD_TENANT, values_of(tenant), event=event, counted=True)

    async def set_status(self, slug: str, status: str, *, expected: str, at: float, event: Event) -> bool:
        require_short(slug=slug, status=status)
        require_short(status=expected)
        require_times(at=at)
        parameters = {"slug": slug, "status": status, "expected": expected, "at": at}
        return await self._change(sql.SET_STATUS, parameters, event=event, counted=True)

    async def remove_tenant(self, slug: str, *, event: Event) -> bool:
        require_short(slug=slug)

        def remove_rest(database: sqlite3.Connection) -> None:
            for statement in sql.REMOVE_REST:
                database.execute(statement, (slug,))

        return await self._change(sql.REMOVE_TENANT, (slug,), event=event, counted=True, then=remove_rest)

    async def publish(
        self,
        revision: Revision,
        *,
        replaces: int,
        draft: int | None,
        event: Event,
        made_at: float | None = None,
    ) -> bool:
        require_numbers(replaces=replaces, draft=draft or 0)
        require_times(made_at=made_at or 0.0)
        values = values_of(revision)
        if revision.number <= replaces:
            raise ValueError("number is not larger than that of the live revision")

        def store(database: sqlite3.Connection) -> None:
            database.execute(sql.ADD_REVISION, values)
            database.execute(sql.DROP_EARLY_REVISIONS, (revision.tenant, revision.number - MOST_REVISIONS))
            if draft is not None:
                database.execute(sql.DELETE_DRAFT, (revision.tenant, draft))

        parameters = {**values, "replaces": replaces, "made_at": made_at}
        return await self._change(sql.MAKE_LIVE, parameters, event=event, counted=True, then=store)

    async def read_revisions(self, keys: Collection[tuple[str, int]]) -> list[Revision]:
        wanted = require_keys(keys)
        found = []
        for start in range(0, len(wanted), _REVISIONS_AT_ONCE):
            some = wanted[start : start + _REVISIONS_AT_ONCE]
            rows = await self._file.read(partial(_read_each, sql.GET_REVISION, some))
            found += await self._entries.read_all(partial(entry_from, Revision), rows, kind=Revision)
        return found

    async def list_revisions(self, tenant: str, *, before: int | None, most: int) -> list[Revision]:
        require_short(tenant=tenant)
        require_numbers(before=before or 0, most=most)
        parameters = {"tenant": tenant, "before": _NO_NUMBER if before is None else before}
        return await self.list_page(
            Revision, sql.LIST_REVISIONS, parameters, place="before", most=most, by="number"
        )

    # --- drafts

    async def get_draft(self, tenant: str) -> Draft | None:
        require_short(tenant=tenant)
        return await self._one(Draft, sql.GET_DRAFT, (tenant,))

    async def put_draft(
        self, draft: Draft, *, replaces: int | None, event: Event | None, made_at: float | None = None
    ) -> bool:
        require_numbers(replaces=replaces or 0)
        statement = sql.ADD_DRAFT if replaces is None else sql.SWAP_DRAFT
        parameters = {**_of_tenant(draft, made_at), "replaces": replaces}
        return await self._change(statement, parameters, event=event)

    async def delete_draft(self, tenant: str, *, version: int, event: Event) -> bool:
        require_short(tenant=tenant)
        require_numbers(version=version)
        return await self._change(sql.DELETE_DRAFT, (tenant, version), event=event)

    # --- setup links

    async def add_setup_link(self, link: SetupLink, *, event: Event, made_at: float | None = None) -> bool:
        def drop_oldest(database: sqlite3.Connection) -> None:
            database.execute(sql.DROP_OLDEST_LINKS, (link.tenant, MOST_SETUP_LINKS))

        return await self._change(sql.ADD_LINK, _of_tenant(link, made_at), event=event, then=drop_oldest)

    async def find_setup_link(self, token_hash: str) -> SetupLink | None:
        require_short(token_hash=token_hash)
        return await self._one(SetupLink, sql.FIND_LINK, (token_hash,))

    async def bind_setup_link(self, token_hash: str, *, browser_hash: str, now: float, event: Event) -> bool:
        require_short(token_hash=token_hash, browser_hash=browser_hash)
        require_times(now=now)
        parameters = {"token_hash": token_hash, "browser_hash": browser_hash, "now": now}
        return await self._change(sql.BIND_LINK, parameters, event=event)

    async def list_setup_links(self, tenant: str) -> list[SetupLink]:
        require_short(tenant=tenant)
        return await self.list_entries(SetupLink, sql.LIST_LINKS, (tenant,))

    async def revoke_setup_link(self, link_id: str, *, tenant: str, at: float, event: Event) -> bool:
        require_short(id=link_id, tenant=tenant)
        require_times(at=at)
        return await self._change(sql.REVOKE_LINK, {"id": link_id, "tenant": tenant, "at": at}, event=event)

    # --- domains

    async def list_domains(self, tenant: str | None = None) -> list[DomainClaim]:
        if tenant is None:
            return await self.list_entries(DomainClaim, sql.LIST_DOMAINS, ())
        require_short(tenant=tenant)
        return await self.list_entries(DomainClaim, sql.LIST_DOMAINS_OF, (tenant,))

    async def add_domain(self, claim: DomainClaim, *, event: Event, made_at: float | None = None) -> bool:
        return await self._change(sql.ADD_DOMAIN, _of_tenant(claim, made_at), event=event, counted=True)

    async def prove_domain(
        self,
        name: str,
        *,
        tenant: str,
        proof: str,
        proven_at: float,
        checked_at: float,
        event: Event | None,
        unchanged: DomainClaim | None = None,
    ) -> bool:
        require_short(name=name, tenant=tenant, proof=proof)
        require_times(proven_at=proven_at, checked_at=checked_at)
        condition, parameters = _if_unchanged(unchanged)
        parameters |= {"name": name, "tenant": tenant, "checked_at": checked_at}
        if event is None:
            return await self._change(sql.NOTE_CHECK + condition, parameters, event=None)
        parameters |= {"proof": proof, "proven_at": proven_at}
        return await self._change(sql.PROVE_DOMAIN + condition, parameters, event=event, counted=True)

    async def delete_domain(
        self,
        name: str,
        *,
        tenant: str,
        event: Event,
        unproven: bool = False,
        unchanged: DomainClaim | None = None,
    ) -> bool:
        require_short(name=name, tenant=tenant)
        condition, parameters = _if_unchanged(unchanged)
        statement = sql.DELETE_DOMAIN + condition + (sql.IF_UNPROVEN if unproven else "")
        parameters |= {"name": name, "tenant": tenant}
        return await self._change(statement, parameters, event=event, counted=True)

    # --- what names a person

    async def replace_named(self, records: Sequence[Named]) -> None:
        changes = [(sql.REPLACE_NAMED[type(each)], values_of(each)) async for each in in_slices(records)]

        def work(database: sqlite3.Connection) -> None:
            for statement, parameters in changes:
                database.execute(statement, parameters)

        self._file.empties_log = True
        if changes:
            await self._file.write(work)

    async def _one(self, model: type[Entry], statement: str, parameters: Parameters) -> Entry | None:
        rows = await self._file.read(lambda db: db.execute(statement, parameters).fetchall())
        return self._entries.read(partial(entry_from, model), rows[0], kind=model) if rows else None

    async def _change(
        self,
        statement: str,
        parameters: Parameters,
        *,
        event: Event | None,
        counted: bool = False,
        then: _Step | None = None,
    ) -> bool:
        """Run a statement; False if it changes no row, and then nothing else happens.

        In the same transaction: `then`, the event, and with `counted` the increment of `tenants_version`.
        """
        reported = None if event is None else values_of(event)

        def work(database: sqlite3.Connection) -> bool:
            if database.execute(statement, parameters).rowcount == 0:
                return False
            if then is not None:
                then(database)
            if reported is not None:
                database.execute(sql.ADD_EVENT, reported)
            if counted:
                database.execute(sql.INCREMENT_VERSION)
            return True

        return await self._file.write(work)


def _if_unchanged(claim: DomainClaim | None) -> tuple[str, dict[str, object]]:
    """The condition that a stored claim is still this one, and its parameters. Raises as `require_valid`."""
    if claim is None:
        return "", {}
    stored = values_of(claim)
    names = ("proof", "proven_at", "checked_at", "created_at")
    return sql.IF_UNCHANGED, {f"old_{name}": stored[name] for name in names}


def _of_tenant(record: Draft | SetupLink | DomainClaim, made_at: float | None) -> dict[str, Any]:
    """The parameters that store a record of a tenant, if that was made at this time (None: at any)."""
    require_times(made_at=made_at or 0.0)
    return {**values_of(record), "made_at": made_at}


def _read_each(statement: str, keys: Sequence[Sequence[object]], database: sqlite3.Connection) -> list[Any]:
    return [row for key in keys for row in database.execute(statement, key)]
