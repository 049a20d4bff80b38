"""Portals of this version and of the previous one on the same MongoDB database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest
from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database
from tornado.ioloop import IOLoop

from portal.errors import StartupError
from portal.stores.format import FORMAT
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.mongo.documents import VERSION
from portal.stores.mongo.inspection import MongoInspection
from portal.stores.mongo.store import MongoStore
from portal.stores.mongo.tenant_documents import VERSION as TENANT_VERSION
from tests.contract import earlier_portal as earlier
from tests.contract.entries import (
    NOW,
    at,
    key_of,
    new_attempt,
    new_login,
    new_session,
    new_step,
    provider_of,
)
from tests.contract.test_schema_versions import ATTEMPT, LOGIN, SESSION, STEP, THEN
from tests.mongodb import fresh_database


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as made:
        yield made


@pytest.fixture
def store(io_loop: IOLoop, url: str) -> Iterator[MongoStore]:
    opened = MongoStore(url)
    io_loop.run_sync(opened.open)
    yield opened
    io_loop.run_sync(opened.close)


@pytest.fixture
def database(url: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.mark.gen_test
async def test_the_earlier_portal_reads_what_this_one_writes(store: MongoStore, database: Any) -> None:
    session, attempt, step = new_session(), new_attempt(), new_step()
    login = new_login(session)
    await store.add_session(session)
    await store.add_attempt(attempt)
    await store.add_logout_step(step)
    await store.put_login(login)
    for name, fields, entry in (
        ("sessions", earlier.SESSION, session),
        ("attempts", earlier.ATTEMPT, attempt),
        ("logouts", earlier.STEP, step),
        ("logins", earlier.LOGIN, login),
    ):
        (document,) = database[name].find()
        assert document["v"] == VERSION
        assert earlier.read(fields, document) == earlier.values(entry)


@pytest.mark.gen_test
async def test_this_portal_reads_what_the_earlier_one_writes(store: MongoStore, database: Any) -> None:
    session, attempt, step = new_session(), new_attempt(), new_step()
    login = new_login(session)
    await store.put_login(login)  # the earlier portal replaces the whole document
    for name, fields, entry in (
        ("sessions", earlier.SESSION, session),
        ("attempts", earlier.ATTEMPT, attempt),
        ("logouts", earlier.STEP, step),
        ("logins", earlier.LOGIN, login),
    ):
        expires_at = getattr(entry, "expires_at", session.idle_expires_at)
        document = earlier.written(fields, earlier.values(entry), key=entry.id, expires_at=expires_at)
        database[name].replace_one({"_id": entry.id}, document, upsert=True)
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})
    assert await store.take_attempt(attempt.id, **key_of(attempt)) == attempt
    assert await store.take_logout_step(step.id, **key_of(step)) == step
    assert await store.swap_login(replace(login, version=login.version + 1), expected_version=login.version)
    assert await store.delete_logins_by_sid(login.issuer, login.sid or "", **provider_of(login))


class _OldLease(TypedDict):
    owner: str
    now: float
    until: float


@pytest.mark.gen_test
async def test_each_version_respects_the_leases_of_the_other(store: MongoStore, database: Any) -> None:
    login = new_login()
    await store.put_login(login)
    old = _OldLease(owner="old", now=store.time(), until=store.time() + 20)
    assert earlier.acquire_lease(database.logins, login.id, **old)
    assert await store.acquire_lease(login.id, owner="new", seconds=20) is None
    old = _OldLease(owner="old", now=store.time(), until=store.time() - 1)
    assert earlier.acquire_lease(database.logins, login.id, **old)
    assert await store.acquire_lease(login.id, owner="new", seconds=20) is not None
    old = _OldLease(owner="old", now=store.time(), until=store.time() + 20)
    assert earlier.acquire_lease(database.logins, login.id, **old) is None
    assert await store.extend_lease(login.id, owner="new", seconds=60)
    old = _OldLease(owner="old", now=store.time() + 40, until=store.time() + 80)
    assert earlier.acquire_lease(database.logins, login.id, **old) is None
    await store.release_lease(login.id, owner="new")
    assert earlier.acquire_lease(database.logins, login.id, **old)


@pytest.mark.gen_test
async def test_an_entry_of_the_next_portal_is_read_and_one_of_a_later_portal_is_missing(
    store: MongoStore, database: Any
) -> None:
    logins = [new_login(tenant=f"t{number}", expires_at=at(3600)) for number in range(3)]
    sessions = [new_session() for _ in range(2)]
    for session in sessions:
        await store.add_session(session)
    for login in logins:
        await store.put_login(login)
    database.logins.update_one({"_id": logins[0].id}, {"$set": {"v": VERSION + 2}})
    database.sessions.update_one({"_id": sessions[0].id}, {"$set": {"v": VERSION + 2}})
    database.logins.update_one({"_id": logins[1].id}, {"$set": {"v": VERSION + 1, "new": "field"}})
    found = await store.read([each.id for each in sessions], [login.id for login in logins], now=NOW)
    assert found == ({sessions[1].id: sessions[1]}, {login.id: login for login in logins[1:]})
    await store.put_login(logins[0])
    assert (await store.read((), [logins[0].id], now=NOW))[1] == {logins[0].id: logins[0]}


@pytest.mark.gen_test
async def test_a_database_records_its_format(store: MongoStore) -> None:
    assert await store.get_meta(FORMAT) == str(VERSION)


@pytest.mark.parametrize("found", [None, VERSION - 1, VERSION, VERSION + 1])
@pytest.mark.gen_test
async def test_a_database_of_the_format_before_and_after_is_used(
    store: MongoStore, database: Any, found: int | None
) -> None:
    """The highest format stays recorded: a portal two formats behind must not use it."""
    await store.close()
    database.meta.delete_one({"_id": FORMAT})
    if found is not None:
        database.meta.insert_one({"_id": FORMAT, "value": str(found)})
    await store.open()
    assert await store.get_meta(FORMAT) == str(max(found or 0, VERSION))


@pytest.mark.parametrize(
    ("found", "sentence", "remedy"),
    [
        (VERSION + 2, "made by a newer portal: it has format 4", "Start a portal of format 4 or 3"),
        (VERSION - 2, "made by an older portal: it has format 0", "Start a portal of format 1 first"),
        ("x", "cannot be read", "Restore it from a backup"),
    ],
)
@pytest.mark.gen_test
async def test_a_database_of_another_format_is_refused_and_not_changed(
    url: str, database: Any, found: object, sentence: str, remedy: str
) -> None:
    database.meta.insert_one({"_id": FORMAT, "value": str(found)})
    with pytest.raises(StartupError, match=sentence) as caught:
        await MongoStore(url).open()
    assert remedy in caught.value.remedy
    assert list(database.meta.find()) == [{"_id": FORMAT, "value": str(found)}]
    assert database.list_collection_names() == ["meta"]
    assert set(database.meta.index_information()) == {"_id_"}


def test_the_format_of_the_database_is_that_of_its_documents() -> None:
    """Who changes the version of the documents of tenants increases VERSION of `documents` too."""
    assert (VERSION, TENANT_VERSION) == (2, 1)


@pytest.mark.gen_test
async def test_all_of_a_database_that_the_version_before_wrote_can_be_read(url: str, database: Any) -> None:
    """files/mongodb-2.json was written by the last version whose databases have no format."""
    text = (Path(__file__).parent / "files" / "mongodb-2.json").read_text(encoding="utf-8")
    for name, documents in json_util.loads(text).items():
        database[name].insert_many(documents)
    for entry in (SESSION, LOGIN, ATTEMPT, STEP):
        assert entry.id in text
    inspection = MongoInspection(url)
    await inspection.open()
    found = [entry async for page in inspection.pages() for entry in page]
    await inspection.close()
    assert [entry for entry in found if entry.problem] == []
    kinds = {type(entry.entry).__name__ for entry in found if entry.entry is not None}
    assert kinds >= {each.__name__ for each in (Session, Login, LoginAttempt, LogoutStep)}
    assert kinds >= {"TenantRecord", "Revision", "Draft", "SetupLink", "DomainClaim", "Event"}
    store = MongoStore(url)
    await store.open()
    assert (await store.read([SESSION.id], [], now=THEN))[0] == {SESSION.id: SESSION}
    assert [tenant.slug for tenant in await store.tenants.list_tenants()] == ["initech"]
    assert len(await store.tenants.list_events()) == 5
    assert await store.get_meta(FORMAT) == str(VERSION)
    await store.close()
