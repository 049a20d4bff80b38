"""`portal session list` and `end`, beside a running portal on the same database."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from portal.admin import logins
from portal.admin.login_filter import LoginFilter
from tests.kit.console import ConsoleWorld
from tests.kit.provider_logout import calls
from tests.kit.world import World


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


async def run(
    world: World, *arguments: str, group: str = "session", typed: str = "", code: int | None = 0
) -> Ran:
    """Run a command in a process of its own. Parameters: code, None for any."""
    settings = world.settings
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PORTAL_")}
    environment |= {
        "PORTAL_PUBLIC_URL": settings.public_url,
        "PORTAL_TENANTS": str(settings.tenants),
        "PORTAL_DATABASE": settings.database,
        "PORTAL_KEYS": str(settings.keys),
        "PORTAL_ALLOW_PRIVATE_NETWORKS": "true",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portal", group, *arguments),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(typed.encode())
    ran = Ran(process.returncode or 0, out.decode(), err.decode())
    assert code is None or ran.code == code, ran
    return ran


async def listed(world: World, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await run(world, "list", "--json", *options)).out)
    return found


def users(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['tenant']} {one['email'].partition('@')[0]}" for one in found]


@pytest.mark.gen_test(timeout=120)
async def test_logins_of_files_and_of_the_database_are_listed_and_filtered(console: ConsoleWorld) -> None:
    world = console.world
    everybody = await listed(world)
    assert users(everybody) == ["acme bob", "acme alice", "globex hank", "globex gina"]
    assert users(await listed(world, "--tenant", "globex")) == ["globex hank", "globex gina"]
    gina = everybody[3]
    for options in (
        ("--user", "gina@globex.example"),
        ("--user", gina["subject"], "--tenant", "globex"),
        ("--session", gina["session"], "--issuer", gina["issuer"]),
    ):
        assert await listed(world, *options) == [gina], options
    for options in (
        ("--user", "GINA@globex.example"),
        ("--session", gina["session"], "--issuer", everybody[0]["issuer"]),
        ("--device", "no such browser"),
    ):
        assert await listed(world, *options) == [], options
    assert len(await listed(world, "--device", gina["device"].upper())) == 4
    table = (await run(world, "list", "--tenant", "acme")).out.splitlines()
    assert table[0].startswith("signed in ")
    assert len(table) == 3
    assert "alice@acme.example" in table[2]


@pytest.mark.gen_test(timeout=120)
async def test_an_ended_login_is_over_in_the_running_portal_and_its_tokens_are_revoked(
    console: ConsoleWorld,
) -> None:
    world = console.world
    assert await calls(world, console.user, "globex") == 200
    ran = await run(world, "end", "--user", "hank@globex.example", "--reason", "left", typed="y\n")
    assert "hank@globex.example" in ran.out
    assert "End one login? [y/N]" in ran.out
    assert ran.out.endswith("Ended one login.\n")
    assert await calls(world, console.user, "globex") == 401
    assert await calls(world, console.admin, "globex") == 200
    assert world.globex.requests["revocation"] == 1
    events = await console.services.store.list_events()
    (event,) = [one for one in events if one.kind == "login_ended"]
    assert (event.tenant, event.reason) == ("globex", "left")
    assert json.loads(event.actor)["type"] == "operator"


@pytest.mark.gen_test(timeout=120)
async def test_nothing_ends_without_consent_or_without_saying_what(console: ConsoleWorld) -> None:
    world = console.world
    ran = await run(world, "end", "--tenant", "globex", typed="n\n", code=130)
    assert "End 2 logins? [y/N]" in ran.out
    assert "say which logins to end" in (await run(world, "end", "--yes", code=2)).err
    assert "No login matches." in (await run(world, "end", "--yes", "--user", "nobody")).out
    assert len(await listed(world)) == 4
    assert (await run(world, "end", "--yes", "--all")).out.endswith("Ended 4 logins.\n")
    assert await listed(world) == []
    assert (await run(world, "list")).out == "Nobody is signed in.\n"


@pytest.mark.gen_test(timeout=120)
async def test_a_search_continues_where_a_page_stopped_reading(console: ConsoleWorld) -> None:
    """The pages of a search are bounded by what they read, not by what they find."""
    found = []
    with mock.patch.object(logins, "_READ_AT_ONCE", 1), mock.patch.object(logins, "MOST_SEARCHED", 1):
        after, pages = None, 0
        while True:
            page = await console.services.logins.list(
                "globex", after=after, matching=LoginFilter(user="gina@globex.example")
            )
            found += [one.found.login.claims["email"] for one in page.logins]
            pages += 1
            if (after := page.more_after) is None:
                break
    assert found == ["gina@globex.example"]
    assert pages == 3
