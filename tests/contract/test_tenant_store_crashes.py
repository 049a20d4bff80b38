"""MongoDB: a process that ends between two steps of a change leaves the change and its event, or neither."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog
from pymongo import MongoClient
from tornado.ioloop import IOLoop

from portal.errors import StoreUnavailable
from portal.stores.mongo.store import MongoStore
from portal.stores.mongo.tenants import MongoTenants
from portal.stores.tenant_records import Event
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
from tests.contract.patience import patient_url
from tests.mongodb import fresh_database

Change = Callable[[TenantStore, Event], Awaitable[bool]]
Effect = Callable[[TenantStore], Awaitable[bool]]

LINK = new_link()


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as made:
        yield patient_url(made)


@pytest.fixture
def failing(io_loop: IOLoop, url: str) -> Iterator[MongoStore]:
    """The store of the process that ends."""
    store = MongoStore(url)
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def other(io_loop: IOLoop, url: str, failing: MongoStore) -> Iterator[MongoStore]:
    """The store of another process."""
    store = MongoStore(url)
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)


class Steps:
    """Lets a number of operations of a store succeed; then its process has ended."""

    def __init__(self, store: MongoStore) -> None:
        self._operation = store._connection.operation
        self.left = math.inf
        store._connection.operation = self._counted  # type: ignore[method-assign]

    @contextlib.asynccontextmanager
    async def _counted(self, *, seconds: float | None = None) -> AsyncIterator[None]:
        if self.left < 1:
            raise StoreUnavailable("the process has ended")
        self.left -= 1
        async with self._operation(seconds=seconds):
            yield


async def prepare(tenants: TenantStore) -> None:
    """A tenant with everything that a tenant can have, and another that has nothing."""
    for slug in ("initech", "globex"):
        if await tenants.get_tenant(slug) is not None:
            await tenants.remove_tenant(slug, event=new_event())
        assert await tenants.add_tenant(new_tenant(slug), event=new_event())
    assert await tenants.publish(new_revision(1), replaces=0, draft=None, event=new_event())
    assert await tenants.put_draft(new_draft(1), replaces=None, event=new_event())
    assert await tenants.add_setup_link(LINK, event=new_event())
    assert await tenants.add_domain(new_claim(), event=new_event())
    await tenants.remove_tenant("hooli", event=new_event())


async def _is_listed(tenants: TenantStore, slug: str) -> bool:
    return slug in {tenant.slug for tenant in await tenants.list_tenants()}


async def _add(tenants: TenantStore, event: Event) -> bool:
    return await tenants.add_tenant(new_tenant("hooli"), event=event)


async def _added(tenants: TenantStore) -> bool:
    return await _is_listed(tenants, "hooli")


async def _suspend(tenants: TenantStore, event: Event) -> bool:
    return await tenants.set_status("initech", "suspended", expected="live", at=at(9), event=event)


async def _suspended(tenants: TenantStore) -> bool:
    found = await tenants.get_tenant("initech")
    return found is not None and found.status == "suspended"


async def _publish(tenants: TenantStore, event: Event) -> bool:
    return await tenants.publish(new_revision(2), replaces=1, draft=1, event=event)


async def _published(tenants: TenantStore) -> bool:
    """All signs of it agree."""
    found = await tenants.get_tenant("initech")
    assert found is not None
    read = await tenants.read_revisions([("initech", 2)])
    listed = await tenants.list_revisions("initech", before=None, most=9)
    live = found.live == 2
    assert read == ([new_revision(2)] if live else [])
    assert listed == ([new_revision(2), new_revision(1)] if live else [new_revision(1)])
    assert await tenants.get_draft("initech") == (None if live else new_draft(1))
    return live


async def _change_draft(tenants: TenantStore, event: Event) -> bool:
    return await tenants.put_draft(new_draft(2), replaces=1, event=event)


async def _draft_changed(tenants: TenantStore) -> bool:
    return await tenants.get_draft("initech") == new_draft(2)


async def _drop_draft(tenants: TenantStore, event: Event) -> bool:
    return await tenants.delete_draft("initech", version=1, event=event)


async def _draft_dropped(tenants: TenantStore) -> bool:
    return await tenants.get_draft("initech") is None


async def _bind(tenants: TenantStore, event: Event) -> bool:
    return await tenants.bind_setup_link(LINK.token_hash, browser_hash="b", now=at(1), event=event)


async def _bound(tenants: TenantStore) -> bool:
    found = await tenants.find_setup_link(LINK.token_hash)
    return found is not None and found.browser_hash == "b"


async def _revoke(tenants: TenantStore, event: Event) -> bool:
    return await tenants.revoke_setup_link(LINK.id, tenant="initech", at=at(1), event=event)


async def _revoked(tenants: TenantStore) -> bool:
    found = await tenants.find_setup_link(LINK.token_hash)
    return found is not None and found.revoked_at == at(1)


async def _claim(tenants: TenantStore, event: Event) -> bool:
    return await tenants.add_domain(new_claim("new.example"), event=event)


async def _claimed(tenants: TenantStore) -> bool:
    return "new.example" in {claim.name for claim in await tenants.list_domains("initech")}


async def _prove(tenants: TenantStore, event: Event) -> bool:
    return await tenants.prove_domain(
        "initech.example", tenant="initech", proof="dns", proven_at=at(1), checked_at=at(1), event=event
    )


async def _proven(tenants: TenantStore) -> bool:
    return [claim.proof for claim in await tenants.list_domains() if claim.name == "initech.example"] == [
        "dns"
    ]


async def _release(tenants: TenantStore, event: Event) -> bool:
    return await tenants.delete_domain("initech.example", tenant="initech", event=event)


async def _released(tenants: TenantStore) -> bool:
    """Another tenant can have it exactly then."""
    free = await tenants.add_domain(new_claim("initech.example", "globex"), event=new_event())
    assert [claim.tenant for claim in await tenants.list_domains()] == ["globex" if free else "initech"]
    return free


async def _remove(tenants: TenantStore, event: Event) -> bool:
    return await tenants.remove_tenant("initech", event=event)


async def _removed(tenants: TenantStore) -> bool:
    """The slug can be used again exactly then, with nothing of the earlier tenant."""
    gone = await tenants.add_tenant(new_tenant(), event=new_event())
    left = await tenants.list_revisions("initech", before=None, most=9)
    assert (left == [], await tenants.list_domains() == []) == (gone, gone)
    assert (await tenants.get_draft("initech") is None) == gone
    assert (await tenants.find_setup_link(LINK.token_hash) is None) == gone
    return gone


CHANGES: dict[str, tuple[Change, Effect]] = {
    "add": (_add, _added),
    "suspend": (_suspend, _suspended),
    "publish": (_publish, _published),
    "change a draft": (_change_draft, _draft_changed),
    "drop a draft": (_drop_draft, _draft_dropped),
    "bind": (_bind, _bound),
    "revoke": (_revoke, _revoked),
    "claim": (_claim, _claimed),
    "prove": (_prove, _proven),
    "release": (_release, _released),
    "remove": (_remove, _removed),
}
UNCOUNTED = {"change a draft", "drop a draft", "bind", "revoke"}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.gen_test(timeout=120)
async def test_a_change_and_its_event_are_both_there_or_neither(
    failing: MongoStore, other: MongoStore, url: str, name: str
) -> None:
    change, effect = CHANGES[name]
    steps = Steps(failing)
    outcomes: list[bool] = []
    number = 0
    while not outcomes or steps.left < 1:
        steps.left = math.inf
        await prepare(other.tenants)
        counted = await other.tenants.tenants_version()
        event = new_event("the change", 100 + number)
        steps.left = number
        with structlog.testing.capture_logs() as logs:
            try:
                reported = await change(failing.tenants, event)
            except StoreUnavailable:
                reported = False
        await other.maintain()
        counts = await other.tenants.tenants_version() > counted
        done = await effect(other.tenants)
        stored = [each for each in await other.tenants.list_events(most=1000) if each.id == event.id]
        assert stored == ([event] if done else []), number
        assert counts == (done and name not in UNCOUNTED), number
        assert done or not reported, number
        assert all(line["event"] == "event_delivery_delayed" for line in logs)
        outcomes.append(done)
        number += 1
        with MongoClient[Any](url) as client:
            database = client.get_default_database()
            for collection in ("tenants", "domains"):
                waiting = {"$or": [{"events.0": {"$exists": True}}, {"revisions.0": {"$exists": True}}]}
                assert database[collection].count_documents(waiting) == 0, (collection, number)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)
    assert len(outcomes) >= 3, "it was interrupted before, between and after its steps"


@pytest.mark.gen_test(timeout=60)
async def test_what_a_process_left_is_seen_before_it_is_delivered(
    failing: MongoStore, other: MongoStore
) -> None:
    """A revision is served, and an event listed, also if the process ended right after the change."""
    await prepare(other.tenants)
    steps = Steps(failing)
    steps.left = 1
    event = new_event("published", 50)
    revision = new_revision(2)
    with structlog.testing.capture_logs() as logs:
        assert await failing.tenants.publish(revision, replaces=1, draft=None, event=event)
    assert [line["event"] for line in logs] == ["event_delivery_delayed"]
    assert await other.tenants.read_revisions([("initech", 2), ("initech", 1)]) == [
        new_revision(1),
        revision,
    ]
    assert await other.tenants.list_events(most=1) == [event]
    assert await other.tenants.list_revisions("initech", before=None, most=1) == [revision]


@pytest.mark.gen_test(timeout=60)
async def test_a_tenant_or_domain_is_gone_before_its_removal_is_finished(
    failing: MongoStore, other: MongoStore
) -> None:
    await prepare(other.tenants)
    steps = Steps(failing)
    tenants = other.tenants
    with structlog.testing.capture_logs():
        steps.left = 1
        assert await _release(failing.tenants, new_event())
        assert await tenants.list_domains() == []
        assert not await _prove(tenants, new_event("late"))
        assert not await _release(tenants, new_event("late"))
        steps.left = 1
        assert await _remove(failing.tenants, new_event())
    assert [tenant.slug for tenant in await tenants.list_tenants()] == ["globex"]
    assert await tenants.get_tenant("initech") is None
    assert await tenants.read_revisions([("initech", 1)]) == []
    assert await tenants.list_revisions("initech", before=None, most=9) == []
    assert not await _suspend(tenants, new_event("late"))
    assert not await _claim(tenants, new_event("late"))
    assert not await tenants.put_draft(new_draft(), replaces=None, event=new_event("late"))
    assert not await tenants.add_setup_link(new_link(), event=new_event("late"))
    assert not await _remove(tenants, new_event("late"))
    assert "late" not in {event.kind for event in await tenants.list_events()}


@pytest.mark.gen_test(timeout=60)
async def test_the_next_change_of_a_tenant_delivers_what_was_left(
    failing: MongoStore, other: MongoStore, url: str
) -> None:
    await prepare(other.tenants)
    steps = Steps(failing)
    steps.left = 1
    event = new_event("suspended", 50)
    assert await _suspend(failing.tenants, event)
    await other.tenants.put_draft(new_draft(2), replaces=1, event=new_event())
    with MongoClient[Any](url) as client:
        assert client.get_default_database()["events"].count_documents({"_id": event.id}) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_claim_of_a_tenant_that_ended_halfway_does_not_block_the_name(
    failing: MongoStore, other: MongoStore
) -> None:
    """The tenant was removed between the two steps of the claim, and the process ended."""
    await prepare(other.tenants)
    steps = Steps(failing)
    domains = failing.tenants._domains
    found_tenant = domains._tenant

    async def removed_meanwhile(identity: Any) -> Any:
        found = await found_tenant(identity)
        if steps.left == math.inf:
            await other.tenants.remove_tenant("initech", event=new_event())
            steps.left = 1
        return found

    domains._tenant = removed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await _claim(failing.tenants, new_event())
    assert [claim.name for claim in await other.tenants.list_domains()] == ["new.example"]
    assert await other.tenants.add_domain(new_claim("new.example", "globex"), event=new_event())
    assert [claim.tenant for claim in await other.tenants.list_domains()] == ["globex"]


@pytest.mark.gen_test(timeout=60)
async def test_a_claim_whose_tenant_is_removed_meanwhile_is_withdrawn(
    failing: MongoStore, other: MongoStore
) -> None:
    await prepare(other.tenants)
    tenants: MongoTenants = failing.tenants
    found_tenant = tenants._domains._tenant
    calls: list[object] = []

    async def removed_meanwhile(identity: Any) -> Any:
        found = await found_tenant(identity)
        if not calls:
            await other.tenants.remove_tenant("initech", event=new_event())
        calls.append(identity)
        return found

    tenants._domains._tenant = removed_meanwhile  # type: ignore[method-assign]
    assert not await _claim(tenants, new_event())
    assert await other.tenants.list_domains() == []
