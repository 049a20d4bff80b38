"""A locked or damaged database: calls continue where possible, other requests and /readyz fail at once."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.browser import Response
from tests.kit.world import World

SOON = 8.0
"""Seconds, generous for a busy machine. Without limits, it would wait as long as the lock or the queue."""


def file_of(world: World) -> Path:
    return Path(world.settings.database.removeprefix("sqlite:///"))


@contextlib.contextmanager
def locked(world: World) -> Iterator[None]:
    """Hold the write lock, as another process in a long transaction would."""
    with contextlib.closing(sqlite3.connect(file_of(world), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def details(response: Response) -> dict[str, Any]:
    return dict(json.loads(response.body))


@pytest.mark.gen_test(timeout=60)
async def test_calls_continue_while_the_file_is_locked_and_sign_ins_fail_at_once(
    world: World, log_lines: io.StringIO
) -> None:
    browser, other_browser = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    world.clock.advance(65)  # the next call must extend the idle limit, which is a write
    with locked(world):
        began = time.monotonic()
        responses = await asyncio.gather(
            *(browser.fetch(world.at("/t/acme/api/orders")) for _ in range(10)),
            other_browser.fetch(world.at("/t/acme/login")),
        )
        assert time.monotonic() - began < SOON
        assert [response.status for response in responses] == [200] * 10 + [503]
        assert responses[-1].headers["Retry-After"]
        for _ in range(5):
            assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert log_lines.getvalue().count("idle_limit_not_moved") in {1, 2}, "once in five seconds"
        ready = await other_browser.fetch(world.at("/readyz"))
        assert (ready.status, details(ready)["database"]) == (503, "unavailable")
    await asyncio.sleep(1.01)  # the result of a probe is cached for one second
    assert (await other_browser.fetch(world.at("/readyz"))).status == 200
    assert (await other_browser.fetch(world.at("/t/acme/login"))).status == 303


@pytest.mark.gen_test(timeout=60)
async def test_the_portal_is_not_ready_when_its_tables_are_damaged(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    with contextlib.closing(sqlite3.connect(file_of(world))) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page_size = other.execute("PRAGMA page_size").fetchone()[0]
        roots = [
            page
            for (page,) in other.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'sessions'")
        ]
    with file_of(world).open("r+b") as file:
        for root in roots:
            file.seek((root - 1) * page_size)
            file.write(os.urandom(page_size))
    with contextlib.closing(sqlite3.connect(file_of(world), isolation_level=None)) as other:
        other.execute("PRAGMA user_version")  # invalidates cached pages
        other.execute("REPLACE INTO meta (id, value) VALUES ('test', '')")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 503
    ready = await browser.fetch(world.at("/readyz"))
    assert ready.status == 503
    assert details(ready) | {"clock_offset": 0} == {
        "status": "unavailable",
        "code": "store_unavailable",
        "database": "unavailable",
        "tenants": 2,
        "tenants_without_file": 0,
        "clock_offset": 0,
        "warnings": [],
    }


@pytest.mark.gen_test
async def test_counters_of_a_portals_store_are_in_its_metrics(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    with contextlib.closing(sqlite3.connect(file_of(world), isolation_level=None)) as other:
        other.execute("UPDATE logins SET version = 'damaged'")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    rendered = world.running.portal.metrics.render().decode()
    assert 'portal_store_damaged_entries_total{kind="Login"}' in rendered
