"""The runner of live checks: order, limits, and results for what cannot be checked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

import pytest

from portal.clock import now
from portal.errors import OutboundFailed
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from portal.tenancy.checks.live.catalog import PROVIDER_CHECKS
from portal.tenancy.checks.live.model import (
    Check,
    CheckResult,
    Context,
    Finding,
    NotPossible,
    Status,
    passed,
)
from portal.tenancy.checks.live.runner import run_live_checks
from tests.kit.samples import sample_provider, sample_tenant


def context() -> Context:
    tenant = sample_tenant()
    return Context(tenant, tenant.default_provider, OutboundClient(), (), now)


async def run(*checks: Check, seconds: float = 9.0) -> list[CheckResult]:
    return await run_live_checks([context()], provider_checks=checks, tenant_checks=(), total_seconds=seconds)


def test_a_result_has_exactly_the_members_of_the_interface() -> None:
    result = CheckResult("acme", "default", "dns", Status.PASS, "seen")
    assert list(asdict(result)) == ["tenant", "provider", "check", "status", "seen", "advice", "where"]
    assert [status.value for status in Status] == ["pass", "warn", "fail", "skipped"]


def test_each_check_comes_after_those_whose_facts_it_uses() -> None:
    names: list[str] = []
    for one in PROVIDER_CHECKS:
        assert set(one.after) <= set(names), one.name
        names.append(one.name)
    assert len(names) == len(set(names))


@pytest.mark.gen_test
async def test_a_check_begins_when_earlier_ones_have_ended_and_others_run_side_by_side() -> None:
    order: list[str] = []

    def recorded(name: str, *after: str, pause: float = 0.0) -> Check:
        async def body(_: Context) -> list[Finding]:
            order.append(f"{name} begins")
            await asyncio.sleep(pause)
            order.append(f"{name} ends")
            return passed(name)

        return Check(name, body, after)

    results = await run(recorded("a", pause=0.02), recorded("b", "a"), recorded("c"))
    assert [result.seen for result in results] == ["a", "b", "c"]
    assert order.index("c ends") < order.index("a ends") < order.index("b begins")


@pytest.mark.gen_test
async def test_what_does_not_end_in_time_fails_and_the_rest_is_said_to_be_left_out() -> None:
    async def endless(_: Context) -> list[Finding]:
        await asyncio.Event().wait()
        return passed("never")

    async def quick(_: Context) -> list[Finding]:
        return passed("quick")

    results = await run(
        Check("slow", endless, seconds=0.05),
        Check("next", endless, ("slow",)),
        Check("last", quick, ("next",)),
        seconds=0.15,
    )
    assert [result.status for result in results] == ["fail", "fail", "skipped"]
    assert results[0].seen == "did not respond within 0.1 seconds"
    assert "earlier checks took all of the 0.15 seconds" in results[2].seen


@pytest.mark.gen_test
async def test_errors_and_reasons_become_results_and_progress_is_told() -> None:
    async def broken(_: Context) -> list[Finding]:
        raise OutboundFailed("the connection was reset")

    async def impossible(_: Context) -> list[Finding]:
        raise NotPossible("there is nothing to look at")

    told: list[CheckResult] = []
    results = await run_live_checks(
        [context()],
        provider_checks=(Check("broken", broken), Check("impossible", impossible)),
        tenant_checks=(),
        progress=told.append,
    )
    assert [(result.status.value, result.seen) for result in results] == [
        ("fail", "the connection was reset"),
        ("skipped", "there is nothing to look at"),
    ]
    assert told == results


@pytest.mark.gen_test
async def test_a_mistake_in_a_check_is_not_hidden() -> None:
    async def wrong(_: Context) -> list[Finding]:
        raise LookupError("a mistake")

    with pytest.raises(LookupError):
        await run(Check("wrong", wrong))


@pytest.mark.gen_test
async def test_providers_of_many_tenants_are_checked_side_by_side() -> None:
    running = most = 0

    async def body(_: Context) -> list[Finding]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return passed("")

    contexts = []
    for number in range(40):
        provider = sample_provider(f"t{number}", client_secret=Secret("x"))
        tenant = replace(sample_tenant(f"t{number}"), providers={"default": provider})
        contexts.append(Context(tenant, provider, OutboundClient(), (), now))
    results = await run_live_checks(contexts, provider_checks=(Check("x", body),), tenant_checks=())
    assert [result.tenant for result in results] == [f"t{number}" for number in range(40)]
    assert 2 <= most <= 16
