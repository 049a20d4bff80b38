"""A provider that fails is asked less and less often, and at once again when it has recovered."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from portal.errors import PortalError
from portal.oidc.errors import ProviderUnavailable, RefreshRejected, TokenResponseMalformed
from portal.sessions import provider_breaker
from portal.sessions.provider_breaker import FAILURE_THRESHOLD, LONGEST_PAUSE, ProviderBreaker
from tests.kit.samples import ManualClock


def _asked(
    breaker: ProviderBreaker, error: PortalError | None = None, provider: str = "acme/default"
) -> bool:
    """Make one request that ends with an error or well; whether it went through."""
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
async def test_pauses_grow_to_a_minute_and_end_with_the_first_success() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    asked_at = []
    while clock.time < 600:
        if _asked(breaker, DOWN):
            asked_at.append(clock.time)
        clock.advance(0.5)
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert pauses[:8] == [0.5, 0.5, 1, 2, 4, 8, 16, 32]
    assert {*pauses[8:]} == {LONGEST_PAUSE}
    clock.advance(LONGEST_PAUSE)
    assert _asked(breaker)
    assert _asked(breaker), "nothing is left of the failures"
    assert _asked(breaker, DOWN)
    assert _asked(breaker, DOWN)
    assert _asked(breaker)


@pytest.mark.gen_test
async def test_who_is_not_let_through_is_told_when_to_come_back() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        _asked(breaker, DOWN)
    clock.advance(0.2)
    with pytest.raises(ProviderUnavailable) as refused:
        breaker.check("acme/default")
    assert refused.value.retry_after == 1
    breaker.check("globex/default")
    assert _asked(breaker, provider="globex/default"), "another provider is not concerned"


@pytest.mark.gen_test
async def test_after_a_pause_one_request_goes_through_at_a_time() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        _asked(breaker, DOWN)
    clock.advance(1)
    with breaker.request("acme/default"):
        assert not _asked(breaker)
        clock.advance(provider_breaker.SLOW_SECONDS - 0.1)
        assert not _asked(breaker)
        clock.advance(0.1)
        assert _asked(breaker), "a probe that hangs keeps the next one out for a while only"
    assert _asked(breaker)


@pytest.mark.gen_test
async def test_many_requests_that_fail_together_make_one_pause() -> None:
    clock = ManualClock(0)
    breaker = ProviderBreaker(clock)
    under_way = [breaker.request("acme/default") for _ in range(200)]
    for request in under_way:
        request.__enter__()
        clock.advance(0.001)
    for request in under_way:
        assert not request.__exit__(ProviderUnavailable, DOWN, None)
    clock.advance(1)
    assert _asked(breaker)


@pytest.mark.gen_test
async def test_a_request_that_hangs_counts_as_a_failure_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provider_breaker, "SLOW_SECONDS", 0.01)
    breaker = ProviderBreaker()
    under_way = [breaker.request("acme/default") for _ in range(FAILURE_THRESHOLD)]
    for request in under_way:
        request.__enter__()
    async with asyncio.timeout(20):
        while True:
            try:
                breaker.check("acme/default")
            except ProviderUnavailable:
                break
            await asyncio.sleep(0.005)
    under_way[0].__exit__(None, None, None)
    breaker.check("acme/default")
    assert _asked(breaker), "a late success is a success"


@pytest.mark.gen_test
async def test_a_refusal_of_one_login_is_no_failure_of_the_provider_and_nonsense_is() -> None:
    breaker = ProviderBreaker(ManualClock(0))
    for _ in range(2 * FAILURE_THRESHOLD):
        assert _asked(breaker, RefreshRejected("no", error="invalid_grant"))
    for _ in range(FAILURE_THRESHOLD):
        assert _asked(breaker, TokenResponseMalformed("nonsense"))
    assert not _asked(breaker)
