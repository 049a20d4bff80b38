from __future__ import annotations

import pytest

from portal.oidc.errors import MetadataRejected, ProviderUnavailable
from portal.oidc.recent_failures import LONGEST_PAUSE, RecentFailures
from tests.kit.samples import ManualClock


def remembered(failures: RecentFailures, key: str = "acme") -> bool:
    try:
        failures.check(key, None)
    except ProviderUnavailable:
        return True
    return False


def fail(
    failures: RecentFailures, key: str = "acme", *, owner: str = "acme", began: float | None = None
) -> None:
    failures.remember(key, ProviderUnavailable("down"), None, owner=owner, began=began)


def test_the_pauses_grow_to_half_a_minute() -> None:
    clock = ManualClock()
    failures = RecentFailures(clock)
    pauses = []
    for _ in range(8):
        fail(failures)
        pause = 0
        while remembered(failures):
            clock.advance(1)
            pause += 1
        pauses.append(pause)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_success_resets_the_pauses() -> None:
    clock = ManualClock()
    failures = RecentFailures(clock)
    for _ in range(5):
        fail(failures)
    failures.forget("acme")
    assert not remembered(failures)
    fail(failures)
    clock.advance(1)
    assert not remembered(failures)


def test_concurrent_attempts_count_as_one_failure() -> None:
    clock = ManualClock()
    failures = RecentFailures(clock)
    began = clock()
    for _ in range(10):
        clock.advance(0.05)
        fail(failures, began=began)
    clock.advance(0.6)
    assert not remembered(failures)
    fail(failures, began=clock())
    clock.advance(1.9)
    assert remembered(failures)


def test_a_failure_of_one_key_does_not_affect_another() -> None:
    failures = RecentFailures(ManualClock())
    fail(failures)
    assert not remembered(failures, "globex")


def test_D5_many_failures_of_one_tenant_evict_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.oidc.recent_failures._MAX_BYTES", 24_000)  # of 10 failures
    failures = RecentFailures(ManualClock())
    fail(failures, "globex", owner="globex")
    for number in range(20):
        fail(failures, f"acme/{number}")
    assert remembered(failures, "globex")


def test_a_clock_that_is_set_back_does_not_make_a_pause_longer() -> None:
    clock = ManualClock()
    failures = RecentFailures(clock)
    fail(failures)
    clock.advance(-86_400)
    assert not remembered(failures)


def test_the_cached_error_is_a_copy_that_says_when_it_is_retried() -> None:
    failures = RecentFailures(ManualClock())
    first = MetadataRejected("another issuer")
    failures.remember("acme", first, None, owner="acme")
    for _ in range(2):
        with pytest.raises(MetadataRejected) as raised:
            failures.check("acme", None)
        assert raised.value is not first
        assert raised.value.detail == "another issuer (failed recently; retried in 1 s)"


def test_an_unavailable_provider_is_asked_again_when_the_pause_is_over() -> None:
    clock = ManualClock()
    failures = RecentFailures(clock)
    for _ in range(3):
        fail(failures)
    clock.advance(1.5)
    with pytest.raises(ProviderUnavailable) as raised:
        failures.check("acme", None)
    assert raised.value.retry_after == 3
