"""Acts on domains while another process acts on the same tenant, between any two steps, on SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from copy import copy
from typing import cast

import pytest

from portal.admin import stated_names
from portal.admin.domains import (
    CHECK_SECONDS,
    GRACE_SECONDS,
    TENANT_CHECK_SECONDS,
    CheckedRecently,
    DomainState,
    DomainUnknown,
)
from portal.admin.events import EventKind
from portal.admin.stated_names import Names, names_in, release_unstated
from portal.stores.tenant_records import DomainClaim
from portal.stores.tenant_store import TenantStore
from tests.unit.admin.test_domains import ACT, DAY, NAME, OPERATOR, Office, content, office

__all__ = ["office"]

STEPS = range(1, 9)
"""More calls of the store than any of these acts makes."""


class Interrupted:
    """A TenantStore with which something else happens just before its call with this number."""

    def __init__(self, store: TenantStore, step: int, act: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._step = step
        self._act = act

    @property
    def acted(self) -> bool:
        """Whether there were as many calls."""
        return self._step <= 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def called(*arguments: object, **options: object) -> object:
            self._step -= 1
            if self._step == 0:
                await self._act()
            return await getattr(self._store, name)(*arguments, **options)

        return called


def unstated(at: Office) -> DomainClaim:
    now = at.clock()
    return DomainClaim("a.example", "acme", "hosts", "t", "dns", now, now, now)


async def publish_draft(at: Office) -> None:
    record, draft = await at.admin.get("acme"), await at.store.tenants.get_draft("acme")
    assert draft is not None
    kind = EventKind.TENANT_PUBLISHED
    await at.admin.publish_stored(record, draft.content, ACT, kind, draft=draft.version)


async def move_to_draft(at: Office) -> None:
    """Save a draft that states the name, then publish, without the draft, what does not."""
    await at.draft("acme", content(domains=NAME))
    await at.publish()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moves", ["to the live revision", "to the draft"])
def test_A4_a_name_that_is_stated_all_the_time_is_not_released(office: Office, step: int, moves: str) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        await at.domains.approve("acme", NAME, OPERATOR)
        if moves == "to the draft":
            meanwhile = move_to_draft
        else:
            await at.draft("acme", content(domains=NAME))
            await at.publish()
            meanwhile = publish_draft
        event = ACT.event(EventKind.DOMAIN_PROVEN, tenant="acme", at=at.clock())
        await at.store.tenants.add_domain(unstated(at), event=event)
        store = cast(TenantStore, Interrupted(at.store.tenants, step, lambda: meanwhile(at)))
        await release_unstated(store, at.domains.contents, "acme", ACT, clock=at.clock)
        assert NAME in await at.claims()

    office.run(story)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("found", ["first missing", "missing for too long", "found again", "found"])
def test_an_approval_during_any_step_of_a_check_stays(office: Office, step: int, found: str) -> None:
    async def story(at: Office) -> None:
        await prepare(at, found)
        store = Interrupted(at.store.tenants, step, lambda: at.domains.approve("acme", NAME, OPERATOR))
        await check_with(at, store, found)
        assert store.acted == (await at.state() == DomainState.APPROVED)

    office.run(story)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("found", ["first missing", "missing for too long", "found again"])
def test_a_release_during_any_step_of_a_check_stays(office: Office, step: int, found: str) -> None:
    async def story(at: Office) -> None:
        await prepare(at, found)
        store = Interrupted(at.store.tenants, step, lambda: at.domains.release("acme", NAME, ACT))
        await check_with(at, store, found)
        assert not store.acted or await at.claims() == {}

    office.run(story)


async def prepare(at: Office, found: str) -> None:
    """A claim, and DNS that responds as the name of the case says."""
    await at.publish(domains=NAME)
    if found == "found":
        await at.set_record()
        return
    await at.prove()
    record = at.records.texts.pop(NAME)
    at.clock.advance(DAY)
    if found != "first missing":
        await at.upkeep().round()
        at.clock.advance(GRACE_SECONDS + 1)
    if found == "found again":
        at.records.texts[NAME] = record


async def check_with(at: Office, store: Interrupted, found: str) -> None:
    """Check as the case does, with this store."""
    domains = copy(at.domains)
    domains.store = cast(TenantStore, store)
    if found == "found":
        await domains.check("acme", NAME, ACT)
    else:
        [claim] = await at.store.tenants.list_domains("acme")
        await domains.recheck(claim, ACT)


# --- how much is parsed


class Parsed:
    """Counts the contents that are parsed, and how many at once."""

    def __init__(self) -> None:
        self.all = self.most = self._now = 0

    def names_in(self, text: str, tenant: str) -> Names:
        self.all += 1
        self._now += 1
        self.most = max(self.most, self._now)
        time.sleep(0.002)  # for others to begin
        self._now -= 1
        return names_in(text, tenant)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsed:
    counted = Parsed()
    monkeypatch.setattr(stated_names, "names_in", counted.names_in)
    return counted


def test_pages_of_domains_parse_one_content_at_a_time(office: Office, parsed: Parsed) -> None:
    async def story(at: Office) -> None:
        for slug in ("acme", "globex"):
            await at.publish(slug, domains=NAME)
        await asyncio.gather(*(at.domains.of_tenant(slug) for slug in ("acme", "globex") * 20))
        assert (parsed.all, parsed.most) == (40, 1)

    office.run(story)


def test_a_check_that_is_refused_parses_nothing(office: Office, parsed: Parsed) -> None:
    async def story(at: Office) -> None:
        await at.publish(domains=NAME)
        with pytest.raises(DomainUnknown):
            await at.domains.check("acme", "unknown.example", ACT)
        before = parsed.all
        assert before
        for name in ("unknown.example", "other.example", NAME):
            with pytest.raises(CheckedRecently):
                await at.domains.check("acme", name, ACT)
        assert parsed.all == before
        at.clock.advance(TENANT_CHECK_SECONDS)
        await at.domains.check("acme", NAME, ACT)
        at.clock.advance(CHECK_SECONDS)
        await at.domains.check("acme", NAME, ACT)

    office.run(story)
