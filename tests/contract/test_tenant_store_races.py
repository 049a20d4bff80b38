"""Of several concurrent changes of one tenant, exactly one succeeds, and exactly its event is stored."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from portal.stores.tenant_records import Event
from portal.stores.tenant_store import Database, TenantStore
from tests.contract.entries import (
    at,
    new_claim,
    new_draft,
    new_event,
    new_link,
    new_revision,
    new_tenant,
)
from tests.contract.processes import other_process

CONTENDERS = 20

Attempt = Callable[[TenantStore, int, Event], Awaitable[bool]]


async def winner(tenants: TenantStore, second: TenantStore, attempt: Attempt) -> int:
    """Run the attempts at once, in two processes' stores; return the number of the one that succeeded.

    Its event, and no other of them, is stored once.
    """
    events = [new_event(f"attempt-{number}", number) for number in range(CONTENDERS)]
    results = await asyncio.gather(
        *(attempt((tenants, second)[number % 2], number, event) for number, event in enumerate(events))
    )
    assert sum(results) == 1
    stored = Counter(event.id for event in await second.list_events(most=1000))
    won = results.index(True)
    assert [stored[event.id] for event in events] == [number == won for number in range(CONTENDERS)]
    return won


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_adds_a_tenant(tenants: TenantStore, second_tenants: TenantStore) -> None:
    won = await winner(
        tenants,
        second_tenants,
        lambda store, number, event: store.add_tenant(new_tenant(created_at=at(number)), event=event),
    )
    assert await tenants.get_tenant("initech") == new_tenant(created_at=at(won))


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_publishes_and_nothing_of_the_others_is_stored(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    await tenants.add_tenant(new_tenant(), event=new_event())
    for live in range(3):

        def attempt(store: TenantStore, number: int, event: Event, live: int = live) -> Awaitable[bool]:
            revision = new_revision(live + 1, content=f"by {number}")
            return store.publish(revision, replaces=live, draft=None, event=event)

        won = await winner(tenants, second_tenants, attempt)
        (newest, *_) = listed = await second_tenants.list_revisions("initech", before=None, most=100)
        assert newest == new_revision(live + 1, content=f"by {won}")
        assert len(listed) == live + 1
        assert await second_tenants.read_revisions([("initech", live + 1)]) == [newest]


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_changes_a_draft(tenants: TenantStore, second_tenants: TenantStore) -> None:
    await tenants.add_tenant(new_tenant(), event=new_event())

    def begin(store: TenantStore, number: int, event: Event) -> Awaitable[bool]:
        return store.put_draft(new_draft(100 + number), replaces=None, event=event)

    begun = await winner(tenants, second_tenants, begin)

    def change(store: TenantStore, number: int, event: Event) -> Awaitable[bool]:
        return store.put_draft(new_draft(200 + number), replaces=100 + begun, event=event)

    changed = await winner(tenants, second_tenants, change)
    assert await tenants.get_draft("initech") == new_draft(200 + changed)


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_browsers_is_bound_to_a_setup_link(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    await tenants.add_tenant(new_tenant(), event=new_event())
    link, other = new_link(), new_link()
    for each in (other, link):
        await tenants.add_setup_link(each, event=new_event())

    def bind(store: TenantStore, number: int, event: Event) -> Awaitable[bool]:
        return store.bind_setup_link(link.token_hash, browser_hash=f"b{number}", now=at(1), event=event)

    won = await winner(tenants, second_tenants, bind)
    found = await second_tenants.find_setup_link(link.token_hash)
    assert found is not None
    assert found.browser_hash == f"b{won}"
    assert await second_tenants.find_setup_link(other.token_hash) == other


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_tenants_gets_a_domain(tenants: TenantStore, second_tenants: TenantStore) -> None:
    for number in range(CONTENDERS):
        await tenants.add_tenant(new_tenant(f"t{number}"), event=new_event())

    def claim(store: TenantStore, number: int, event: Event) -> Awaitable[bool]:
        return store.add_domain(new_claim("shared.example", f"t{number}"), event=event)

    won = await winner(tenants, second_tenants, claim)
    (stored,) = await tenants.list_domains()
    assert stored.tenant == f"t{won}"


@pytest.mark.gen_test(timeout=60)
async def test_one_of_many_removes_a_tenant_and_no_late_change_stays(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    """Changes of the tenant that run at the same time come before its removal, or fail."""
    for round_number in range(4):
        slug = f"t{round_number}"
        await tenants.add_tenant(new_tenant(slug), event=new_event())
        domains = [new_claim(f"{number}.example", slug) for number in range(10)]
        revision = new_revision(1, slug)
        removals = [store.remove_tenant(slug, event=new_event()) for store in (tenants, second_tenants)]
        await asyncio.gather(
            *(second_tenants.add_domain(claim, event=new_event()) for claim in domains[:5]),
            tenants.put_draft(new_draft(1, slug), replaces=None, event=new_event()),
            *removals,
            *(tenants.add_domain(claim, event=new_event()) for claim in domains[5:]),
            second_tenants.publish(revision, replaces=0, draft=None, event=new_event()),
        )
        assert await tenants.list_domains() == []
        assert await tenants.read_revisions([(slug, 1)]) == []
        assert await tenants.add_tenant(new_tenant(slug), event=new_event())
        assert await tenants.get_draft(slug) is None
        assert await tenants.list_revisions(slug, before=None, most=9) == []
        assert await tenants.list_domains(slug) == []
        await tenants.remove_tenant(slug, event=new_event())


@pytest.mark.gen_test(timeout=60)
async def test_two_changes_of_the_status_do_not_undo_each_other(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    await tenants.add_tenant(new_tenant(), event=new_event())

    def suspend(store: TenantStore, number: int, event: Event) -> Awaitable[bool]:
        return store.set_status("initech", f"s{number}", expected="live", at=at(number), event=event)

    won = await winner(tenants, second_tenants, suspend)
    assert await tenants.get_tenant("initech") == new_tenant(status=f"s{won}", changed_at=at(won))


@pytest.mark.gen_test(timeout=60)
async def test_published_revisions_of_a_killed_process_are_stored_with_their_events(
    tenants: TenantStore, store: Database, database_url: str
) -> None:
    """THREATS S10."""
    async with other_process("publish", database_url) as publisher:
        assert publisher.stdout is not None
        while int(await publisher.stdout.readline()) < 30:
            pass
        publisher.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in (await publisher.stdout.read()).split(b"\n")[:-1]]
    await store.maintain()
    found = await tenants.get_tenant("initech")
    assert found is not None
    assert found.live >= max(acknowledged, default=30)
    revisions = await tenants.list_revisions("initech", before=None, most=1000)
    assert [each.number for each in revisions] == list(range(found.live, 0, -1))
    assert all(each.content == str(each.number) * 1000 for each in revisions)
    events = [each.target for each in await tenants.list_events(most=1000)]
    expected = ["revision 1", *(f"revision {each.number}" for each in revisions)]
    assert sorted(events) == sorted(expected), "those of the tenant itself name revision 1 as well"
    following = new_revision(found.live + 1)
    assert await tenants.publish(following, replaces=found.live, draft=None, event=new_event())


@pytest.mark.gen_test(timeout=60)
async def test_every_one_of_many_changes_is_counted(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    stores = (tenants, second_tenants)
    await asyncio.gather(
        *(stores[n % 2].add_tenant(new_tenant(f"t{n}"), event=new_event()) for n in range(CONTENDERS))
    )
    assert await tenants.tenants_version() >= CONTENDERS
    assert len(await tenants.list_events(most=1000)) == CONTENDERS
