"""A failing provider receives fewer and fewer requests, and all of them once it has recovered."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from portal.errors import PortalError
from portal.oidc.errors import ProviderUnavailable, RefreshRejected, TokenResponseMalformed
from portal.sessions import provider_breaker
from portal.sessions.provider_breaker import FAILURE_THRESHOLD, LONGEST_PAUSE, ProviderBreaker
from tests.kit.samples import ManualClock


def _is_allowed(
    breaker: ProviderBreaker, error: PortalError | None = None, provider: str = "acme/default"
) -> bool:
    """Make one request that succeeds or fails with `error`; return whether the breaker allowed it."""
    reached = False
    try:
        with breaker.request(provider):
            reached = True
            if error is not None:
                raise error
    except PortalError:
        return reached
    return reached


DOWN = ProviderUnavailable("down")


@pytest.mark.gen_test
async def test_pauses_grow_to_the_longest_and_end_with_the_first_success() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    allowed_at = []
    while clock.time < 600:
        if _is_allowed(breaker, DOWN):
            allowed_at.append(clock.time)
        clock.advance(0.5)
    pauses = [after - before for before, after in pairwise(allowed_at)]
    assert pauses[:6] == [0.5, 0.5, 1, 2, 4, 8]
    assert {*pauses[6:]} == {LONGEST_PAUSE}
    clock.advance(LONGEST_PAUSE)
    assert _is_allowed(breaker)
    assert _is_allowed(breaker), "a success resets the count of failures"
    assert _is_allowed(breaker, DOWN)
    assert _is_allowed(breaker, DOWN)
    assert _is_allowed(breaker)


@pytest.mark.gen_test
async def test_a_paused_request_fails_with_a_retry_time() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        _is_allowed(breaker, DOWN)
    clock.advance(0.2)
    with pytest.raises(ProviderUnavailable) as refused:
        breaker.check("acme/default")
    assert refused.value.retry_after == 1
    breaker.check("globex/default")
    assert _is_allowed(breaker, provider="globex/default"), "another provider is not affected"


@pytest.mark.gen_test
async def test_after_a_pause_one_request_is_allowed_at_a_time() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        _is_allowed(breaker, DOWN)
    clock.advance(1)
    with breaker.request("acme/default"):
        assert not _is_allowed(breaker)
        clock.advance(provider_breaker.SLOW_SECONDS - 0.1)
        assert not _is_allowed(breaker)
        clock.advance(0.1)
        assert _is_allowed(breaker), "a hanging probe blocks the next one only for SLOW_SECONDS"
    assert _is_allowed(breaker)


@pytest.mark.gen_test
async def test_concurrent_failures_cause_one_pause() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    running = [breaker.request("acme/default") for _ in range(200)]
    for request in running:
        request.__enter__()
        clock.advance(0.001)
    for request in running:
        assert not request.__exit__(ProviderUnavailable, DOWN, None)
    clock.advance(1)
    assert _is_allowed(breaker)


@pytest.mark.gen_test
async def test_a_hanging_request_counts_as_a_failure_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provider_breaker, "SLOW_SECONDS", 0.01)
    breaker = ProviderBreaker()
    running = [breaker.request("acme/default") for _ in range(FAILURE_THRESHOLD)]
    for request in running:
        request.__enter__()
    async with asyncio.timeout(20):
        while True:
            try:
                breaker.check("acme/default")
            except ProviderUnavailable:
                break
            await asyncio.sleep(0.005)
    running[0].__exit__(None, None, None)
    breaker.check("acme/default")
    assert _is_allowed(breaker), "a late success is a success"


@pytest.mark.gen_test
async def test_a_refused_refresh_token_is_no_failure_of_the_provider_but_a_malformed_response_is() -> None:
    breaker = ProviderBreaker(ManualClock(0))
    for _ in range(2 * FAILURE_THRESHOLD):
        assert _is_allowed(breaker, RefreshRejected("no", error="invalid_grant"))
    for _ in range(FAILURE_THRESHOLD):
        assert _is_allowed(breaker, TokenResponseMalformed("not JSON"))
    assert not _is_allowed(breaker)


@pytest.mark.gen_test
async def test_a_hanging_request_that_fails_later_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_breaker, "SLOW_SECONDS", 0.001)
    breaker = ProviderBreaker()
    hanging = breaker.request("acme/default")
    hanging.__enter__()
    await asyncio.sleep(0.01)
    assert not hanging.__exit__(ProviderUnavailable, DOWN, None)
    for _ in range(FAILURE_THRESHOLD - 1):
        assert _is_allowed(breaker, DOWN)
    assert not _is_allowed(breaker)


@pytest.mark.gen_test
async def test_a_failing_provider_and_its_recovery_are_logged_once() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    with capture_logs() as lines:
        for _ in range(FAILURE_THRESHOLD):
            _is_allowed(breaker, DOWN)
        clock.advance(1)
        assert _is_allowed(breaker, DOWN)
        clock.advance(2)
        assert _is_allowed(breaker)
    assert [line["event"] for line in lines] == ["provider_failing", "provider_recovered"]
