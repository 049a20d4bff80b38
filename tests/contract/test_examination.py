"""`portal doctor` reads the state of a database, and neither changes nor creates anything."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from portal.cli.doctor.database import database_facts, stored_contents
from portal.clock import now
from portal.config.settings import Settings
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import KEY_RING, adopt_key_ring
from portal.stores.by_url import examination_for, sqlite_path
from portal.stores.examination import DatabaseFacts, StoredContents
from portal.stores.tenant_store import Database
from tests.contract.entries import new_claim, new_event, new_login, new_revision, new_session, new_tenant
from tests.mongodb import fresh_database


async def facts_of(url: str) -> DatabaseFacts:
    return await examination_for(url, key_ring=KEY_RING).facts()


def drop_index(url: str) -> str:
    """Drop an index; return its name in the report."""
    path = sqlite_path(url)
    if path is not None:
        with sqlite3.connect(path) as database:
            database.execute("DROP INDEX logins_session")
        database.close()
        return "logins_session"
    with MongoClient[Any](url) as client:
        client.get_default_database()["logins"].drop_index("session_1")
    return "logins (session)"


@pytest.mark.gen_test
async def test_a_database_without_a_problem_has_none(
    store: Database, database_url: str, tmp_path: Path
) -> None:
    ring = KeyRing.create(tmp_path / "keys.json")
    await adopt_key_ring(store, ring)
    found = await facts_of(database_url)
    assert (found.supported, found.missing_indexes, found.weak_indexes) == (True, (), ())
    assert (found.format, found.lasting_writes) == (found.known_format, True)
    assert found.key_ring is not None
    assert ring.newest.kid in found.key_ring
    if sqlite_path(database_url) is None:
        assert "majority" in found.write_concern
        assert found.clock_ahead is not None
        assert abs(found.clock_ahead) < 5


@pytest.mark.gen_test
async def test_a_missing_index_is_named(store: Database, database_url: str) -> None:
    name = drop_index(database_url)
    assert (await facts_of(database_url)).missing_indexes == (name,)


@pytest.mark.gen_test
async def test_nothing_is_created_in_an_empty_database(database_url: str) -> None:
    assert (await facts_of(database_url)).format is None
    path = sqlite_path(database_url)
    if path is not None:
        assert not path.parent.exists()
        return
    with MongoClient[Any](database_url) as client:
        assert client.get_default_database().list_collection_names() == []


@pytest.mark.gen_test
async def test_an_index_that_deletes_nothing_and_writes_that_do_not_last_are_named(
    mongodb_server: str,
) -> None:
    with fresh_database(mongodb_server) as url:
        with MongoClient[Any](url) as client:
            database = client.get_default_database()
            database["attempts"].create_index([("expires_at", 1)])
            database["sessions"].create_index([("secret_hash", 1)])
            database["meta"].insert_one({"_id": "format", "value": "2"})
        mark = "&" if "?" in url else "?"
        found = await facts_of(f"{url}{mark}w=1")
    assert set(found.weak_indexes) == {
        "attempts (expires_at): expireAfterSeconds",
        "sessions (secret_hash): unique",
    }
    assert "logins (session)" in found.missing_indexes
    assert (found.lasting_writes, found.write_concern) == (False, "w: 1")


@pytest.mark.gen_test
async def test_the_difference_of_the_clocks_is_measured(mongodb_server: str) -> None:
    with fresh_database(mongodb_server) as url:
        found = await examination_for(url, key_ring=KEY_RING, clock=lambda: now() + 100).facts()
    assert found.clock_ahead == pytest.approx(100, abs=10)


@pytest.mark.gen_test
async def test_a_server_that_does_not_respond_is_a_problem_without_the_password() -> None:
    settings = Settings(database="mongodb://portal:hunter2@127.0.0.1:1/portal?serverSelectionTimeoutMS=200")
    found = await database_facts(settings)
    assert isinstance(found, list)
    assert [one.status for one in found] == ["fail"]
    assert "hunter2" not in repr(found)


@pytest.mark.gen_test
async def test_the_live_revisions_of_tenants_are_read_and_not_the_logins(
    store: Database, database_url: str
) -> None:
    tenants = store.tenants
    await tenants.add_tenant(new_tenant(), event=new_event())
    for number in (1, 2):
        await tenants.publish(
            new_revision(number), replaces=number - 1, draft=None, event=new_event("p", number)
        )
    await tenants.add_tenant(new_tenant("hooli"), event=new_event("other", 3))
    claim = new_claim()
    await tenants.add_domain(claim, event=new_event("claim", 4))
    session = new_session()
    await store.add_session(session, login=new_login(session))
    found = await stored_contents(Settings(database=database_url))
    assert isinstance(found, StoredContents)
    assert found.tenants.keys() == {"hooli", "initech"}
    assert found.live == {"initech": new_revision(2)}
    assert found.domains == [claim]
