"""Setup links and the deletion of old events, on each database."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.event_upkeep import EventUpkeep
from portal.admin.events import Act
from portal.admin.setup_cookie import BrowserLink, SetupCookie
from portal.admin.setup_link_errors import SetupLinkEnded, SetupLinkTaken, SetupLinkUnknown
from portal.admin.setup_links import SetupLinks
from portal.stores.tenant_store import TenantStore
from tests.contract.entries import NOW, at, new_event

OPERATOR = Act(Actor(ActorType.OPERATOR, "root"))
VISIT = Act(Actor(ActorType.SETUP_LINK))
BROWSERS = 10


def links_of(store: TenantStore, now: float = NOW) -> SetupLinks:
    return SetupLinks(
        store, public_url="https://portal.example", file_of=lambda slug: None, clock=lambda: now
    )


async def cookie_for(links: SetupLinks, token: str) -> SetupCookie:
    """The cookie of a browser that shows the page of a link."""
    found = await links.find(token, SetupCookie(), VISIT)
    return SetupCookie((BrowserLink.new(found.link.token_hash, found.link.expires_at),))


@pytest.mark.gen_test(timeout=60)
async def test_A2_one_of_many_browsers_opens_a_link(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    links = (links_of(tenants), links_of(second_tenants))
    made = await links[0].make("initech", OPERATOR)
    await links[0].make("initech", OPERATOR, name="another link")
    token = made.url.reveal().rpartition("/")[2]
    cookies = [await cookie_for(links[0], token) for _ in range(BROWSERS)]
    results = await asyncio.gather(
        *(links[number % 2].open(token, cookie, VISIT) for number, cookie in enumerate(cookies)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, SetupLinkTaken)]
    assert len(refused) == BROWSERS - 1, results
    bound = [await links[1].bound(cookie.value().reveal()) for cookie in cookies]
    assert [link.tenant for link in bound if link is not None] == ["initech"]
    assert [link is not None for link in bound] == [not isinstance(one, Exception) for one in results]
    kinds = Counter(event.kind for event in await second_tenants.list_events(most=100))
    assert kinds["setup_link_opened"] == 1
    assert 1 <= kinds["setup_link_refused"] <= 2, "at most one a minute for each of two processes"


@pytest.mark.gen_test(timeout=60)
async def test_A2_a_link_that_is_revoked_in_another_process_works_no_more(
    tenants: TenantStore, second_tenants: TenantStore
) -> None:
    links, others = links_of(tenants), links_of(second_tenants)
    made = await links.make("initech", OPERATOR)
    token = made.url.reveal().rpartition("/")[2]
    _, cookie = await links.open(token, await cookie_for(links, token), VISIT)
    assert await others.bound(cookie.value().reveal()) is not None
    await others.revoke("initech", made.link.id, OPERATOR)
    assert await links.bound(cookie.value().reveal()) is None
    with pytest.raises(SetupLinkEnded):
        await links.open(token, cookie, VISIT)


@pytest.mark.gen_test(timeout=60)
async def test_A2_a_link_of_another_deployment_is_unknown(tenants: TenantStore) -> None:
    links = links_of(tenants)
    made = await links.make("initech", OPERATOR)
    with pytest.raises(SetupLinkUnknown):
        await links.find("x" + made.url.reveal()[-42:], SetupCookie(), VISIT)


@pytest.mark.gen_test(timeout=60)
async def test_old_events_are_deleted_in_steps_by_several_processes(
    tenants: TenantStore, second_tenants: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.admin.event_upkeep._DELETED_AT_ONCE", 7)
    monkeypatch.setattr("portal.admin.event_upkeep._PAUSE_SECONDS", 0.001)
    old = [new_event(f"old-{number}", -100.0 - number) for number in range(50)]
    recent = [new_event(f"recent-{number}", -99.0 + number) for number in range(5)]
    await tenants.add_events([*old, *recent])
    upkeeps = [
        EventUpkeep(store, retention=99.5, clock=lambda: at(0), may_delete=lambda: True)
        for store in (tenants, second_tenants)
    ]
    await asyncio.gather(*(upkeep.delete_old(asyncio.Event()) for upkeep in upkeeps))
    left = [event.id for event in await tenants.list_events(most=100)]
    assert sorted(left) == sorted(event.id for event in recent)
