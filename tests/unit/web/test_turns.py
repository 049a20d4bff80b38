"""Turns of WebSockets that become readable in the same iteration of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from portal.web.websocket.direction import Direction, TenantShare
from portal.web.websocket.turns import BUDGET_SECONDS, Turns
from tests.unit.web.test_direction import ONE, Ends, plenty

COST = BUDGET_SECONDS / 10


class Clock:
    """Time passes only where a test lets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Read:
    """What one socket sent: passing it on takes COST."""

    def __init__(self, name: str, clock: Clock, passed: list[str]) -> None:
        self._name = name
        self._clock = clock
        self._passed = passed

    def take_turn(self) -> None:
        self._clock.now += COST
        self._passed.append(self._name)


class Burst:
    """Sockets that become readable in this iteration; how many have passed after each."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.passed: list[str] = []

    def read(self, tenant: str) -> None:
        one = Read(tenant, self.clock, self.passed)
        if self.turns.may_pass():
            one.take_turn()
        else:
            self.turns.wait(tenant, one)

    async def iterate(self) -> int:
        """Let one iteration run; return how many have passed in it."""
        before = len(self.passed)
        await asyncio.sleep(0)
        return len(self.passed) - before


@pytest.mark.gen_test
async def test_few_reads_pass_at_once() -> None:
    burst = Burst()
    for _ in range(5):
        for _ in range(5):
            burst.read("acme")
        assert not len(burst.turns)
        await burst.iterate()


@pytest.mark.gen_test
async def test_no_iteration_passes_more_than_its_budget_and_all_pass() -> None:
    burst = Burst()
    for _ in range(200):
        burst.read("acme")
    assert len(burst.passed) < 30
    assert len(burst.passed) + len(burst.turns) == 200
    while len(burst.turns):
        assert 0 < await burst.iterate() <= 11
    assert len(burst.passed) == 200


@pytest.mark.gen_test
async def test_tenants_take_turns_however_many_sockets_they_have() -> None:
    burst = Burst()
    for _ in range(500):
        burst.read("acme")
    for _ in range(3):
        burst.read("globex")
    for _ in range(2):
        await burst.iterate()
    assert burst.passed.count("globex") == 3


@pytest.mark.gen_test
async def test_who_reads_while_others_wait_passes_nobody() -> None:
    burst = Burst()
    for _ in range(200):
        burst.read("acme")
    await burst.iterate()
    burst.clock.now += BUDGET_SECONDS  # the iteration has other work as well
    before = len(burst.passed)
    burst.read("globex")
    assert len(burst.passed) == before
    await burst.iterate()
    assert "globex" in burst.passed


def used_up() -> TenantShare:
    """The share of a tenant in an iteration whose budget is used up."""
    clock = Clock()
    turns = Turns(clock)
    while turns.may_pass():
        clock.now += COST
    return plenty(turns)


@pytest.mark.gen_test
async def test_a_direction_waits_for_its_turn_and_keeps_the_order() -> None:
    ends = Ends(shared=used_up())
    ends.direction.data_received(ONE)
    assert ends.sent == b""
    assert ends.direction.has_waiting_data
    reads = [ends.reads]
    ends.direction.data_received(ONE[:3])
    reads.append(ends.reads)
    assert reads == [True, False], "one read may wait without a pause, a second one must be the last"
    await asyncio.sleep(0)
    assert ends.sent == ONE + ONE[:3]
    assert ends.reads


@pytest.mark.gen_test
async def test_a_source_that_ends_before_the_turn_loses_nothing() -> None:
    ends, passed = Ends(shared=used_up()), []
    ends.direction.data_received(ONE)
    ends.direction.finish(lambda: passed.append(ends.sent))
    assert not passed
    await asyncio.sleep(0)
    assert passed == [ONE]


@pytest.mark.gen_test
async def test_a_direction_that_is_stopped_before_its_turn_passes_nothing() -> None:
    ends = Ends(shared=used_up())
    ends.direction.data_received(ONE)
    ends.direction.data_received(ONE)
    ends.direction.stop()
    assert ends.reads
    await asyncio.sleep(0)
    assert ends.sent == b""


class Received:
    """A part of a connection to an API that waits before it is decrypted."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction

    def take_turn(self) -> None:
        self._direction.data_received(ONE)


@pytest.mark.gen_test
async def test_what_has_its_turn_does_not_wait_for_another() -> None:
    ends = Ends(shared=used_up())
    assert not ends.direction.may_receive(Received(ends.direction))
    assert not ends.direction.may_receive(Received(ends.direction))
    await asyncio.sleep(0)
    assert ends.sent == ONE * 2
    assert not ends.direction.has_waiting_data
