"""Tenants of the database, served beside those of the files."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from dataclasses import replace

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind
from portal.admin.tenants import TenantAdmin
from portal.config.load_context import LoadContext, SecretFiles
from portal.config.secret_references import resolve_reference
from portal.errors import StoreUnavailable
from portal.stores.tenant_records import TenantStatus
from portal.tenancy.presets import built_in
from portal.tenancy.stored import FORMAT, ContentReader
from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import until
from tests.kit.world import World

ACT = Act(Actor(ActorType.OPERATOR, "root"))
SOON = 3.0
"""Seconds: the portal asks the database once a second."""


class Office:
    """Acts on the tenants of a running portal's database, as the command line does."""

    def __init__(self, world: World) -> None:
        running = world.running
        self.world = world
        self.registry = running.portal.registry
        self.store = running.portal.store.tenants  # type: ignore[attr-defined]  # it is a Database
        reader = ContentReader(running.vault, built_in(), allow_private_networks=True)
        self.admin = TenantAdmin(self.store, reader, clock=running.portal.store.time)
        self.file = world.parts.tenants_folder / "acme.yaml"
        self.typed = self.file.read_text(encoding="utf-8")
        context = LoadContext(SecretFiles(self.file.parent), environ=os.environ)
        self.resolve = functools.partial(resolve_reference, context=context)

    async def move(self) -> None:
        """Move the tenant acme from its file to the database."""
        self.file.unlink()
        await until(lambda: self.registry.get("acme") is None, "the file's tenant is still live")
        await self.publish(self.typed)
        await until(lambda: self.registry.get("acme"), "the stored tenant is not served", seconds=SOON)

    async def publish(self, typed: str) -> None:
        await self.admin.publish("acme", typed, ACT, resolve=self.resolve)

    async def set_status(self, status: TenantStatus) -> None:
        await self.admin.set_status("acme", status, ACT)

    def name(self) -> str | None:
        tenant = self.registry.get("acme")
        return tenant.name if tenant is not None else None

    async def call(self, browser: Browser) -> int:
        return (await browser.fetch(self.world.at("/t/acme/api/orders"))).status


@pytest.mark.gen_test
async def test_a_tenant_of_the_database_is_served_changed_closed_and_removed(world: World) -> None:
    office, browser = Office(world), world.browser()
    await office.move()
    await world.sign_in(browser, "acme")
    assert await office.call(browser) == 200

    await office.publish(office.typed.replace("Acme Corporation", "Acme Ltd"))
    await until(lambda: office.name() == "Acme Ltd", "the new revision is not served", seconds=SOON)
    assert await office.call(browser) == 200, "the registration is the same"

    await office.set_status(TenantStatus.NO_NEW_LOGINS)
    await until(lambda: not office.registry.get("acme").accepts_logins, "logins are open", seconds=SOON)  # type: ignore[union-attr]
    assert await office.call(browser) == 200
    refused = await world.browser().fetch(world.at("/t/acme/login"))
    assert (refused.status, "Sign-in is closed" in refused.text) == (403, True)
    page = await world.browser().fetch(world.at("/t/acme/"))
    assert (page.status, "Sign-in is closed" in page.text) == (200, True)
    assert "/t/acme/login" not in page.text
    assert "Sign-in is closed" in (await world.browser().fetch(world.at("/"))).text

    await office.set_status(TenantStatus.SUSPENDED)
    await until(lambda: office.registry.get("acme") is None, "it is still served", seconds=SOON)
    assert await office.call(browser) == 404

    await office.set_status(TenantStatus.LIVE)
    await until(lambda: office.name() == "Acme Ltd", "it is not served again", seconds=SOON)
    await office.admin.roll_back("acme", 1, ACT)
    await until(
        lambda: office.name() == "Acme Corporation", "the earlier revision is not served", seconds=SOON
    )
    await office.admin.remove("acme", ACT)
    await until(lambda: office.registry.get("acme") is None, "it is still served", seconds=SOON)


@pytest.mark.gen_test
async def test_a_login_that_began_before_a_tenant_was_closed_is_refused(world: World) -> None:
    office, browser = Office(world), world.browser()
    await office.move()
    callback = await world.stop_before_callback(browser, "acme")
    await office.set_status(TenantStatus.NO_NEW_LOGINS)
    await until(lambda: not office.registry.get("acme").accepts_logins, "logins are open", seconds=SOON)  # type: ignore[union-attr]
    refused = await browser.step(callback, site="cross-site")
    assert refused.status == 403
    assert "Sign-in is closed" in refused.text


@pytest.mark.gen_test
async def test_a_slug_belongs_to_its_file(world: World) -> None:
    office = Office(world)
    await office.move()
    office.file.write_text(office.typed.replace("Acme Corporation", "Acme of the file"), encoding="utf-8")
    await until(lambda: office.name() == "Acme of the file", "the file is not served")
    await office.publish(office.typed.replace("Acme Corporation", "Acme Ltd"))
    await until(lambda: world.running.stored_tenants.tenants["acme"].state.revision == 2, "it is not read")
    assert office.name() == "Acme of the file"
    office.file.unlink()
    await until(lambda: office.name() == "Acme Ltd", "the stored tenant is not served")


