"""A page of records that are read one after the other has no gap where a record is damaged.

Whoever reads page by page takes a short page as the last one: a gap would hide all that follows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient

from portal.admin.event_search import PAGE, EventFilter, oldest_first
from portal.stores.tenant_store import Database, TenantStore
from tests.contract.entries import NOW, at, new_event, new_login, new_revision, new_session, new_tenant


def damage(url: str, table: str, field: str, keys: Collection[object], key: str = "id") -> None:
    """Give a field of some records a value that cannot be read."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.executemany(
                f"UPDATE {table} SET {field} = x'ff' WHERE {key} = ?", [(each,) for each in keys]
            )
    else:
        with MongoClient[Any](url) as client:
            found = client.get_default_database()[table]
            found.update_many({"_id" if key == "id" else key: {"$in": list(keys)}}, {"$set": {field: [7]}})


@pytest.mark.gen_test
async def test_damaged_events_leave_no_gap(tenants: TenantStore, database_url: str) -> None:
    events = [new_event(seconds=number) for number in range(12)]
    await tenants.add_events(events)
    damage(database_url, "events", "reason", [event.id for event in events[1:6]])
    sound = [events[0], *events[6:]]
    assert await tenants.read_events(most=3) == sound[:3]
    assert await tenants.read_events(most=6, tenant="initech", after=events[0].id) == sound[1:]
    assert await tenants.list_events(most=7) == [*reversed(sound)]
    assert await tenants.list_events(most=3, before=events[7].id) == [events[6], events[0]]
    await tenants.set_aside_events([event.id for event in events])
    assert await tenants.list_set_aside(after="", most=3) == sound[:3]
    assert await tenants.list_set_aside(after=events[0].id, most=2) == sound[1:3]
    assert await tenants.read_events(most=0) == []


@pytest.mark.gen_test
async def test_all_events_are_read_although_some_are_damaged(tenants: TenantStore, database_url: str) -> None:
    events = [new_event(seconds=number / 1000) for number in range(2 * PAGE)]
    await tenants.add_events(events)
    damaged = {events[7].id, events[PAGE + 3].id}
    damage(database_url, "events", "at", damaged)
    read = [event.id async for page in oldest_first(tenants, EventFilter()) for event in page]
    assert read == [event.id for event in events if event.id not in damaged]


@pytest.mark.gen_test
async def test_an_event_with_another_time_than_its_id_is_damaged(
    tenants: TenantStore, database_url: str
) -> None:
    """A date far in the future can be written nowhere; it must not stop those that come after it."""
    wrong, sound = new_event(seconds=1), new_event(seconds=2)
    await tenants.add_events([wrong, sound])
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
            database.execute("UPDATE events SET at = 1e15 WHERE id = ?", (wrong.id,))
    else:
        with MongoClient[Any](database_url) as client:
            client.get_default_database()["events"].update_one({"_id": wrong.id}, {"$set": {"at": 1e15}})
    assert await tenants.waiting_events(after="", most=9) == ([sound], [wrong.id])
    assert await tenants.read_events(most=9) == [sound]


@pytest.mark.gen_test
async def test_damaged_revisions_leave_no_gap(tenants: TenantStore, database_url: str) -> None:
    assert await tenants.add_tenant(new_tenant(), event=new_event())
    for number in range(1, 7):
        made = new_revision(number)
        assert await tenants.publish(made, replaces=number - 1, draft=None, event=new_event())
    await tenants.list_events()  # MongoDB: delivers what a change keeps with its tenant
    damage(database_url, "revisions", "author", [3, 4, 6], key="number")
    found = await tenants.list_revisions("initech", before=None, most=2)
    assert [each.number for each in found] == [5, 2]
    found = await tenants.list_revisions("initech", before=5, most=5)
    assert [each.number for each in found] == [2, 1]


@pytest.mark.gen_test
async def test_damaged_logins_leave_no_gap(store: Database, database_url: str) -> None:
    """A search of logins, and a provider that ends all logins of a person, would not find the later ones."""
    logins = []
    for number in range(8):
        session = new_session()
        logins.append(new_login(session, signed_in_at=at(-10.0 - number)))
        await store.add_session(session, login=logins[-1])
    damage(database_url, "logins", "claims", [login.id for login in logins[:4]])
    listed = await store.tenant_logins.list("acme", registrations=None, before=None, most=3, now=NOW)
    assert [each.login for each in listed] == logins[4:7]
    place = listed[0].position
    listed = await store.tenant_logins.list("acme", registrations=None, before=place, most=9, now=NOW)
    assert [each.login for each in listed] == logins[5:]
    assert await store.tenant_logins.stored("acme", before=None, most=2) == logins[4:6]
    assert await store.tenant_logins.stored("acme", before=place, most=2) == logins[5:7]
