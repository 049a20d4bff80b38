"""Acts on tenants of the database, on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.tenants import TenantAdmin, TenantChanged, TenantMissing, author
from portal.errors import ConfigurationError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import TenantStatus
from portal.tenancy.presets import built_in
from portal.tenancy.stored import ContentReader

T = TypeVar("T")

FIRST = """\
name: Acme
issuer: https://login.acme.example
client: {id: portal, secret: hunter2}
"""
ACT = Act(Actor(ActorType.OPERATOR, "root"), reason="a new provider")


class Office:
    """A database with tenants, and who acts on them."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLiteStore(folder / "portal.db")
        self.vault = Vault(KeyRing.create(folder / "keys.json"))
        self.admin = TenantAdmin(
            self.store.tenants, ContentReader(self.vault, built_in()), clock=self.store.time
        )

    def run(self, work: Callable[[Office], Awaitable[T]]) -> T:
        async def opened() -> T:
            await self.store.open()
            try:
                return await work(self)
            finally:
                await self.store.close()

        return asyncio.run(opened())


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_tenant_is_made_published_changed_and_rolled_back(office: Office) -> None:
    async def story(at: Office) -> list[str]:
        first, loaded = await at.admin.publish("acme", FIRST, ACT)
        assert (first.number, loaded.tenant.name, author(first)) == (1, "Acme", "operator root")
        second, _ = await at.admin.publish("acme", FIRST.replace("Acme", "Acme Ltd"), ACT)
        third = await at.admin.roll_back("acme", 1, ACT)
        assert third.content == first.content != second.content
        assert (await at.admin.revision("acme")).number == 3
        assert [one.number for one in await at.admin.history("acme")] == [3, 2, 1]
        return [f"{one.kind} {one.target}".strip() for one in await at.store.tenants.list_events()]

    assert sorted(office.run(story)) == [
        "tenant_added",
        "tenant_published revision 1",
        "tenant_published revision 2",
        "tenant_rolled_back revision 3, from revision 1",
    ]


def test_no_secret_is_stored_and_each_is_read_back(office: Office, tmp_path: Path) -> None:
    async def story(at: Office) -> None:
        revision, loaded = await at.admin.publish("acme", FIRST, ACT)
        secret = at.admin.read(revision).tenant.providers["default"].client_secret
        assert secret is not None
        assert secret.reveal() == "hunter2"
        assert loaded.tenant.providers["default"].client_secret == secret

    office.run(story)
    assert not [file for file in tmp_path.iterdir() if b"hunter2" in file.read_bytes()]


def test_A4_a_sealed_secret_opens_for_its_tenant_only(office: Office) -> None:
    async def story(at: Office) -> None:
        revision, _ = await at.admin.publish("acme", FIRST, ACT)
        with pytest.raises(ConfigurationError) as caught:
            await at.admin.publish("globex", revision.content, ACT)
        assert "is not stored here" in str(caught.value)
        assert await at.store.tenants.list_tenants() == [await at.admin.get("acme")]

    office.run(story)


def test_an_invalid_content_is_refused_and_nothing_is_stored(office: Office) -> None:
    async def story(at: Office) -> None:
        with pytest.raises(ConfigurationError):
            await at.admin.publish("acme", FIRST.replace("name", "nmae"), ACT)
        assert await at.store.tenants.list_tenants() == []
        assert await at.store.tenants.list_events() == []

    office.run(story)


def test_of_concurrent_publishes_one_wins(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.admin.publish("acme", FIRST, ACT)
        contents = [FIRST.replace("Acme", f"Acme {number}") for number in range(5)]
        done = await asyncio.gather(
            *(at.admin.publish("acme", content, ACT) for content in contents), return_exceptions=True
        )
        lost = [one for one in done if isinstance(one, BaseException)]
        assert {type(one) for one in lost} <= {TenantChanged}
        assert len(await at.admin.history("acme")) == 1 + len(done) - len(lost)

    office.run(story)


def test_a_status_is_set_once_and_a_tenant_removed_once(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.admin.publish("acme", FIRST, ACT)
        assert await at.admin.set_status("acme", TenantStatus.SUSPENDED, ACT)
        assert not await at.admin.set_status("acme", TenantStatus.SUSPENDED, ACT)
        await at.admin.remove("acme", ACT)
        for act in (
            at.admin.remove("acme", ACT),
            at.admin.roll_back("acme", 1, ACT),
            at.admin.history("acme"),
        ):
            with pytest.raises(TenantMissing):
                await act
        kinds = [one.kind for one in await at.store.tenants.list_events(tenant="acme")]
        assert sorted(kinds)[-2:] == ["tenant_removed", "tenant_status_changed"]

    office.run(story)


def test_a_tenant_may_be_made_again_after_its_removal(office: Office) -> None:
    async def story(at: Office) -> None:
        await at.admin.publish("acme", FIRST, ACT)
        await at.admin.remove("acme", ACT)
        revision, _ = await at.admin.publish("acme", FIRST, ACT)
        assert revision.number == 1

    office.run(story)
