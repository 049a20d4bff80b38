"""THREATS T1, T2: a file that sorts first takes no name from another tenant when the portal restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.tenants import TenantAdmin
from portal.app import running
from portal.config.settings import Settings
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.sqlite.store import SQLiteStore
from portal.tenancy.presets import built_in
from portal.tenancy.registry import Registry
from portal.tenancy.stored import ContentReader, StoredTenants
from tests.kit.samples import ManualClock

TENANT = "name: {name}\nissuer: https://login.{name}.example\nclient: {{id: portal, auth: none}}\n"
CLAIM = "hosts: [portal.victim.example]\n"


@pytest.mark.gen_test
async def test_a_restart_gives_no_host_to_another_tenant(tmp_path: Path) -> None:
    tenants = tmp_path / "tenants"
    tenants.mkdir()
    KeyRing.create(tmp_path / "keys.json")
    settings = Settings(
        tenants=tenants, database=f"sqlite:///{tmp_path}/portal.db", keys=tmp_path / "keys.json"
    )
    (tenants / "victim.yaml").write_text(TENANT.format(name="victim") + CLAIM)
    async with running(settings, sockets=[]) as first:
        assert first.portal.registry.by_host("portal.victim.example") is not None
        (tenants / "new.yaml").write_text(TENANT.format(name="new") + "hosts: [new.example]\n")
        async with asyncio.timeout(30):
            while '"new.example"' not in (await first.portal.store.get_meta("name-owners") or ""):
                await asyncio.sleep(0.01)
    claims = "hosts: [portal.victim.example, new.example]\n"
    (tenants / "attacker.yaml").write_text(TENANT.format(name="attacker") + claims)
    for _ in range(2):
        async with running(settings, sockets=[]) as portal:
            hosts = ("portal.victim.example", "new.example")
            owners = [portal.portal.registry.by_host(host) for host in hosts]
            assert [owner.slug for owner in owners if owner] == ["victim", "new"]
            assert list(portal.portal.registry.problems) == ["attacker.yaml"]


@pytest.mark.gen_test
async def test_A4_two_processes_give_a_client_with_the_shared_key_to_the_same_tenant(tmp_path: Path) -> None:
    """One follows the database after each publication, the other sees both publications at once."""
    KeyRing.create(tmp_path / "keys.json")
    reader = ContentReader(Vault(KeyRing.load(tmp_path / "keys.json")), built_in())
    clock, act = ManualClock(), Act(Actor(ActorType.OPERATOR, "root"))
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    try:
        admin = TenantAdmin(store.tenants, reader, clock=clock)
        folder = tmp_path / "tenants"
        folder.mkdir()
        processes = [(Registry(folder), StoredTenants(store.tenants, reader)) for _ in range(2)]

        async def follow(registry: Registry, stored: StoredTenants) -> list[str]:
            changed = await stored.changed()
            await registry.publish_stored(stored.tenants, changed)
            return [tenant.slug for tenant in registry.all()]

        for slug in ("victim", "attacker"):
            shared = "client: {id: portal, auth: private_key_jwt}\n"
            issuer = "issuer: https://login.victim.example\n"
            await admin.publish(slug, f"name: {slug}\n{issuer}{shared}", act)
            clock.advance(0.1)
            assert await follow(*processes[0]) == ["victim"]
        assert await follow(*processes[1]) == ["victim"]
    finally:
        await store.close()
