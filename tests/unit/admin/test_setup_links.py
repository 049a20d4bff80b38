"""Setup links on SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from portal.admin import setup_links
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.setup_cookie import BrowserLink, SetupCookie, digest
from portal.admin.setup_link_errors import (
    SetupCookieMissing,
    SetupLinkEnded,
    SetupLinkMissing,
    SetupLinkRevoked,
    SetupLinkTaken,
    SetupLinkUnknown,
    TooManySetupLinks,
)
from portal.admin.setup_links import LinkState, MadeLink, SetupLinks
from portal.admin.tenants import TenantInFile
from portal.errors import PortalError
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Draft, Event

T = TypeVar("T")

OPERATOR = Act(Actor(ActorType.OPERATOR, "root"), request_id="r1")
VISIT = Act(Actor(ActorType.SETUP_LINK), request_id="r2", client="192.0.2.0/24")
DAY = 86_400.0


class Office:
    """A database, its setup links and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = round(time.time(), 3)
        self.store = SQLiteStore(folder / "portal.db")
        self.files = {"of-file": folder / "tenants" / "of-file.yaml"}
        self.links = SetupLinks(
            self.store.tenants,
            public_url="https://portal.example",
            file_of=self.files.get,
            clock=lambda: self.now,
        )

    def run(self, work: Callable[[Office], Awaitable[T]]) -> T:
        async def opened() -> T:
            await self.store.open()
            try:
                return await work(self)
            finally:
                await self.store.close()

        return asyncio.run(opened())

    async def events(self) -> list[Event]:
        return await self.store.tenants.list_events(most=1000)

    async def kinds(self) -> list[str]:
        return [f"{event.kind} {event.outcome} {event.reason}".strip() for event in await self.events()]


