"""Runs of live checks: one at a time for each tenant, a few in all, the same results in every process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import pytest

from portal.admin import check_runs
from portal.admin.check_runs import KEPT, LONGEST_RUN, PAUSE, CheckRuns, ChecksRefused, RunState
from portal.errors import StoreUnavailable
from portal.tenancy.checks.live.model import CheckResult, Context, Status


class Meta:
    """Metadata of a database; `failures` is how many further operations fail."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.failures = 0

    async def get_meta(self, meta_id: str) -> str | None:
        self._fail()
        return self.values.get(meta_id)

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        self._fail()
        if self.values.get(meta_id) != expected:
            return False
        self.values[meta_id] = value
        return True

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("down")


class Checks:
    """Live checks that end when they are told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.running = 0

    async def run(
        self, contexts: Sequence[Context], *, progress: Callable[[CheckResult], None]
    ) -> list[CheckResult]:
        self.running += 1
        progress(result("first"))
        await self.may_end.wait()
        return [result("first"), result("second", "x" * 5_000)]


def result(check: str, seen: str = "seen") -> CheckResult:
    return CheckResult("acme", "default", check, Status.PASS, seen)


MADE_AT = 5.25


class Bench:
    """Two processes with the same database."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.meta = Meta()
        self.checks = Checks()
        self.here, self.there = (CheckRuns(self.meta, clock=lambda: self.now) for _ in range(2))

    async def begin(self, runs: CheckRuns | None = None, slug: str = "acme") -> None:
        await (runs or self.here).begin(slug, [], version=7, made_at=MADE_AT)

    async def state(self, runs: CheckRuns) -> RunState | None:
        report = await runs.report("acme", made_at=MADE_AT)
        return report.state if report is not None else None

    async def until(self, state: RunState) -> None:
        async with asyncio.timeout(5):
            while await self.state(self.there) is not state:
                await asyncio.sleep(0.005)


@pytest.fixture
def short_steps() -> Any:
    with mock.patch.object(check_runs, "_STEP", 0.01):
        yield


def test_every_process_shows_the_progress_and_the_results(short_steps: None) -> None:
    async def story() -> None:
        bench = Bench()
        with mock.patch.object(check_runs, "run_live_checks", bench.checks.run):
            await bench.begin()
            await bench.until(RunState.RUNNING)
            async with asyncio.timeout(5):
                while not (report := await bench.there.report("acme", made_at=MADE_AT)) or not report.results:
                    await asyncio.sleep(0.005)
            assert [one.check for one in report.results] == ["first"]
            bench.checks.may_end.set()
            await bench.until(RunState.DONE)
            report = await bench.there.report("acme", made_at=MADE_AT)
            assert report is not None
            assert (report.version, report.count(Status.PASS)) == (7, 2)
            assert await bench.there.report("acme", made_at=MADE_AT + 1) is None, "of the next tenant"
            assert len(report.results[1].seen) < 1_000
            bench.now += KEPT + 1
            assert await bench.there.report("acme", made_at=MADE_AT) is None
            await bench.here.close()

    asyncio.run(story())


def test_there_is_one_run_at_a_time_and_then_a_pause(short_steps: None) -> None:
    async def story() -> None:
        bench = Bench()
        with mock.patch.object(check_runs, "run_live_checks", bench.checks.run):
            await bench.begin()
            for runs in (bench.here, bench.there):
                with pytest.raises(ChecksRefused):
                    await bench.begin(runs)
            bench.checks.may_end.set()
            await bench.until(RunState.DONE)
            bench.now += PAUSE - 1
            with pytest.raises(ChecksRefused) as caught:
                await bench.begin(bench.there)
            assert caught.value.retry_after == 2
            bench.now += 1.5
            await bench.begin(bench.there)
            await bench.here.close()
            await bench.there.close()

    asyncio.run(story())


def test_a_process_runs_a_few_at_the_same_time() -> None:
    async def story() -> None:
        bench = Bench()
        with mock.patch.object(check_runs, "run_live_checks", bench.checks.run):
            for number in range(check_runs.MOST_RUNS):
                await bench.begin(slug=f"tenant-{number}")
            with pytest.raises(ChecksRefused):
                await bench.begin(slug="one-more")
            await bench.begin(bench.there, slug="one-more")
            await bench.here.close()
            await bench.there.close()
            await bench.begin(slug="after-the-others")
            await bench.here.close()

    asyncio.run(story())


def test_a_run_whose_process_ended_is_interrupted_and_can_be_repeated() -> None:
    async def story() -> None:
        bench = Bench()
        with mock.patch.object(check_runs, "run_live_checks", bench.checks.run):
            await bench.begin()
            await asyncio.sleep(0)
            await bench.here.close()
            assert await bench.state(bench.there) is RunState.RUNNING
            bench.now += LONGEST_RUN + 1
            assert await bench.state(bench.there) is RunState.INTERRUPTED
            await bench.begin(bench.there)
            assert await bench.state(bench.here) is RunState.RUNNING
            await bench.there.close()

    asyncio.run(story())


def test_results_are_stored_when_the_database_responds_again(short_steps: None) -> None:
    async def story() -> None:
        bench = Bench()
        with mock.patch.object(check_runs, "run_live_checks", bench.checks.run):
            await bench.begin()
            bench.meta.failures = 3
            bench.checks.may_end.set()
            async with asyncio.timeout(5):
                while bench.meta.failures:
                    await asyncio.sleep(0.005)
            await bench.until(RunState.DONE)
            await bench.here.close()

    asyncio.run(story())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "paused"}', "null"])
def test_a_run_of_a_later_version_is_none(text: str) -> None:
    async def story() -> None:
        bench = Bench()
        bench.meta.values["live_checks:acme"] = text
        assert await bench.here.report("acme", made_at=MADE_AT) is None

    asyncio.run(story())