@pytest.mark.gen_test
async def test_a_revision_that_this_version_cannot_read_is_not_served(world: World) -> None:
    office = Office(world)
    await office.move()
    live = await office.admin.revision("acme")
    later = replace(live, number=2, format=FORMAT + 1)
    at = world.running.portal.store.time()
    event = ACT.event(EventKind.TENANT_PUBLISHED, tenant="acme", at=at)
    assert await office.store.publish(later, replaces=1, draft=None, event=event)
    await until(lambda: office.registry.problems, "it is not reported", seconds=SOON)
    [(name, error)] = office.registry.problems.items()
    assert name == "acme.revision-2"
    assert str(error) == "acme: revision 2 was published by a later version; update this portal"
    assert office.name() == "Acme Corporation", "the revision before stays live"
    await office.admin.roll_back("acme", 1, ACT)
    await until(lambda: not office.registry.problems, "the problem stays", seconds=SOON)


@pytest.mark.gen_test
async def test_a_domain_counts_only_when_it_is_proven(world: World) -> None:
    office = Office(world)
    office.typed = office.typed.replace("- acme.example", "- initech.example")
    await office.move()
    assert office.registry.search("somebody@initech.example", most=5) == []
    revision = await office.admin.revision("acme")
    assert await world.running.portal.admin.domains.approve_all(revision, ACT) == {}
    await until(
        lambda: office.registry.search("somebody@initech.example", most=5), "it does not count", seconds=SOON
    )


@pytest.mark.gen_test
async def test_tenants_of_the_database_stay_while_it_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, asked = Office(world), []

    async def unavailable() -> int:
        asked.append(1)
        raise StoreUnavailable("the test made it fail")

    await office.move()
    monkeypatch.setattr(office.store, "tenants_version", unavailable)
    await until(lambda: len(asked) > 1, "nobody asks")
    assert office.name() == "Acme Corporation"


@pytest.mark.gen_test
async def test_A4_no_secret_of_a_stored_tenant_is_in_the_database(world: World) -> None:
    office = Office(world)
    await office.move()
    secret = world.running.portal.registry.get("acme").default_provider.client_secret  # type: ignore[union-attr]
    assert secret is not None
    stored = await office.admin.revision("acme")
    assert secret.reveal() not in json.dumps(stored.content)


@pytest.mark.gen_test
async def test_a_tenant_that_is_made_again_is_not_served_as_before(world: World) -> None:
    office = Office(world)
    await office.move()
    await office.admin.remove("acme", ACT)
    await office.publish(office.typed.replace("Acme Corporation", "Another Acme"))
    await until(lambda: office.name() == "Another Acme", "the removed one is still served", seconds=SOON)


@pytest.mark.gen_test
async def test_a_tenant_behind_an_invalid_file_follows_the_database_and_is_not_trusted(world: World) -> None:
    office = Office(world)
    await office.move()
    office.file.write_text("name: [", encoding="utf-8")
    await until(lambda: "acme.yaml" in office.registry.problems, "the file is not read")
    assert office.name() == "Acme Corporation"
    assert not office.registry.is_of_operator("acme")
    await office.set_status(TenantStatus.SUSPENDED)
    await until(lambda: office.name() is None, "a suspended tenant is served", seconds=SOON)
    office.file.write_text(office.typed, encoding="utf-8")
    await until(lambda: office.name() == "Acme Corporation", "the file is not served")
    assert office.registry.is_of_operator("acme")


@pytest.mark.gen_test
async def test_T9_a_tenant_that_is_suspended_during_the_exchange_gets_no_login(world: World) -> None:
    office, browser, hold = Office(world), world.browser(), asyncio.Event()
    await office.move()
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.endpoints["token"] = EndpointFault(hold=hold)
    finishing = asyncio.ensure_future(browser.step(callback, site="cross-site"))
    await until(lambda: world.acme.requests["token"], "the code is not exchanged")
    await office.set_status(TenantStatus.SUSPENDED)
    await until(lambda: office.name() is None, "it is still served", seconds=SOON)
    hold.set()
    assert (await finishing).status == 400
    await office.set_status(TenantStatus.LIVE)
    await until(lambda: office.name() == "Acme Corporation", "it is not served again", seconds=SOON)
    assert await office.call(browser) == 401


@pytest.mark.gen_test
async def test_T9_a_tenant_that_closes_to_new_logins_during_the_exchange_gets_none(world: World) -> None:
    office, browser, hold = Office(world), world.browser(), asyncio.Event()
    await office.move()
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.endpoints["token"] = EndpointFault(hold=hold)
    finishing = asyncio.ensure_future(browser.step(callback, site="cross-site"))
    await until(lambda: world.acme.requests["token"], "the code is not exchanged")
    await office.set_status(TenantStatus.NO_NEW_LOGINS)
    await until(lambda: not office.registry.get("acme").accepts_logins, "logins are open", seconds=SOON)  # type: ignore[union-attr]
    hold.set()
    refused = await finishing
    assert (refused.status, "Sign-in is closed" in refused.text) == (403, True)
    assert world.acme.requests["revocation"], "the tokens of the refused login are still valid"
    assert await office.call(browser) == 401
