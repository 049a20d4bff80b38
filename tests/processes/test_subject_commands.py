"""`portal subject export` and `erase`, beside a running portal on the same database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.console import ConsoleWorld
from tests.kit.provider_logout import calls
from tests.kit.world import World
from tests.processes.test_session_commands import Ran, listed, run


async def subject(world: World, *arguments: str, typed: str = "", code: int = 0) -> Ran:
    """Run a `portal subject` command in a process of its own."""
    return await run(world, *arguments, group="subject", typed=typed, code=code)


async def gina(world: World) -> tuple[str, ...]:
    """The options for Gina, who is an admin of Globex."""
    (found,) = await listed(world, "--user", "gina@globex.example")
    return "--tenant", "globex", "--subject", str(found["subject"])


async def stored_events(console: ConsoleWorld) -> list[Any]:
    return [*await console.services.store.read_events(most=500)]


@pytest.mark.gen_test(timeout=120)
async def test_an_export_has_what_is_stored_and_is_an_event(console: ConsoleWorld) -> None:
    world = console.world
    options = await gina(world)
    stored = await console.services.logins.list("globex")
    tokens = [one.found.login.tokens for one in stored.logins]
    ran = await subject(world, "export", *options, "--reason", "article 15")
    document = json.loads(ran.out)
    (login,) = document["logins"]
    assert login["claims"]["email"] == "gina@globex.example"
    assert "signed_in" in {event["kind"] for event in document["events"]}
    assert {event["actor"]["subject"] for event in document["events"]} == {options[-1]}
    assert [token for token in tokens if token in ran.out] == []
    (event,) = [one for one in await stored_events(console) if one.kind == "subject_exported"]
    assert (event.tenant, event.target, event.reason) == ("globex", options[-1], "article 15")
    assert await calls(world, console.admin, "globex") == 200


@pytest.mark.gen_test(timeout=120)
async def test_an_erased_person_is_signed_out_and_named_nowhere(console: ConsoleWorld) -> None:
    world = console.world
    options = await gina(world)
    assert await calls(world, console.admin, "globex") == 200
    ran = await subject(world, "erase", *options, "--reason", "for gina@globex.example", typed="y\n")
    assert "Erase this person? It cannot be undone. [y/N]" in ran.out
    assert "Ended 1 login. The records now name erased-" in ran.out
    assert await calls(world, console.admin, "globex") == 401
    assert await calls(world, console.user, "globex") == 200
    assert world.globex.requests["revocation"] == 1
    events = await stored_events(console)
    assert "signed_in" in {event.kind for event in events}
    assert [event for event in events if options[-1] in repr(event) or "gina" in repr(event)] == []
    (event,) = [one for one in events if one.kind == "subject_erased"]
    assert event.target in ran.out
    assert json.loads(event.actor)["type"] == "operator"
    again = await subject(world, "erase", *options, "--yes")
    assert again.out == "Nothing is stored of this subject at globex.\n"
    exported = await subject(world, "export", *options)
    assert "Nothing is stored" in exported.err
    events = await stored_events(console)
    assert [event for event in events if options[-1] in repr(event)] == [], "the export stored the subject"


@pytest.mark.gen_test(timeout=120)
async def test_nothing_is_erased_without_consent(console: ConsoleWorld) -> None:
    world = console.world
    options = await gina(world)
    before = await stored_events(console)
    ran = await subject(world, "erase", *options, typed="n\n", code=130)
    assert "globex: " in ran.out
    assert "1 login: ended" in ran.out
    assert await stored_events(console) == before
    assert await calls(world, console.admin, "globex") == 200
    assert "Missing option" in (await subject(world, "erase", "--tenant", "globex", code=2)).err
    assert "--also" in (await subject(world, "export", *options, "--also", "an", code=2)).err
