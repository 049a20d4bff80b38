"""`portal doctor` beside a running portal, with providers and a database of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.console import ConsoleWorld
from tests.processes.test_session_commands import run


@pytest.mark.gen_test(timeout=180)
async def test_a_running_portal_is_checked_with_all_its_tenants(console: ConsoleWorld) -> None:
    world = console.world
    ran = await run(world, "--json", group="doctor", code=None)
    found: list[dict[str, Any]] = json.loads(ran.out)["results"]
    assert {one["status"] for one in found if one["area"] == "proxy"} == {"pass"}
    assert {one["status"] for one in found if one["area"] == "database"} == {"pass"}
    seen = {one["area"]: one["check"] for one in found}
    assert {"acme, provider default", "globex, provider default"} <= seen.keys(), "a file, and the database"
    asked = [one for one in found if one["check"] == "discovery"]
    assert {one["status"] for one in asked} == {"pass"}
    assert "checking the proxy" in ran.err
    tenants = [console.registry.get(slug) for slug in ("acme", "globex")]
    secrets = [one for tenant in tenants if tenant for one in tenant.default_provider.client_secrets]
    assert len(secrets) == 2
    assert [secret for secret in secrets if secret.reveal() in ran.out + ran.err] == []


@pytest.mark.gen_test(timeout=180)
async def test_a_tenant_of_the_database_that_cannot_be_served_is_a_problem(console: ConsoleWorld) -> None:
    world = console.world
    store = world.running.portal.store
    (revision,) = await console.services.store.list_revisions("globex", before=None, most=1)
    statement = "UPDATE revisions SET content = 'name: [' WHERE tenant = 'globex' AND number = ?"
    await store._file.write(lambda database: database.execute(statement, (revision.number,)).rowcount)  # type: ignore[attr-defined]
    ran = await run(world, "--json", "--offline", group="doctor", code=1)
    failed = [one for one in json.loads(ran.out)["results"] if one["status"] == "fail"]
    assert {(one["area"], one["check"]) for one in failed} == {("tenants", "database")}
    assert "portal tenant history globex" in failed[0]["advice"]
