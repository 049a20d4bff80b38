"""THREATS T1, T2: a file that sorts first takes no name from another tenant when the portal restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from portal.app import running
from portal.config.settings import Settings
from portal.keys.key_ring import KeyRing

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