class Visitor:
    """A browser: its cookie, and what it does with a link."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.cookie = SetupCookie()

    async def show(self, token: str) -> bool:
        """Open the page; return whether the link is bound to this browser already."""
        found = await self.office.links.find(token, self.cookie, VISIT)
        own = found.own or BrowserLink.new(found.link.token_hash, found.link.expires_at)
        self.cookie = self.cookie.with_shown(own)
        return found.bound

    async def open(self, token: str) -> None:
        _, self.cookie = await self.office.links.open(token, self.cookie, VISIT)

    async def tenant(self) -> str | None:
        link = await self.office.links.bound(self.cookie.value().reveal())
        return link.tenant if link is not None else None


def token_of(made: MadeLink) -> str:
    url = made.url.reveal()
    assert url.startswith("https://portal.example/setup/")
    return url.rpartition("/")[2]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_link_is_made_with_its_tenant_opened_and_used(office: Office) -> None:
    async def story(at: Office) -> list[str]:
        made = await at.links.make("initech", OPERATOR, name="Bill")
        assert (await at.store.tenants.get_tenant("initech")).live == 0  # type: ignore[union-attr]
        visitor = Visitor(at)
        assert not await visitor.show(token_of(made))
        assert await visitor.tenant() is None, "the page alone gives no right"
        await visitor.open(token_of(made))
        assert await visitor.tenant() == "initech"
        assert await visitor.show(token_of(made)), "the same browser goes straight on"
        await visitor.open(token_of(made))
        return [f"{one.kind} {one.target}".strip() for one in await at.events()]

    assert sorted(office.run(story)) == [
        "setup_link_made setup link " + office.run(lambda at: _only_id(at)),
        "setup_link_opened setup link " + office.run(lambda at: _only_id(at)),
        "setup_link_reopened setup link " + office.run(lambda at: _only_id(at)),
        "tenant_added",
    ]


async def _only_id(at: Office) -> str:
    [link] = await at.links.of_tenant("initech")
    return link.id


def test_the_database_has_neither_the_token_nor_the_secret_of_the_browser(
    office: Office, tmp_path: Path
) -> None:
    async def story(at: Office) -> tuple[str, str]:
        made, visitor = await at.links.make("initech", OPERATOR), Visitor(at)
        await visitor.show(token_of(made))
        await visitor.open(token_of(made))
        assert visitor.cookie.current is not None
        return token_of(made), visitor.cookie.current.secret.reveal()

    token, secret = office.run(story)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("portal.db*"))
    assert token.encode() not in stored
    assert secret.encode() not in stored
    assert digest(token).encode() in stored


def test_a_link_tells_who_opened_it(office: Office) -> None:
    async def story(at: Office) -> Event:
        made, visitor = await at.links.make("initech", OPERATOR, name="Bill"), Visitor(at)
        await visitor.show(token_of(made))
        await visitor.open(token_of(made))
        [opened] = [event for event in await at.events() if event.kind == "setup_link_opened"]
        assert f'"Bill ({made.link.id})"' in opened.actor
        return opened

    opened = office.run(story)
    assert (opened.tenant, opened.client, opened.request_id) == ("initech", "192.0.2.0/24", "r2")
    assert '"type": "setup_link"' in opened.actor


async def refused(work: Awaitable[object], error: type[PortalError]) -> None:
    with pytest.raises(error) as caught:
        await work
    assert type(caught.value) is error


def test_a_link_works_in_the_browser_only_that_opened_it_first(office: Office) -> None:
    async def story(at: Office) -> list[str]:
        made, first, second = await at.links.make("initech", OPERATOR), Visitor(at), Visitor(at)
        token = token_of(made)
        await first.show(token)
        await second.show(token)
        await first.open(token)
        await refused(second.open(token), SetupLinkTaken)
        await refused(second.show(token), SetupLinkTaken)
        await refused(Visitor(at).show(token), SetupLinkTaken)
        assert await second.tenant() is None
        assert await first.tenant() == "initech"
        return await at.kinds()

    assert "setup_link_refused refused another browser" in office.run(story)


def test_a_button_that_is_pressed_twice_opens_the_link_once(office: Office) -> None:
    async def story(at: Office) -> list[str]:
        made, visitor = await at.links.make("initech", OPERATOR), Visitor(at)
        await visitor.show(token_of(made))
        both = (at.links.open(token_of(made), visitor.cookie, VISIT) for _ in range(2))
        (_, cookie), (_, other) = await asyncio.gather(*both)
        assert cookie == other
        visitor.cookie = cookie
        assert await visitor.tenant() == "initech"
        return await at.kinds()

    kinds = office.run(story)
    assert kinds.count("setup_link_opened done") == 1
    assert not [kind for kind in kinds if "refused" in kind]


def test_a_browser_without_cookies_does_not_use_up_the_link(office: Office) -> None:
    async def story(at: Office) -> None:
        made = await at.links.make("initech", OPERATOR)
        await refused(Visitor(at).open(token_of(made)), SetupCookieMissing)
        visitor = Visitor(at)
        await visitor.show(token_of(made))
        await visitor.open(token_of(made))
        assert await visitor.tenant() == "initech"

    office.run(story)


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "not opened"])
def test_an_expired_or_revoked_link_is_refused_at_once(office: Office, opened: bool) -> None:
    async def story(at: Office) -> list[str]:
        short = await at.links.make("initech", OPERATOR, seconds=3600.0)
        long, visitor = await at.links.make("initech", OPERATOR), Visitor(at)
        for made in (short, long):
            await visitor.show(token_of(made))
            if opened:
                await visitor.open(token_of(made))
        at.now += 3600.0
        await refused(visitor.open(token_of(short)), SetupLinkEnded)
        await at.links.revoke("initech", long.link.id, OPERATOR)
        assert await visitor.tenant() is None
        await refused(visitor.open(token_of(long)), SetupLinkRevoked)
        await refused(at.links.revoke("initech", long.link.id, OPERATOR), SetupLinkMissing)
        states = [at.links.state(link) for link in await at.links.of_tenant("initech")]
        assert sorted(states) == [LinkState.EXPIRED, LinkState.REVOKED]
        return await at.kinds()

    kinds = office.run(story)
    assert "setup_link_refused refused expired" in kinds
    assert "setup_link_refused refused revoked" in kinds
    assert "setup_link_revoked done" in kinds


def test_the_link_that_was_opened_last_is_used_and_earlier_ones_can_be_opened_again(office: Office) -> None:
    async def story(at: Office) -> None:
        visitor = Visitor(at)
        tokens = {slug: token_of(await at.links.make(slug, OPERATOR)) for slug in ("acme-test", "acme")}
        for slug in ("acme-test", "acme", "acme-test"):
            await visitor.show(tokens[slug])
            await visitor.open(tokens[slug])
            assert await visitor.tenant() == slug

    office.run(story)


def test_a_link_ends_with_its_tenant(office: Office) -> None:
    async def story(at: Office) -> None:
        made, visitor = await at.links.make("initech", OPERATOR), Visitor(at)
        await visitor.show(token_of(made))
        await visitor.open(token_of(made))
        [added] = [event for event in await at.events() if event.kind == "tenant_added"]
        await at.store.tenants.remove_tenant("initech", event=added)
        assert await visitor.tenant() is None
        await refused(visitor.open(token_of(made)), SetupLinkUnknown)

    office.run(story)


def test_guesses_are_refused_and_those_of_another_form_do_not_reach_the_database(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(at: Office) -> list[str]:
        for _ in range(3):
            await refused(Visitor(at).show("a" * 43), SetupLinkUnknown)
        monkeypatch.setattr(at.store.tenants, "find_setup_link", None)
        for guess in ("", "a" * 42, "a" * 44, "a" * 42 + "/", "ä" * 43, f"{'a' * 43}\n"):
            await refused(Visitor(at).show(guess), SetupLinkUnknown)
        return await at.kinds()

    assert office.run(story) == ["setup_link_refused refused unknown token"], "one event a minute"


def test_refusals_of_a_link_are_recorded_once_a_minute(office: Office) -> None:
    async def story(at: Office) -> list[str]:
        made, visitor = await at.links.make("initech", OPERATOR), Visitor(at)
        await visitor.show(token_of(made))
        await visitor.open(token_of(made))
        for seconds in (0.0, 30.0, 30.0):
            at.now += seconds
            await refused(Visitor(at).show(token_of(made)), SetupLinkTaken)
        return await at.kinds()

    assert office.run(story).count("setup_link_refused refused another browser") == 2


def test_refusals_that_are_remembered_are_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_links, "_MOST_REPORTED", 2)

    async def story(at: Office) -> list[str]:
        for slug in ("one", "two", "three", "one"):
            made = await at.links.make(slug, OPERATOR, seconds=3600.0)
            at.now += 3600.0
            await refused(Visitor(at).show(token_of(made)), SetupLinkEnded)
        assert len(at.links._reported) == 2
        return await at.kinds()

    assert office.run(story).count("setup_link_refused refused expired") == 4


@pytest.mark.parametrize("seconds", [3599.0, 90 * DAY + 1, 0.0, -1.0, float("nan"), float("inf")])
def test_a_link_is_valid_for_an_hour_to_ninety_days(office: Office, seconds: float) -> None:
    async def story(at: Office) -> None:
        with pytest.raises(ValueError, match="1 hour to 90 days"):
            await at.links.make("initech", OPERATOR, seconds=seconds)
        for valid in (3600.0, 90 * DAY):
            made = await at.links.make("initech", OPERATOR, seconds=valid)
            assert made.link.expires_at == pytest.approx(at.now + valid, abs=0.01)

    office.run(story)


@pytest.mark.parametrize("name", ["a" * 101, "two\nlines", "\u202etxt", "\x00"])
def test_the_name_of_a_link_is_one_short_line(office: Office, name: str) -> None:
    async def story(at: Office) -> None:
        with pytest.raises(ValueError, match="one line"):
            await at.links.make("initech", OPERATOR, name=name)
        assert await at.store.tenants.get_tenant("initech") is None

    office.run(story)


def test_no_link_is_made_for_a_tenant_of_a_file(office: Office) -> None:
    async def story(at: Office) -> None:
        await refused(at.links.make("of-file", OPERATOR), TenantInFile)
        assert await at.store.tenants.get_tenant("of-file") is None

    office.run(story)


def test_a_tenant_has_a_bounded_number_of_live_links(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_links, "MOST_LIVE", 2)

    async def story(at: Office) -> None:
        first = await at.links.make("initech", OPERATOR)
        await at.links.make("initech", OPERATOR)
        await refused(at.links.make("initech", OPERATOR), TooManySetupLinks)
        await at.links.revoke("initech", first.link.id, OPERATOR)
        await at.links.make("initech", OPERATOR)

    office.run(story)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("name: Initech GmbH", "Initech GmbH"),
        ("name: '  '", "Initech"),
        ("name: [a]", "Initech"),
        ("name: [", "Initech"),
        ("issuer: x", "Initech"),
        (None, "Initech"),
    ],
)
def test_an_organisation_is_called_as_in_its_draft(office: Office, content: str | None, name: str) -> None:
    async def story(at: Office) -> str:
        await at.links.make("initech", OPERATOR)
        if content is not None:
            draft = Draft("initech", content, 1, 1, 0, "{}", "", at.now)
            assert await at.store.tenants.put_draft(draft, replaces=None, event=None)
        return await at.links.organisation("initech")

    assert office.run(story) == name
