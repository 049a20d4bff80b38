"""The probe of /readyz is cheap for whoever asks often, and does what calls do."""

from __future__ import annotations

import asyncio

import pytest

from portal.errors import StoreUnavailable
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
async def test_the_database_is_asked_once_a_second_however_many_ask() -> None:
    scene = Scene()
    scene.database.gate.clear()
    asking = [asyncio.ensure_future(scene.probe.check()) for _ in range(50)]
    await asyncio.sleep(0)
    scene.database.gate.set()
    await asyncio.gather(*asking)
    scene.clock.advance(0.9)
    await scene.probe.check()
    assert scene.database.probes == 1
    scene.clock.advance(0.2)
    await scene.probe.check()
    assert scene.database.probes == 2


@pytest.mark.gen_test
async def test_a_failure_counts_for_a_second_too() -> None:
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
async def test_what_calls_could_not_read_is_read_again_until_it_can_be_read() -> None:
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
async def test_a_call_that_was_served_afterwards_says_that_calls_are_served() -> None:
    scene = Scene()
    with pytest.raises(StoreUnavailable):
        await scene.reader.read("damaged")
    assert await scene.reader.read("healthy") == (None, None)
    await scene.probe.check()


@pytest.mark.gen_test
async def test_who_gives_up_asking_does_not_take_the_others_with_it() -> None:
    scene = Scene()
    scene.database.gate.clear()
    leaving, staying = (asyncio.ensure_future(scene.probe.check()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    scene.database.gate.set()
    await staying
