"""Events in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from typing import Any

from portal.stores.event_store import EventPage, WaitingEvents
from portal.stores.full_pages import full_page
from portal.stores.record_checks import (
    TenantEntry,
    is_event_id,
    require_numbers,
    require_search,
    require_short,
    require_times,
    require_valid,
)
from portal.stores.sqlite import tenant_statements as sql
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.sqlite.rows import Row
from portal.stores.stored_entries import Entry, EntryReader, entry_from, stored_names
from portal.stores.tenant_records import (
    LAST_EVENT_ID,
    USER_KINDS,
    Event,
    earliest_event_id,
    subject_text,
)
from portal.time_slices import in_slices

_CHANGED_AT_ONCE = 200
"""Events that a transaction changes: no other write, of any process, can run meanwhile."""

Parameters = Mapping[str, object] | Sequence[object]


class SQLiteEvents:
    """The part of the TenantStore for events. See `portal.stores.event_store.EventStore`."""

    def __init__(self, file: DatabaseFile, entries: EntryReader) -> None:
        self._file = file
        self._entries = entries

    async def add_events(self, events: Sequence[Event]) -> None:
        rows = [values_of(event) async for event in in_slices(events)]

        def work(database: sqlite3.Connection) -> None:
            database.executemany(sql.ADD_EVENT, rows)

        await self._file.write(work)

    async def list_events(
        self, *, tenant: str | None = None, before: str | None = None, since: float = 0.0, most: int = 100
    ) -> list[Event]:
        require_times(since=since)
        require_numbers(most=most)
        require_short(tenant=tenant or "", id=before or "")
        conditions = [sql.ACTS, "id >= :since", "id < :before"]
        conditions += [] if tenant is None else ["tenant = :tenant"]
        parameters = {
            "since": earliest_event_id(since),
            "before": LAST_EVENT_ID if before is None else before,
            "tenant": tenant,
        }
        statement = sql.LIST_EVENTS.format(
            index=sql.ALL_ACTS if tenant is None else sql.ACTS_OF_TENANT, conditions=" AND ".join(conditions)
        )
        return await self.list_page(Event, statement, parameters, place="before", most=most)

    async def list_user_events(
        self, users: Sequence[tuple[str, str]], *, since: float, most: int
    ) -> Sequence[Event]:
        for tenant, actor in users:
            require_short(tenant=tenant, actor=actor)
        require_times(since=since)
        require_numbers(most=most)
        first = earliest_event_id(since)
        asked = [
            {"tenant": tenant, "actor": actor, "since": first, "most": most}
            for tenant, actor in dict.fromkeys(users)
        ]

        def newest(db: sqlite3.Connection) -> list[Row]:
            rows = [row for one in asked for row in db.execute(sql.LIST_USER_EVENTS, one)]
            return sorted(rows, key=itemgetter(0), reverse=True)[:most]

        rows = await self._file.read(newest) if asked else []
        return await self._entries.read_all(partial(entry_from, Event), rows, kind=Event)

    async def read_events(
        self,
        *,
        tenant: str | None = None,
        after: str = "",
        before: str | None = None,
        most: int,
    ) -> list[Event]:
        require_short(id=after, tenant=tenant or "")
        require_short(id=before or "")
        require_numbers(most=most)
        statement = sql.READ_EVENTS.format(of_tenant="" if tenant is None else "AND tenant = :tenant")
        last = LAST_EVENT_ID if before is None else before
        parameters = {"after": after, "before": last, "tenant": tenant}
        return await self.list_page(Event, statement, parameters, place="after", most=most)

    async def search_events(
        self,
        *,
        tenant: str | None,
        kinds: Collection[str],
        outcome: str,
        subject: str,
        after: str,
        before: str | None,
        most: int,
        among: int,
    ) -> EventPage:
        require_search(tenant=tenant, kinds=kinds, outcome=outcome, subject=subject, most=most, among=among)
        require_short(id=after)
        require_short(id=before or "")
        acts = bool(kinds) and not set(kinds) & set(USER_KINDS)
        conditions = ["id > :after", "id < :before"]
        conditions += [sql.ACTS] if acts else []
        conditions += [] if tenant is None else ["tenant = :tenant"]
        parameters = {
            "tenant": tenant,
            "kinds": json.dumps(list(kinds)) if kinds else None,
            "outcome": outcome,
            "subject": subject,
            "actor": subject_text(subject) if subject else "",
            "after": after,
            "before": LAST_EVENT_ID if before is None else before,
            "most": most + 1,
            "among": among,
            "last": max(0, among - 1),
        }
        places = {"index": sql.INDEXES[tenant is not None, acts], "conditions": " AND ".join(conditions)}
        search, last = sql.SEARCH_EVENTS.format(**places), sql.LAST_SEARCHED.format(**places)

        def work(database: sqlite3.Connection) -> tuple[list[Any], str | None]:
            rows = database.execute(search, parameters).fetchall()
            if len(rows) > most:
                return rows[:most], rows[most - 1][0] if most else before
            place = database.execute(last, parameters).fetchone()
            return rows, place[0] if place else None

        rows, more_before = await self._file.read(work)
        return EventPage(
            await self._entries.read_all(partial(entry_from, Event), rows, kind=Event), more_before
        )

    async def waiting_events(self, *, after: str, most: int) -> WaitingEvents:
        require_short(id=after)
        require_numbers(most=most)
        rows = await self._file.read(lambda db: db.execute(sql.WAITING_EVENTS, (after, most)).fetchall())
        found = WaitingEvents([], [])
        async for row in in_slices(rows):
            event = self._entries.read(partial(entry_from, Event), row, kind=Event)
            if event is not None:
                found.events.append(event)
            elif is_event_id(row[0]):
                found.damaged.append(row[0])
        return found

    async def mark_delivered(self, ids: Collection[str]) -> None:
        await self._update_each(sql.MARK_DELIVERED, ids)

    async def set_aside_events(self, ids: Collection[str]) -> None:
        await self._update_each(sql.SET_ASIDE, ids)

    async def list_set_aside(self, *, after: str, most: int) -> list[Event]:
        require_short(id=after)
        require_numbers(most=most)
        return await self.list_page(Event, sql.LIST_SET_ASIDE, {"after": after}, place="after", most=most)

    async def deliver_again(self, *, most: int) -> int:
        require_numbers(most=most)
        found = await self._file.read(lambda db: db.execute(sql.IDS_SET_ASIDE, (most,)).fetchall())
        await self._update_each(sql.WAIT_AGAIN, [row[0] for row in found])
        return len(found)

    async def _update_each(self, statement: str, ids: Collection[str]) -> None:
        """Run a statement for each id, in transactions of bounded size."""
        for each in ids:
            require_short(id=each)
        rows = [(each,) for each in ids]
        for start in range(0, len(rows), _CHANGED_AT_ONCE):
            some = rows[start : start + _CHANGED_AT_ONCE]
            await self._file.write(partial(_execute_each, statement, some))

    async def purge_events(self, *, before: float, most: int) -> int:
        require_times(before=before)
        require_numbers(most=most)
        deleted = 0
        while deleted < most:
            some = min(_CHANGED_AT_ONCE, most - deleted)
            found = await self._file.write(
                partial(_delete, sql.PURGE_EVENTS, earliest_event_id(before), some)
            )
            deleted += found
            if found < some:
                break
        return deleted

    async def list_entries(self, model: type[Entry], statement: str, parameters: Parameters) -> list[Entry]:
        """The records that a statement returns. Raises StoreUnavailable."""
        rows = await self._file.read(lambda db: db.execute(statement, parameters).fetchall())
        return await self._entries.read_all(partial(entry_from, model), rows, kind=model)

    async def list_page(
        self,
        model: type[Entry],
        statement: str,
        parameters: Mapping[str, object],
        *,
        place: str,
        most: int,
        by: str = "id",
    ) -> list[Entry]:
        """The first `most` records of a statement that can be read. Raises StoreUnavailable.

        Parameters: parameters, without `most`; place, the one after which the statement finds records; by,
        the field that has it.
        """
        column = [*stored_names(model)].index(by)

        async def read(found: object, count: int) -> Sequence[Row]:
            asked = {**parameters, place: found, "most": count}
            return await self._file.read(lambda db: db.execute(statement, asked).fetchall())

        async def decode(rows: Sequence[Row]) -> list[Entry]:
            return await self._entries.read_all(partial(entry_from, model), rows, kind=model)

        return await full_page(read, decode, itemgetter(column), begin=parameters[place], most=most)


def values_of(record: TenantEntry) -> dict[str, Any]:
    """The parameters that store a record. Raises as `require_valid`."""
    require_valid(record)
    return asdict(record)


def _delete(statement: str, before: str, most: int, database: sqlite3.Connection) -> int:
    return database.execute(statement, (before, most)).rowcount


def _execute_each(statement: str, rows: Sequence[tuple[str]], database: sqlite3.Connection) -> None:
    database.executemany(statement, rows)
