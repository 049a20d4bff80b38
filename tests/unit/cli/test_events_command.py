"""`portal events`: what it prints, its filters and errors."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind, Outcome
from portal.clock import now
from portal.stores.sqlite.events import SQLiteEvents
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Event
from tests.unit.cli.test_main import Run, run

__all__ = ["run"]

T = TypeVar("T")


def with_store(work: Callable[[SQLiteStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        Path("var").mkdir(exist_ok=True)
        store = SQLiteStore(Path("var/portal.db"))
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def event(kind: EventKind, tenant: str = "acme", *, ago: float = 0.0, **changes: str) -> Event:
    act = Act(Actor(ActorType.USER, changes.pop("subject", "alice"), "https://id.acme.example"), **changes)
    outcome = Outcome.REFUSED if kind is EventKind.SIGN_IN_REFUSED else Outcome.DONE
    return act.event(kind, tenant=tenant, at=round(now() - ago, 3), outcome=outcome)


EVENTS = (EventKind.SIGNED_IN, EventKind.SIGN_IN_REFUSED, EventKind.SIGNED_OUT)


def fill(*events: Event) -> None:
    with_store(lambda store: store.tenants.add_events(events))


def test_events_are_printed_the_oldest_first_as_text_or_json(run: Run) -> None:
    fill(event(EventKind.SIGNED_OUT, ago=5), event(EventKind.SIGNED_IN, ago=50, reason="a\x1b[31m\x9bb"))
    done = run("events")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert "signed_in" in first
    assert "signed_out" in second
    assert not any(ord(character) < 32 or ord(character) == 0x9B for character in first)
    lines = [json.loads(line) for line in run("events", "--json").out.splitlines()]
    assert [line["kind"] for line in lines] == ["signed_in", "signed_out"]
    assert lines[0]["actor"] == {"type": "user", "subject": "alice", "provider": "https://id.acme.example"}
    assert run("events", "--json").out.isascii()


def test_filters_select_by_tenant_kind_outcome_and_time(run: Run) -> None:
    fill(
        *(event(kind, ago=60) for kind in EVENTS),
        event(EventKind.SIGNED_IN, "globex", ago=7200),
        event(EventKind.SIGNED_IN, "globex", ago=30),
    )

    def found(*arguments: str) -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in run("events", "--json", *arguments).out.splitlines()]
        return [(line["tenant"], line["kind"]) for line in lines]

    assert found("--tenant", "globex") == [("globex", "signed_in")] * 2
    assert found("--tenant", "globex", "--since", "1h") == [("globex", "signed_in")]
    assert found("--outcome", "refused") == [("acme", "sign_in_refused")]
    both = found("--kind", "signed_out", "--kind", "sign_in_refused")
    assert set(both) == {("acme", "signed_out"), ("acme", "sign_in_refused")}
    assert found("--tenant", "unknown") == []


def test_more_events_than_a_page_are_each_printed_once(run: Run) -> None:
    fill(*(event(EventKind.SIGNED_IN, ago=2000 - number, subject=str(number)) for number in range(1203)))
    lines = run("events", "--json").out.splitlines()
    assert [json.loads(line)["actor"]["subject"] for line in lines] == [str(n) for n in range(1203)]


def test_a_damaged_event_does_not_end_the_list(run: Run) -> None:
    fill(*(event(EventKind.SIGNED_IN, ago=2000 - number, subject=str(number)) for number in range(703)))
    with closing(sqlite3.connect("var/portal.db")) as database, database:
        database.execute(
            "UPDATE events SET actor = x'ff' WHERE id = (SELECT id FROM events ORDER BY id LIMIT 1)"
        )
    lines = run("events", "--json").out.splitlines()
    assert [json.loads(line)["actor"]["subject"] for line in lines] == [str(n) for n in range(1, 703)]


def test_events_that_were_set_aside_wait_again_once(run: Run) -> None:
    made = [event(EventKind.SIGNED_IN, ago=number) for number in range(3)]
    fill(*made)
    with_store(lambda store: store.tenants.set_aside_events([made[0].id, made[2].id]))
    listed = [json.loads(line)["id"] for line in run("events", "--set-aside", "--json").out.splitlines()]
    assert listed == [made[2].id, made[0].id]
    assert run("events", "--deliver-again").out == "2 events wait for their delivery again.\n"
    assert run("events", "--deliver-again").out == "Nothing was set aside.\n"
    assert run("events", "--set-aside").out == ""


def test_events_that_a_portal_sets_aside_again_at_once_do_not_keep_the_command_busy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def set_aside_meanwhile(self: SQLiteEvents, *, most: int) -> int:
        calls.append(most)
        assert len(calls) < 3
        return 1

    monkeypatch.setattr(SQLiteEvents, "deliver_again", set_aside_meanwhile)
    fill()
    assert run("events", "--deliver-again").out == "One event waits for its delivery again.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "yesterday"), "must be a duration such as 90s, 10m, 12h or 7d"),
        (("--kind", "sign-in"), "'sign-in' is not one of"),
        (("--tenant", "Not A Slug"), "is not the name of a tenant"),
    ],
)
def test_wrong_arguments_are_named(run: Run, arguments: tuple[str, ...], message: str) -> None:
    done = run("events", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
