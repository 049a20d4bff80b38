"""The probe of /readyz performs the operations of a call, at most once a second."""

from __future__ import annotations

import asyncio
import gc

import pytest

from portal.errors import StoreUnavailable
from portal.sessions import probe
from portal.sessions.probe import StoreProbe
from portal.sessions.reader import BatchedReader
from tests.kit.samples import ManualClock


class Database:
    """Counts probes; reads of "damaged" fail until it is repaired."""

    def __init__(self) -> None:
        self.probes = 0
        self.broken = False
        self.damaged = {"damaged"}
        self.gate = asyncio.Event()
        self.gate.set()

    async def probe(self) -> None:
        self.probes += 1
        await self.gate.wait()
        if self.broken:
            raise StoreUnavailable("down")

    async def read(self, session_ids, login_ids, *, now):  # type: ignore[no-untyped-def]
        if self.damaged & set(session_ids):
            raise StoreUnavailable("the file is damaged")
        return {}, {}


class Scene:
    def __init__(self) -> None:
        self.database = Database()
        self.clock = ManualClock()
        self.reader = BatchedReader(self.database, clock=self.clock)  # type: ignore[arg-type]
        self.probe = StoreProbe(self.database, self.reader, monotonic=self.clock)  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_the_database_is_probed_at_most_once_a_second() -> None:
    scene = Scene()
    scene.database.gate.clear()
    checks = [asyncio.ensure_future(scene.probe.check()) for _ in range(50)]
    await asyncio.sleep(0)
    scene.database.gate.set()
    await asyncio.gather(*checks)
    scene.clock.advance(0.9)
    await scene.probe.check()
    assert scene.database.probes == 1
    scene.clock.advance(0.2)
    await scene.probe.check()
    assert scene.database.probes == 2


@pytest.mark.gen_test
async def test_a_failure_is_cached_for_a_second_too() -> None:
    scene = Scene()
    scene.database.broken = True
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await scene.probe.check()
    assert scene.database.probes == 1
    scene.database.broken = False
    scene.clock.advance(1.1)
    await scene.probe.check()


@pytest.mark.gen_test
async def test_a_failed_read_of_a_call_is_repeated_until_it_succeeds() -> None:
    scene = Scene()
    with pytest.raises(StoreUnavailable):
        await scene.reader.read("damaged")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await scene.probe.check()
        scene.clock.advance(1.1)
    scene.database.damaged.clear()
    await scene.probe.check()
    scene.database.damaged.add("damaged")
    scene.clock.advance(1.1)
    await scene.probe.check()


@pytest.mark.gen_test
async def test_a_later_successful_read_clears_the_failure() -> None:
    scene = Scene()
    with pytest.raises(StoreUnavailable):
        await scene.reader.read("damaged")
    assert await scene.reader.read("healthy") == (None, None)
    await scene.probe.check()


@pytest.mark.gen_test
async def test_a_cancelled_check_does_not_cancel_the_others() -> None:
    scene = Scene()
    scene.database.gate.clear()
    cancelled, waiting = (asyncio.ensure_future(scene.probe.check()) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    scene.database.gate.set()
    await waiting


@pytest.mark.gen_test
async def test_a_database_that_does_not_respond_fails_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TIMEOUT_SECONDS", 0.01)
    scene = Scene()
    scene.database.gate.clear()
    with pytest.raises(StoreUnavailable, match="in time"):
        await scene.probe.check()


@pytest.mark.gen_test
async def test_a_failure_that_no_check_waits_for_is_not_reported_as_an_unexpected_error() -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    scene = Scene()
    scene.database.gate.clear()
    scene.database.broken = True
    cancelled = asyncio.ensure_future(scene.probe.check())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    scene.database.gate.set()
    await asyncio.sleep(0.01)
    del scene, cancelled
    gc.collect()
    assert reported == []
