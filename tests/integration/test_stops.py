"""A stop of the portal ends in time, whatever it does in the background."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.admin import domain_upkeep
from portal.admin.domains import BY_DNS
from portal.config.domain_settings import DomainSettings
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import NOW, new_claim, new_event, new_tenant
from tests.integration.child import eventually
from tests.kit.name_server import name_server
from tests.kit.world import world

_DOMAINS = 40


async def fill(database: Path) -> None:
    """Many domains of a tenant that are due to be checked again."""
    store = SQLiteStore(database)
    await store.open()
    try:
        assert await store.tenants.add_tenant(new_tenant(), event=new_event())
        for number in range(_DOMAINS):
            claim = new_claim(f"d{number}.example", proof=BY_DNS, proven_at=NOW, checked_at=1.0)
            assert await store.tenants.add_domain(claim, event=new_event())
    finally:
        await store.close()


@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=240)
async def test_a_stop_does_not_wait_for_all_lookups_of_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name servers do not respond: a round of 200 domains takes four minutes."""
    monkeypatch.setattr(domain_upkeep, "ROUND_SECONDS", 0.0)
    await fill(tmp_path / "portal.db")
    async with name_server() as server:
        server.delay = 3600.0
        async with world(tmp_path, domains=DomainSettings((server.address,))):
            await eventually(lambda: server.asked, "the first lookup", seconds=60)
        looked_up = {question.split()[0] for question in server.asked}
    assert 0 < len(looked_up) < _DOMAINS / 2
