"""Leases and expiry use the database's clock, never the clock of a host."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from portal.clock import now
from portal.stores.clock_check import ClockCheck
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_attempt, new_login, new_session, new_step
from tests.contract.patience import patient_url
from tests.kit.samples import ManualClock
from tests.mongodb import fresh_database

DAY = 86_400.0
SLACK = 3.0
"""The largest error in seconds of a measured clock on a busy machine."""


@contextmanager
def host_clock_off_by(seconds: float) -> Iterator[None]:
    """Everything in this process reads a wrong clock."""
    right = time.time

    def wrong() -> float:
        return right() + seconds

    with mock.patch("time.time", wrong):
        yield


@pytest.fixture
def mongodb_url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as url:
        yield url


@pytest.mark.parametrize("wrong_by", [-DAY, -25.0, 25.0, DAY])
@pytest.mark.gen_test
async def test_a_host_with_a_wrong_clock_measures_the_clock_of_mongodb(
    mongodb_url: str, wrong_by: float
) -> None:
    with host_clock_off_by(wrong_by):
        store = MongoStore(patient_url(mongodb_url))
        await store.open()
        measured, check = store.time(), ClockCheck(store, clock=now)
        offset = check.offset
    assert abs(measured - time.time()) < SLACK
    assert abs(offset - wrong_by) < SLACK
    await store.close()


@pytest.mark.gen_test
async def test_a_host_whose_clock_jumps_forward_deletes_and_expires_nothing(
    mongodb_url: str,
) -> None:
    store = MongoStore(patient_url(mongodb_url))
    await store.open()
    session = new_session()
    login = new_login(session)
    await store.add_session(session)
    await store.put_login(login)
    await store.add_attempt(new_attempt())
    await store.add_logout_step(new_step())
    with host_clock_off_by(DAY):
        assert await store.purge() == 0
        await store.maintain()
        found = await store.read([session.id], [login.id], now=store.time())
        assert found == ({session.id: session}, {login.id: login})
        assert not ClockCheck(store, clock=now).may_sweep()
    await store.close()


@pytest.mark.parametrize("wrong_by", [-25.0, 25.0])
@pytest.mark.gen_test
async def test_one_of_two_hosts_with_clocks_25_seconds_apart_gets_the_lease(
    mongodb_url: str, wrong_by: float
) -> None:
    right = MongoStore(patient_url(mongodb_url))
    await right.open()
    with host_clock_off_by(wrong_by):
        wrong = MongoStore(patient_url(mongodb_url))
        await wrong.open()
    twice = 0
    for number in range(20):
        login = new_login()
        await right.put_login(login)
        first, second = (right, wrong) if number % 2 else (wrong, right)
        with host_clock_off_by(wrong_by if first is wrong else 0.0):
            assert await first.acquire_lease(login.id, owner="first", seconds=20)
        with host_clock_off_by(wrong_by if second is wrong else 0.0):
            twice += await second.acquire_lease(login.id, owner="second", seconds=20) is not None
    assert twice == 0
    await right.close()
    await wrong.close()


@pytest.mark.gen_test
async def test_a_lease_on_sqlite_begins_with_the_write_lock(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "portal.db"
    store = SQLiteStore(path, clock=clock, busy=20.0)
    await store.open()
    login = new_login(expires_at=clock() + DAY)
    await store.put_login(login)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        requested_at = clock()
        leasing = asyncio.ensure_future(store.acquire_lease(login.id, owner="one", seconds=20))
        await asyncio.sleep(0.05)
        assert not leasing.done()
        clock.advance(60)
        other.execute("ROLLBACK")
    leased = await leasing
    assert leased is not None
    assert leased.lease_expires_at == requested_at + 60 + 20
    await store.close()


@pytest.mark.parametrize(
    ("seconds", "transactions"), [(60.0, 3), (1e-9, 9)], ids=["3, 6, 1 logins", "3 logins, then 1 each"]
)
@pytest.mark.gen_test
async def test_a_sweep_of_sqlite_deletes_in_transactions_of_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, transactions: int
) -> None:
    monkeypatch.setattr("portal.stores.sqlite.store._PURGED_AT_FIRST", 3)
    monkeypatch.setattr("portal.stores.sqlite.store._PURGE_SECONDS", seconds)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    clock = ManualClock()
    store = SQLiteStore(tmp_path / "portal.db", clock=clock)
    await store.open()
    for _ in range(10):
        await store.put_login(new_login(expires_at=clock() + 1))
    kept = new_login(expires_at=clock() + 100)
    await store.put_login(kept)
    clock.advance(2)
    assert await store.purge() == 10
    assert len(pauses) == transactions - 1
    assert await store.read((), [kept.id], now=clock()) == ({}, {kept.id: kept})
    await store.close()
