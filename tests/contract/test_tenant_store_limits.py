"""Every operation on tenants fails in time when the database does not respond, and no write is half done."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_store import TenantStore
from tests.contract.entries import (
    at,
    new_claim,
    new_draft,
    new_event,
    new_link,
    new_revision,
    new_tenant,
)
from tests.contract.test_store_limits import BUSY, LONGEST, all_unavailable, locked, opened
from tests.mongodb import MongoTestServer

READS = {
    "tenants_version",
    "list_tenants",
    "get_tenant",
    "read_revisions",
    "list_revisions",
    "get_draft",
    "find_setup_link",
    "list_setup_links",
    "list_domains",
    "list_events",
    "list_user_events",
    "read_events",
    "waiting_events",
    "search_events",
    "list_set_aside",
    "deliver_again",  # writes only if something was set aside
}


def every_operation(tenants: TenantStore) -> dict[str, Awaitable[object]]:
    """Each operation of the protocol; a new one is included, or fails for lack of an example argument."""
    examples: dict[str, object] = {
        "actor": "user",
        "after": "",
        "among": 10,
        "at": at(1),
        "before": None,
        "browser_hash": "b",
        "checked_at": at(1),
        "claim": new_claim(),
        "draft": new_draft(),
        "event": new_event(),
        "events": [new_event()],
        "expected": "live",
        "ids": [new_event().id],
        "keys": [("initech", 1)],
        "kinds": ["signed_in"],
        "link": new_link(),
        "link_id": "l",
        "made_at": at(1),
        "most": 10,
        "name": "initech.example",
        "now": at(1),
        "outcome": "done",
        "proof": "dns",
        "proven_at": at(1),
        "records": [new_event(), new_revision(), new_draft(), new_link()],
        "replaces": 0,
        "revision": new_revision(),
        "since": 0.0,
        "slug": "initech",
        "status": "suspended",
        "subject": "ada",
        "tenant": "initech",
        "users": [("initech", "user")],
        "token_hash": "t",
        "unchanged": new_claim(),
        "unproven": False,
        "version": 1,
    }
    examples_of: dict[str, dict[str, object]] = {
        "add_tenant": {"tenant": new_tenant()},
        "publish": {"draft": 1},
        "purge_events": {"before": at(1)},
        "prove_domain": {"replaces": new_claim()},
        "delete_domain": {"replaces": new_claim()},
    }
    operations: dict[str, Awaitable[object]] = {}
    for name, function in inspect.getmembers(TenantStore, inspect.iscoroutinefunction):
        if name.startswith("_"):
            continue
        given = {**examples, **examples_of.get(name, {})}
        parameters = [each for each in inspect.signature(function).parameters if each != "self"]
        operations[name] = getattr(tenants, name)(**{each: given[each] for each in parameters})
    assert len(operations) == 33
    return operations


@pytest.fixture
def frozen_server(tmp_path: Path) -> Iterator[MongoTestServer]:
    server = MongoTestServer(tmp_path / "mongodb")
    server.start()
    yield server
    server.thaw()
    server.terminate()


@pytest.mark.gen_test(timeout=60)
async def test_every_operation_on_a_mongodb_that_hangs_fails_in_time(frozen_server: MongoTestServer) -> None:
    store = MongoStore(f"{frozen_server.uri}/portal?timeoutMS=3000&serverSelectionTimeoutMS=3000")
    async with opened(store):
        frozen_server.freeze()
        assert await all_unavailable(list(every_operation(store.tenants).values())) < LONGEST
        frozen_server.thaw()


@pytest.mark.gen_test(timeout=60)
async def test_every_change_of_a_locked_file_fails_in_time_and_reads_continue(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db", busy=BUSY)
    async with opened(store):
        with locked(tmp_path / "portal.db"):
            operations = every_operation(store.tenants)
            began = time.monotonic()
            results = await asyncio.gather(*operations.values(), return_exceptions=True)
            assert time.monotonic() - began < LONGEST
        failed = {
            name for name, result in zip(operations, results, strict=True) if isinstance(result, Exception)
        }
        assert all(isinstance(each, StoreUnavailable) for each in results if isinstance(each, Exception))
        assert failed == set(operations) - READS
        assert await store.tenants.list_events() == []


@pytest.mark.gen_test
async def test_a_change_whose_event_cannot_be_stored_is_not_made(tmp_path: Path) -> None:
    """SQLite: both are in one transaction."""
    store = SQLiteStore(tmp_path / "portal.db")
    async with opened(store):
        tenants = store.tenants
        await tenants.add_tenant(new_tenant(), event=new_event())
        await store._file.write(lambda database: database.execute("DROP TABLE events").rowcount)
        changes: tuple[Callable[[], Awaitable[bool]], ...] = (
            lambda: tenants.set_status("initech", "x", expected="live", at=at(1), event=new_event()),
            lambda: tenants.publish(new_revision(), replaces=0, draft=None, event=new_event()),
            lambda: tenants.put_draft(new_draft(), replaces=None, event=new_event()),
            lambda: tenants.add_setup_link(new_link(), event=new_event()),
            lambda: tenants.add_domain(new_claim(), event=new_event()),
            lambda: tenants.remove_tenant("initech", event=new_event()),
        )
        for change in changes:
            with pytest.raises(StoreUnavailable):
                await change()
        assert await tenants.list_tenants() == [new_tenant()]
        assert await tenants.get_draft("initech") is None
        assert await tenants.list_setup_links("initech") == []
        assert await tenants.list_domains() == []
        assert await tenants.read_revisions([("initech", 1)]) == []
        assert await tenants.tenants_version() == 1
