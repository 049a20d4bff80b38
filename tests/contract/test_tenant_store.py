"""The contract of the tenants of a database, one rule per test. `test_tenant_store_*.py` tests the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from portal.admin.actors import Actor, ActorType
from portal.errors import StoreUnavailable
from portal.stores.record_checks import MOST_SETUP_LINKS
from portal.stores.tenant_records import Event, TenantStatus, earliest_event_id, event_id
from portal.stores.tenant_store import Database, TenantStore
from tests.contract.entries import (
    NOW,
    at,
    new_claim,
    new_draft,
    new_event,
    new_link,
    new_revision,
    new_tenant,
)
from tests.kit.failing_store import FailingStore


async def kinds(tenants: TenantStore, tenant: str | None = "initech") -> list[str]:
    """The kinds of the stored events, the oldest first."""
    return [event.kind for event in reversed(await tenants.list_events(tenant=tenant))]


async def with_tenant(tenants: TenantStore, slug: str = "initech") -> None:
    assert await tenants.add_tenant(new_tenant(slug), event=new_event("added", -5, tenant=slug))


async def publish(tenants: TenantStore, number: int, *, draft: int | None = None, event: Event) -> bool:
    return await tenants.publish(new_revision(number), replaces=number - 1, draft=draft, event=event)


# --- tenants


@pytest.mark.gen_test
async def test_a_tenant_is_returned_unchanged_and_stored_once(tenants: TenantStore) -> None:
    assert await tenants.get_tenant("initech") is None
    tenant = new_tenant(status="a status of a later portal", live=7)
    assert await tenants.add_tenant(tenant, event=new_event("added"))
    assert await tenants.get_tenant("initech") == tenant
    assert not await tenants.add_tenant(new_tenant(), event=new_event("refused"))
    assert await tenants.get_tenant("initech") == tenant
    assert await kinds(tenants) == ["added"]


@pytest.mark.gen_test
async def test_tenants_are_listed_by_slug(tenants: TenantStore) -> None:
    assert await tenants.list_tenants() == []
    for slug in ("globex", "acme", "initech", "a-b"):
        await with_tenant(tenants, slug)
    assert await tenants.list_tenants() == [new_tenant(slug) for slug in ("a-b", "acme", "globex", "initech")]


@pytest.mark.gen_test
async def test_a_status_is_set_only_over_the_expected_one(tenants: TenantStore) -> None:
    await with_tenant(tenants)

    async def change(slug: str, status: str, kind: str) -> bool:
        return await tenants.set_status(slug, status, expected="live", at=at(1), event=new_event(kind))

    assert not await change("nobody", "suspended", "no tenant")
    assert await change("initech", "suspended", "suspended")
    assert not await change("initech", "no_new_logins", "late")
    expected = new_tenant(status=TenantStatus.SUSPENDED, changed_at=at(1))
    assert await tenants.get_tenant("initech") == expected
    assert await kinds(tenants) == ["added", "suspended"]


@pytest.mark.gen_test
async def test_a_removed_tenant_leaves_only_its_events(tenants: TenantStore) -> None:
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
        first = new_revision(1, slug)
        assert await tenants.publish(first, replaces=0, draft=None, event=new_event("published", tenant=slug))
        assert await tenants.put_draft(new_draft(1, slug), replaces=None, event=None)
        assert await tenants.add_setup_link(new_link(slug), event=new_event("invited", 1, tenant=slug))
        claim = new_claim(f"{slug}.example", slug)
        assert await tenants.add_domain(claim, event=new_event("claimed", 2, tenant=slug))
    (link,) = await tenants.list_setup_links("initech")
    assert await tenants.remove_tenant("initech", event=new_event("removed", 3))
    assert not await tenants.remove_tenant("initech", event=new_event("again", 4))
    assert await tenants.get_tenant("initech") is None
    assert await tenants.get_draft("initech") is None
    assert await tenants.find_setup_link(link.token_hash) is None
    assert await tenants.list_setup_links("initech") == []
    assert await tenants.list_revisions("initech", before=None, most=10) == []
    assert await tenants.read_revisions([("initech", 1), ("globex", 1)]) == [new_revision(1, "globex")]
    assert [claim.tenant for claim in await tenants.list_domains()] == ["globex"]
    assert [tenant.slug for tenant in await tenants.list_tenants()] == ["globex"]
    assert len(await tenants.list_setup_links("globex")) == 1
    assert await tenants.get_draft("globex") == new_draft(1, "globex")
    assert await kinds(tenants) == ["added", "published", "invited", "claimed", "removed"]


@pytest.mark.gen_test
async def test_a_tenant_that_was_removed_and_made_again_has_nothing_of_the_first(
    tenants: TenantStore,
) -> None:
    await with_tenant(tenants)
    for number in (1, 2, 3):
        assert await publish(tenants, number, event=new_event())
    await tenants.put_draft(new_draft(), replaces=None, event=None)
    claim = new_claim()
    await tenants.add_domain(claim, event=new_event())
    await tenants.remove_tenant("initech", event=new_event())
    await with_tenant(tenants)
    assert await tenants.get_tenant("initech") == new_tenant()
    assert await tenants.get_draft("initech") is None
    assert await tenants.list_domains("initech") == []
    assert await tenants.list_revisions("initech", before=None, most=10) == []
    again = new_revision(1, content="name: Another\n")
    assert await tenants.publish(again, replaces=0, draft=None, event=new_event())
    assert await tenants.list_revisions("initech", before=None, most=10) == [again]
    assert await tenants.read_revisions([("initech", 1), ("initech", 2)]) == [again]
    assert await tenants.add_domain(claim, event=new_event())


@pytest.mark.gen_test
async def test_the_version_changes_with_each_reported_change_of_a_tenant_or_domain(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    seen = [await second_tenants.tenants_version()]
    assert seen == [0]

    async def changes() -> bool:
        seen.append(await second_tenants.tenants_version())
        return seen[-1] > seen[-2]

    await with_tenant(tenants)
    assert await changes()
    await publish(tenants, 1, event=new_event())
    assert await changes()
    await tenants.set_status("initech", "suspended", expected="live", at=NOW, event=new_event())
    assert await changes()
    await tenants.add_domain(new_claim(), event=new_event())
    assert await changes()
    proof = {"tenant": "initech", "proof": "dns", "proven_at": at(1), "checked_at": at(1)}
    await tenants.prove_domain("initech.example", **proof, event=new_event())  # type: ignore[arg-type]
    assert await changes()
    await tenants.put_draft(new_draft(), replaces=None, event=new_event())
    await tenants.add_setup_link(new_link(), event=new_event())
    await tenants.prove_domain("initech.example", **proof, event=None)  # type: ignore[arg-type]
    await tenants.set_status("initech", "suspended", expected="live", at=NOW, event=new_event())
    await tenants.add_events([new_event()])
    assert not await changes()
    await tenants.delete_domain("initech.example", tenant="initech", event=new_event())
    assert await changes()
    await tenants.remove_tenant("initech", event=new_event())
    assert await changes()


# --- revisions


@pytest.mark.gen_test
async def test_a_revision_is_published_over_the_one_it_replaces(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    await with_tenant(tenants)
    assert await publish(tenants, 1, event=new_event("first"))
    assert await publish(tenants, 2, event=new_event("second", 1))
    stale = new_revision(3, content="lost")
    assert not await tenants.publish(stale, replaces=1, draft=None, event=new_event("stale", 2))
    nobody = new_revision(1, "nobody")
    assert not await tenants.publish(nobody, replaces=0, draft=None, event=new_event("nobody", 3))
    found = await second_tenants.get_tenant("initech")
    assert found == new_tenant(live=2, changed_at=new_revision(2).published_at)
    keys = [("initech", 3), ("initech", 2), ("nobody", 1), ("initech", 1), ("initech", 2)]
    assert await second_tenants.read_revisions(keys) == [new_revision(1), new_revision(2)]
    assert await second_tenants.read_revisions([]) == []
    assert await kinds(tenants, None) == ["added", "first", "second"]


@pytest.mark.gen_test
async def test_revisions_are_listed_newest_first_in_pages(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    for number in range(1, 12):
        assert await publish(tenants, number, event=new_event())
    first = await tenants.list_revisions("initech", before=None, most=4)
    assert [each.number for each in first] == [11, 10, 9, 8]
    assert first[0] == new_revision(11)
    after = await tenants.list_revisions("initech", before=8, most=4)
    assert [each.number for each in after] == [7, 6, 5, 4]
    assert [each.number for each in await tenants.list_revisions("initech", before=3, most=9)] == [2, 1]
    assert await tenants.list_revisions("initech", before=1, most=4) == []
    assert await tenants.list_revisions("initech", before=None, most=0) == []
    assert await tenants.list_revisions("globex", before=None, most=4) == []


@pytest.mark.gen_test
async def test_the_latest_revisions_of_a_tenant_stay_stored(
    tenants: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("portal.stores.sqlite.tenants", "portal.stores.mongo.outbox"):
        monkeypatch.setattr(f"{module}.MOST_REVISIONS", 3)
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
    other = new_revision(1, "globex")
    assert await tenants.publish(other, replaces=0, draft=None, event=new_event(tenant="globex"))
    for number in range(1, 6):
        assert await publish(tenants, number, event=new_event())
    found = await tenants.list_revisions("initech", before=None, most=10)
    assert [each.number for each in found] == [5, 4, 3]
    keys = [("initech", number) for number in range(1, 6)]
    assert [each.number for each in await tenants.read_revisions(keys)] == [3, 4, 5]
    assert await tenants.list_revisions("globex", before=None, most=10) == [other]


@pytest.mark.gen_test
async def test_more_revisions_than_one_query_reads_are_returned_in_order(tenants: TenantStore) -> None:
    slugs = [f"t{number:03}" for number in range(130)]
    for slug in slugs:
        await with_tenant(tenants, slug)
        large = new_revision(1, slug, content="x" * 60_000)
        assert await tenants.publish(large, replaces=0, draft=None, event=new_event(tenant=slug))
    found = await tenants.read_revisions([(slug, 1) for slug in reversed(slugs)])
    assert [(each.tenant, len(each.content)) for each in found] == [(slug, 60_000) for slug in slugs]


@pytest.mark.gen_test
async def test_publishing_deletes_the_draft_that_was_published_and_no_other(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    await tenants.put_draft(new_draft(5), replaces=None, event=None)
    assert await publish(tenants, 1, draft=5, event=new_event())
    assert await tenants.get_draft("initech") is None
    await tenants.put_draft(new_draft(6), replaces=None, event=None)
    assert await publish(tenants, 2, draft=5, event=new_event())
    assert await publish(tenants, 3, event=new_event())
    stale = new_revision(4)
    assert not await tenants.publish(stale, replaces=1, draft=6, event=new_event())
    assert await tenants.get_draft("initech") == new_draft(6)


# --- drafts


@pytest.mark.gen_test
async def test_a_draft_is_changed_only_over_the_version_that_was_read(tenants: TenantStore) -> None:
    assert not await tenants.put_draft(new_draft(), replaces=None, event=new_event("no tenant"))
    await with_tenant(tenants)
    assert await tenants.get_draft("initech") is None
    assert not await tenants.put_draft(new_draft(2), replaces=1, event=new_event("none yet"))
    assert await tenants.put_draft(new_draft(1), replaces=None, event=new_event("begun", 1))
    assert not await tenants.put_draft(new_draft(9), replaces=None, event=new_event("second beginning"))
    assert await tenants.put_draft(new_draft(2), replaces=1, event=new_event("changed", 2))
    assert not await tenants.put_draft(new_draft(3), replaces=1, event=new_event("late"))
    tested = new_draft(2, test='{"version":2}')
    assert await tenants.put_draft(tested, replaces=2, event=None)
    assert await tenants.get_draft("initech") == tested
    assert not await tenants.delete_draft("initech", version=1, event=new_event("late"))
    assert not await tenants.delete_draft("globex", version=2, event=new_event("nobody"))
    assert await tenants.delete_draft("initech", version=2, event=new_event("dropped", 3))
    assert not await tenants.delete_draft("initech", version=2, event=new_event("again"))
    assert await tenants.get_draft("initech") is None
    assert await kinds(tenants) == ["added", "begun", "changed", "dropped"]


# --- setup links


@pytest.mark.gen_test
async def test_a_setup_link_is_found_by_the_hash_of_its_token(tenants: TenantStore) -> None:
    link, expired = new_link(), new_link(expires_at=at(-1), created_at=at(-9), revoked_at=at(-2))
    assert not await tenants.add_setup_link(link, event=new_event("no tenant"))
    await with_tenant(tenants)
    await with_tenant(tenants, "globex")
    assert await tenants.add_setup_link(expired, event=new_event("first"))
    assert await tenants.add_setup_link(link, event=new_event("second", 1))
    assert not await tenants.add_setup_link(replace(link, name="x"), event=new_event("again", 2))
    other = new_link("globex")
    assert await tenants.add_setup_link(other, event=new_event(tenant="globex"))
    assert await tenants.find_setup_link(link.token_hash) == link
    assert await tenants.find_setup_link(expired.token_hash) == expired
    assert await tenants.find_setup_link("0" * 64) is None
    assert await tenants.list_setup_links("initech") == [link, expired]
    assert await tenants.list_setup_links("globex") == [other]
    assert await tenants.list_setup_links("nobody") == []
    assert await kinds(tenants) == ["added", "first", "second"]


@pytest.mark.gen_test
async def test_a_setup_link_is_bound_once_while_it_is_live(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    link, expired, revoked = new_link(), new_link(expires_at=at(10)), new_link(revoked_at=at(1))
    for each in (expired, revoked, link):
        await tenants.add_setup_link(each, event=new_event("invited"))

    async def bind(token_hash: str, browser: str, kind: str) -> bool:
        event = new_event(kind, 10)
        return await tenants.bind_setup_link(token_hash, browser_hash=browser, now=at(10), event=event)

    assert not await bind(expired.token_hash, "b" * 64, "expired")
    assert not await bind(revoked.token_hash, "b" * 64, "revoked")
    assert not await bind("0" * 64, "b" * 64, "guessed")
    assert await bind(link.token_hash, "b" * 64, "bound")
    assert not await bind(link.token_hash, "c" * 64, "another browser")
    bound = replace(link, browser_hash="b" * 64)
    assert await tenants.find_setup_link(link.token_hash) == bound
    assert {each.browser_hash for each in await tenants.list_setup_links("initech")} == {"", "b" * 64}
    assert await kinds(tenants) == ["added", *["invited"] * 3, "bound"]


@pytest.mark.gen_test(timeout=120)
async def test_the_oldest_setup_link_of_too_many_is_deleted(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    await with_tenant(tenants, "globex")
    elsewhere = new_link("globex", created_at=at(-1000))
    assert await tenants.add_setup_link(elsewhere, event=new_event("invited", tenant="globex"))
    links = [new_link(created_at=at(number)) for number in range(MOST_SETUP_LINKS + 2)]
    for link in links:
        assert await tenants.add_setup_link(link, event=new_event("invited"))
    assert await tenants.list_setup_links("initech") == links[:1:-1]
    for gone in links[:2]:
        assert await tenants.find_setup_link(gone.token_hash) is None
        bound = await tenants.bind_setup_link(
            gone.token_hash, browser_hash="b", now=at(1), event=new_event("opened")
        )
        assert not bound
    assert await tenants.find_setup_link(elsewhere.token_hash) == elsewhere
    assert await tenants.bind_setup_link(
        links[2].token_hash, browser_hash="b", now=at(1), event=new_event("opened")
    )


@pytest.mark.gen_test
async def test_a_setup_link_is_revoked_once_and_only_by_its_tenant(tenants: TenantStore) -> None:
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
    link, other = new_link(), new_link()
    for each in (link, other):
        await tenants.add_setup_link(each, event=new_event("invited"))

    async def revoke(tenant: str, link_id: str, kind: str) -> bool:
        event = new_event(kind, 1)
        return await tenants.revoke_setup_link(link_id, tenant=tenant, at=at(3), event=event)

    assert not await revoke("globex", link.id, "of another tenant")
    assert not await revoke("initech", "nothing", "unknown")
    assert await revoke("initech", link.id, "revoked")
    assert not await revoke("initech", link.id, "again")
    assert await tenants.find_setup_link(link.token_hash) == replace(link, revoked_at=at(3))
    assert await tenants.find_setup_link(other.token_hash) == other
    bound = await tenants.bind_setup_link(
        link.token_hash, browser_hash="b", now=at(4), event=new_event("late")
    )
    assert not bound
    assert await kinds(tenants) == ["added", "invited", "invited", "revoked"]


# --- domains


@pytest.mark.gen_test
async def test_two_tenants_never_have_the_same_domain(tenants: TenantStore) -> None:
    claim = new_claim()
    assert not await tenants.add_domain(claim, event=new_event("no tenant"))
    assert await tenants.list_domains() == []
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
    assert await tenants.add_domain(claim, event=new_event("claimed"))
    stolen = new_claim(claim.name, "globex", kind="hosts")
    assert not await tenants.add_domain(stolen, event=new_event("stolen", 1, tenant="globex"))
    other, first = new_claim("globex.example", "globex"), new_claim("a.example")
    assert await tenants.add_domain(other, event=new_event("claimed", 1, tenant="globex"))
    assert await tenants.add_domain(first, event=new_event("claimed", 2))
    assert await tenants.list_domains("initech") == [first, claim]
    assert await tenants.list_domains("globex") == [other]
    assert await tenants.list_domains() == [first, other, claim]
    assert not await tenants.delete_domain(claim.name, tenant="globex", event=new_event("not theirs"))
    assert await tenants.delete_domain(claim.name, tenant="initech", event=new_event("released", 3))
    assert not await tenants.delete_domain(claim.name, tenant="initech", event=new_event("again"))
    assert await tenants.add_domain(stolen, event=new_event("claimed", 4, tenant="globex"))
    assert await tenants.list_domains("globex") == [other, stolen]
    assert await kinds(tenants) == ["added", "claimed", "claimed", "released"]
    assert await kinds(tenants, "globex") == ["added", "claimed", "claimed"]


@pytest.mark.gen_test
async def test_a_proof_is_set_lost_and_checked_again(tenants: TenantStore) -> None:
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
    claim = new_claim()
    await tenants.add_domain(claim, event=new_event("claimed"))

    async def prove(tenant: str, proven: float, checked: float, event: Event | None) -> bool:
        return await tenants.prove_domain(
            claim.name, tenant=tenant, proof="dns", proven_at=proven, checked_at=checked, event=event
        )

    assert not await prove("globex", at(1), at(1), new_event("not theirs"))
    assert await prove("initech", at(2), at(2), new_event("proven", 2))
    assert await prove("initech", at(2), at(3), None)
    assert await tenants.list_domains() == [replace(claim, proof="dns", proven_at=at(2), checked_at=at(3))]
    assert await prove("initech", 0.0, at(4), new_event("lost", 4))
    lost = replace(claim, proof="dns", proven_at=0.0, checked_at=at(4))
    assert await tenants.list_domains() == [lost]
    assert await prove("initech", at(2), at(5), None), (
        "a check that read the domain before its proof was lost"
    )
    assert await tenants.list_domains() == [replace(lost, checked_at=at(5))]
    assert await kinds(tenants) == ["added", "claimed", "proven", "lost"]


@pytest.mark.parametrize("changed", ["proof", "proven_at", "checked_at", "released", "of another"])
@pytest.mark.gen_test
async def test_a_claim_that_changed_since_it_was_read_stays(tenants: TenantStore, changed: str) -> None:
    for slug in ("initech", "globex"):
        await with_tenant(tenants, slug)
    await tenants.add_domain(new_claim(), event=new_event("claimed"))
    [read] = await tenants.list_domains()
    name, by, again = read.name, read.tenant, new_event("again", 9)
    proof = {"tenant": by, "proof": read.proof, "proven_at": read.proven_at, "checked_at": read.checked_at}
    if changed == "released":
        assert await tenants.delete_domain(name, tenant=by, event=new_event("released"))
        await tenants.add_domain(replace(read, created_at=at(3)), event=new_event("claimed"))
    elif changed != "of another":
        new = {"proof": "operator", "proven_at": at(1), "checked_at": at(2)}[changed]
        assert await tenants.prove_domain(name, **{**proof, changed: new}, event=new_event("changed"))  # type: ignore[arg-type]
    else:
        by = "globex"
    [before], kinds_before = await tenants.list_domains(), await kinds(tenants)
    for event in (again, None):
        lost = {"tenant": by, "proof": "", "proven_at": 0.0, "checked_at": at(5)}
        assert not await tenants.prove_domain(name, **lost, event=event, unchanged=read)  # type: ignore[arg-type]
    for unproven in (False, True):
        assert not await tenants.delete_domain(
            name, tenant=by, event=again, unproven=unproven, unchanged=read
        )
    assert await tenants.list_domains() == [before]
    assert await kinds(tenants) == kinds_before


@pytest.mark.gen_test
async def test_a_claim_that_is_as_it_was_read_can_be_changed_and_deleted(tenants: TenantStore) -> None:
    await with_tenant(tenants, "initech")
    await tenants.add_domain(new_claim(), event=new_event("claimed"))
    for proof, event in (("dns", new_event("proven", 1)), ("", new_event("lost", 2)), ("", None)):
        [read] = await tenants.list_domains()
        assert await tenants.prove_domain(
            read.name,
            tenant=read.tenant,
            proof=proof,
            proven_at=at(1.123) if proof else 0.0,
            checked_at=at(2.345),
            event=event,
            unchanged=read,
        )
    [read] = await tenants.list_domains()
    assert (read.proof, read.checked_at) == ("", at(2.345))
    for event in (new_event("released", 3), new_event("again", 4)):
        done = await tenants.delete_domain(read.name, tenant=read.tenant, event=event, unchanged=read)
        assert done == (event.kind == "released")
    assert await kinds(tenants) == ["added", "claimed", "proven", "lost", "released"]


@pytest.mark.gen_test
async def test_a_claim_that_does_not_count_can_be_deleted_for_another_tenant(tenants: TenantStore) -> None:
    await with_tenant(tenants, "initech")
    claim = new_claim()
    await tenants.add_domain(claim, event=new_event("claimed"))
    name, tenant = claim.name, claim.tenant
    proof = {"tenant": tenant, "proof": "dns", "checked_at": at(2)}
    assert await tenants.prove_domain(name, **proof, proven_at=at(2), event=new_event("proven", 2))  # type: ignore[arg-type]
    assert not await tenants.delete_domain(name, tenant=tenant, event=new_event("taken", 3), unproven=True)
    assert len(await tenants.list_domains()) == 1
    assert await tenants.prove_domain(name, **proof, proven_at=0.0, event=new_event("lost", 4))  # type: ignore[arg-type]
    assert await tenants.delete_domain(name, tenant=tenant, event=new_event("taken", 5), unproven=True)
    assert await tenants.list_domains() == []
    assert await kinds(tenants) == ["added", "claimed", "proven", "lost", "taken"]


# --- events


@pytest.mark.gen_test
async def test_events_are_returned_unchanged_newest_first_in_pages(tenants: TenantStore) -> None:
    stored = [
        new_event(f"kind-{number}", number, tenant=("initech", "globex", "")[number % 3])
        for number in range(30)
    ]
    await tenants.add_events(stored[:20])
    await tenants.add_events([*stored[10:], stored[29]])
    await tenants.add_events([])
    newest = stored[::-1]
    assert await tenants.list_events() == newest
    assert await tenants.list_events(most=4) == newest[:4]
    assert await tenants.list_events(most=0) == []
    assert await tenants.list_events(before=newest[3].id, most=4) == newest[4:8]
    assert await tenants.list_events(since=at(25)) == stored[:24:-1]
    of_one = [event for event in newest if event.tenant == "globex"]
    assert await tenants.list_events(tenant="globex") == of_one
    assert await tenants.list_events(tenant="globex", before=of_one[1].id, since=at(7), most=3) == of_one[2:5]
    assert await tenants.list_events(tenant="") == [event for event in newest if event.tenant == ""]
    assert await tenants.list_events(tenant="nobody") == []


@pytest.mark.gen_test
async def test_events_of_users_are_apart_from_acts_on_tenants(tenants: TenantStore) -> None:
    acts = [new_event(f"kind-{number}", number) for number in range(3)]
    signed_in = [
        new_event(kind, 10 + number, actor=actor, tenant=tenant)
        for number, (kind, actor, tenant) in enumerate(
            [
                ("signed_in", "ada", "initech"),
                ("signed_out", "ada", "initech"),
                ("signed_in", "bob", "initech"),
                ("session_ended", "ada", "globex"),
                ("signed_in", "ada", "initech"),
            ]
        )
    ]
    await tenants.add_events([*signed_in, *acts, new_event("kind-4", 30, actor="ada")])
    assert [event.kind for event in await tenants.list_events()] == ["kind-4", "kind-2", "kind-1", "kind-0"]
    assert len(await tenants.list_events(tenant="initech")) == 4
    of_ada = [signed_in[4], signed_in[1], signed_in[0]]
    assert await tenants.list_user_events([("initech", "ada")], since=0.0, most=10) == of_ada
    assert await tenants.list_user_events([("initech", "ada")], since=0.0, most=2) == of_ada[:2]
    assert await tenants.list_user_events([("initech", "ada")], since=at(11), most=9) == of_ada[:2]
    assert await tenants.list_user_events([("initech", "ad")], since=0.0, most=10) == []
    assert await tenants.list_user_events([("globex", "bob")], since=0.0, most=10) == []
    both = [("globex", "ada"), ("initech", "ada"), ("initech", "nobody")]
    of_both = [signed_in[4], signed_in[3], signed_in[1], signed_in[0]]
    assert await tenants.list_user_events(both, since=0.0, most=10) == of_both
    assert await tenants.list_user_events([*both, *both], since=0.0, most=3) == of_both[:3]
    assert await tenants.list_user_events([], since=0.0, most=10) == []
    assert await tenants.purge_events(before=at(13), most=10) == 6
    assert await tenants.list_user_events([("initech", "ada")], since=0.0, most=10) == of_ada[:1]


@pytest.mark.gen_test
async def test_the_longest_actor_is_stored_and_found(tenants: TenantStore) -> None:
    longest = '"' * 40_000
    await tenants.add_events([new_event("signed_in", 1, actor=longest)])
    (found,) = await tenants.list_user_events([("initech", longest)], since=0.0, most=10)
    assert found.actor == longest
    with pytest.raises(ValueError, match="actor has more than 40000 characters"):
        await tenants.add_events([new_event("signed_in", 2, actor=longest + "x")])


@pytest.mark.gen_test
async def test_old_events_are_purged_the_oldest_first(tenants: TenantStore) -> None:
    stored = [new_event(seconds=number - 500) for number in range(500)]
    await tenants.add_events(stored)
    assert await tenants.purge_events(before=at(-450), most=10) == 10
    assert (await tenants.list_events(most=1000))[-1] == stored[10]
    assert await tenants.purge_events(before=at(-450), most=0) == 0
    assert await tenants.purge_events(before=at(-50), most=1000) == 440
    assert await tenants.list_events(most=1000) == stored[:449:-1]
    assert await tenants.purge_events(before=at(-50), most=1000) == 0


@pytest.mark.gen_test
async def test_an_event_of_a_repeated_change_is_stored_once(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    await tenants.add_domain(new_claim(), event=new_event("claimed"))
    event = new_event("proven", 1)
    for _ in range(3):
        assert await tenants.prove_domain(
            "initech.example", tenant="initech", proof="dns", proven_at=at(1), checked_at=at(1), event=event
        )
    await tenants.add_events([event, event])
    assert await tenants.list_events(most=1) == [event]
    assert await kinds(tenants) == ["added", "claimed", "proven"]


@pytest.mark.gen_test
async def test_a_change_during_an_outage_is_made_whole_or_not_at_all(store: Database) -> None:
    """With the wrapper that tests of other packages use."""
    failing = FailingStore(store)
    tenants = failing.tenants
    await with_tenant(tenants)
    await tenants.put_draft(new_draft(7), replaces=None, event=None)
    failing.fail()
    with pytest.raises(StoreUnavailable):
        await publish(tenants, 1, draft=7, event=new_event("refused"))
    failing.recover()
    assert await tenants.get_tenant("initech") == new_tenant()
    assert await tenants.get_draft("initech") == new_draft(7)
    failing.lose("publish", times=1)
    with pytest.raises(StoreUnavailable):
        await publish(tenants, 1, draft=7, event=new_event("published", 1))
    assert not await publish(tenants, 1, draft=7, event=new_event("repeated", 2))
    assert await tenants.list_revisions("initech", before=None, most=5) == [new_revision()]
    assert await tenants.get_draft("initech") is None
    assert await kinds(tenants) == ["added", "published"]
    assert failing.calls["publish"] == 3


def test_the_order_of_event_ids_is_that_of_their_times() -> None:
    times = [0.0, 0.001, 1.0, NOW, at(0.001), at(1), 9_000_000_000.5]
    ids = [new_event(at=time).id for time in times]
    assert [earliest_event_id(time) for time in times] == sorted(earliest_event_id(time) for time in times)
    assert len(set(ids)) == len(ids)


def test_events_of_one_millisecond_keep_their_order() -> None:
    ids = [event_id(NOW) for _ in range(100)]
    assert ids == sorted(set(ids))


@pytest.mark.gen_test
async def test_a_change_of_a_removed_tenant_is_not_made_to_the_next_one_of_its_slug(
    tenants: TenantStore,
) -> None:
    """A change that was under way while the tenant was removed and made again."""
    await with_tenant(tenants)
    await tenants.remove_tenant("initech", event=new_event("removed", 1))
    assert await tenants.add_tenant(new_tenant(created_at=at(2)), event=new_event("again", 2))

    async def changes(made_at: float) -> list[bool]:
        link, claim, revision, event = new_link(), new_claim(), new_revision(), partial(new_event, seconds=3)
        draft = partial(tenants.put_draft, event=None, made_at=made_at)
        return [
            await tenants.add_setup_link(link, event=event("late"), made_at=made_at),
            await tenants.add_domain(claim, event=event("late"), made_at=made_at),
            await draft(new_draft(1), replaces=None),
            await draft(new_draft(2), replaces=1),
            await tenants.publish(revision, replaces=0, draft=2, event=event("late"), made_at=made_at),
        ]

    assert await changes(new_tenant().created_at) == [False] * 5
    assert await kinds(tenants) == ["added", "removed", "again"]
    assert await tenants.put_draft(new_draft(1), replaces=None, event=None)
    late = partial(tenants.put_draft, new_draft(2), replaces=1, event=None)
    assert not await late(made_at=new_tenant().created_at)
    assert await tenants.delete_draft("initech", version=1, event=new_event("discarded", 2.5))
    assert await tenants.get_tenant("initech") == new_tenant(created_at=at(2))
    assert await tenants.list_setup_links("initech") == []
    assert await tenants.list_domains() == []
    assert await changes(at(2)) == [True] * 5
    assert await kinds(tenants) == ["added", "removed", "again", "discarded", "late", "late", "late"]


# --- reading and delivering events


@pytest.mark.gen_test
async def test_events_of_every_kind_are_read_in_both_orders_and_in_pages(tenants: TenantStore) -> None:
    events = [new_event("signed_in" if n % 2 else "added", n) for n in range(450)]
    other = new_event("signed_in", 3.5, tenant="acme")
    await tenants.add_events([*reversed(events), other])
    assert await tenants.read_events(tenant="initech", most=1000) == events
    assert await tenants.read_events(most=5) == [*events[:4], other]
    between = await tenants.read_events(tenant="initech", after=events[1].id, before=events[4].id, most=10)
    assert between == events[2:4]
    assert await tenants.read_events(tenant="gone", most=10) == []


@pytest.mark.gen_test
async def test_an_event_waits_until_it_is_marked_as_delivered(tenants: TenantStore) -> None:
    first, second, third = (new_event("signed_in", n) for n in range(3))
    await tenants.add_events([second, third])
    assert (await tenants.waiting_events(after="", most=10)).events == [second, third]
    await tenants.mark_delivered([third.id])
    await tenants.add_events([first])  # it happened earlier, and was stored later
    assert (await tenants.waiting_events(after="", most=10)).events == [first, second]
    assert (await tenants.waiting_events(after=first.id, most=10)).events == [second]
    assert (await tenants.waiting_events(after="", most=1)).events == [first]
    await tenants.mark_delivered([first.id, second.id, third.id, "0" * 32])
    assert (await tenants.waiting_events(after="", most=10)).events == []
    await tenants.add_events([first])  # stored again, as after an uncertain failure
    assert (await tenants.waiting_events(after="", most=10)).events == []
    assert await tenants.read_events(most=10) == [first, second, third]


@pytest.mark.gen_test
async def test_events_that_are_set_aside_do_not_wait_until_they_are_to_be_delivered_again(
    tenants: TenantStore,
) -> None:
    first, second, third = (new_event("signed_in", number) for number in (1, 2, 3))
    await tenants.add_events([first, second, third])
    await tenants.mark_delivered([third.id])
    await tenants.set_aside_events([second.id, third.id, "0" * 32])  # what was delivered stays so
    assert (await tenants.waiting_events(after="", most=10)).events == [first]
    assert await tenants.list_set_aside(after="", most=10) == [second]
    assert await tenants.list_set_aside(after=second.id, most=10) == []
    await tenants.set_aside_events([first.id])
    assert await tenants.deliver_again(most=1) == 1
    assert (await tenants.waiting_events(after="", most=10)).events == [first]
    assert await tenants.deliver_again(most=10) == 1
    assert await tenants.deliver_again(most=10) == 0
    assert (await tenants.waiting_events(after="", most=10)).events == [first, second]
    assert await tenants.list_set_aside(after="", most=10) == []
    assert await tenants.read_events(most=10) == [first, second, third]


SEARCH: dict[str, Any] = {
    **{"tenant": None, "kinds": (), "outcome": "", "subject": ""},
    **{"after": "", "before": None, "most": 10, "among": 1000},
}


@pytest.mark.gen_test
async def test_events_are_found_by_tenant_kind_outcome_person_and_time(tenants: TenantStore) -> None:
    def of(subject: str) -> str:
        return Actor(ActorType.USER, subject, "https://login.example").as_json()

    signed_in = new_event("signed_in", 1, actor=of("ada"))
    refused = replace(new_event("sign_in_refused", 2, actor=of("ada")), outcome="refused")
    ended = replace(new_event("login_ended", 3, actor=of("gina")), target="ada")
    other = replace(new_event("signed_in", 4, actor=of('a"d.a')), tenant="globex")
    named = new_event("draft_saved", 5, actor=of("adam"))
    events = [signed_in, refused, ended, other, named]
    await tenants.add_events(events)

    async def found(**wanted: Any) -> list[Event]:
        page = await tenants.search_events(**(SEARCH | wanted))
        assert page.more_before is None
        return page.events

    assert await found() == events[::-1]
    assert await found(tenant="initech") == [named, ended, refused, signed_in]
    assert await found(tenant="nobody") == []
    assert await found(kinds=["signed_in"]) == [other, signed_in]
    assert await found(kinds=["signed_in", "draft_saved"], tenant="initech") == [named, signed_in]
    assert await found(kinds=["draft_saved", "sign_in_refused"]) == [named, refused]
    assert await found(kinds=["draft_saved", "sign_in_refused"], tenant="globex") == []
    assert await found(outcome="refused") == [refused]
    assert await found(subject="ada") == [ended, refused, signed_in]
    assert await found(subject='a"d.a') == [other]
    assert await found(subject="a.a") == await found(subject="ad") == []
    assert await found(subject="ada", outcome="done", kinds=["login_ended"]) == [ended]
    assert await found(after=refused.id, before=named.id) == [other, ended]


@pytest.mark.parametrize("tenant", [None, "initech"])
@pytest.mark.parametrize("kinds", [(), ("draft_saved",), ("signed_in", "draft_saved")])
@pytest.mark.gen_test
async def test_a_search_of_events_reads_a_bounded_number_and_says_where_it_goes_on(
    tenants: TenantStore, tenant: str | None, kinds: Sequence[str]
) -> None:
    events = [new_event("draft_saved", number) for number in range(10)]
    await tenants.add_events(events)
    newest = events[::-1]
    wanted = SEARCH | {"tenant": tenant, "kinds": kinds}
    page = await tenants.search_events(**(wanted | {"most": 4}))
    assert page == (newest[:4], newest[3].id)
    page = await tenants.search_events(**(wanted | {"most": 4, "before": newest[3].id}))
    assert page == (newest[4:8], newest[7].id)
    page = await tenants.search_events(**(wanted | {"most": 4, "before": newest[7].id}))
    assert page == (newest[8:], None)
    nobody = wanted | {"subject": "nobody", "among": 6}
    assert await tenants.search_events(**nobody) == ([], newest[5].id)
    assert await tenants.search_events(**(nobody | {"before": newest[5].id})) == ([], None)


@pytest.mark.gen_test
async def test_the_event_of_a_change_waits_for_its_delivery(tenants: TenantStore) -> None:
    await tenants.add_tenant(new_tenant(), event=(event := new_event("added")))
    assert (await tenants.waiting_events(after="", most=10)).events == [event]


# --- what names a person


@pytest.mark.gen_test
async def test_what_names_a_person_is_replaced_and_nothing_else(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    event, other = new_event("signed_in", 1), new_event("signed_in", 2)
    await tenants.add_events([event, other])
    assert await publish(tenants, 1, event=new_event("published", 3))
    assert await publish(tenants, 2, event=new_event("published", 4))
    assert await tenants.put_draft(new_draft(7), replaces=None, event=None)
    links = [new_link(), new_link()]
    for link in links:
        assert await tenants.add_setup_link(link, event=new_event("link", 5))
    changed = replace(
        event, actor="{}", target="t", reason="r", request_id="", client="", device="", kind="x", outcome="y"
    )
    link = replace(links[0], author="{}", name="somebody", revoked_at=at(9))
    await tenants.replace_named(
        [
            changed,
            new_revision(1, author="{}", reason="r", test="", content="x"),
            new_draft(7, author="{}", test="{}", content="x"),
            link,
        ]
    )
    assert await tenants.read_events(tenant="initech", after=event.id[:12], before=other.id, most=9) == [
        replace(changed, kind=event.kind, outcome=event.outcome)
    ]
    assert other in await tenants.read_events(most=9)
    revisions = await tenants.list_revisions("initech", before=None, most=9)
    assert revisions == [new_revision(2), new_revision(1, author="{}", reason="r", test="")]
    assert await tenants.get_draft("initech") == new_draft(7, author="{}", test="{}")
    stored = {each.id: each for each in await tenants.list_setup_links("initech")}
    assert stored == {links[1].id: links[1], link.id: replace(link, revoked_at=0.0)}


@pytest.mark.gen_test
async def test_what_names_a_person_is_not_replaced_in_what_is_gone(tenants: TenantStore) -> None:
    await with_tenant(tenants)
    assert await tenants.put_draft(new_draft(8), replaces=None, event=None)
    before = await tenants.read_events(most=9)
    await tenants.replace_named(
        [new_event("gone", 9), new_revision(5, author="{}"), new_draft(7, author="{}"), new_link(name="x")]
    )
    await tenants.replace_named([])
    assert await tenants.get_draft("initech") == new_draft(8)
    assert await tenants.list_revisions("initech", before=None, most=9) == []
    assert await tenants.list_setup_links("initech") == []
    assert await tenants.read_events(most=9) == before
    with pytest.raises(ValueError, match="reason"):
        await tenants.replace_named([new_event(reason="x" * 1001)])
