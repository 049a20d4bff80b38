"""Token buckets of networks: rate, burst, larger networks, bounded memory. THREATS S15."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from portal.ops.token_buckets import LARGER, TokenBuckets
from portal.web.client_address import client_networks


class Clock:
    """A clock in seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(buckets: TokenBuckets, address: str, *, times: int) -> int:
    """How many of these requests of a client are allowed."""
    return sum(buckets.take(client_networks(address)) == 0.0 for _ in range(times))


def test_a_client_has_the_burst_and_then_the_rate(clock: Clock) -> None:
    buckets = TokenBuckets(rate=5, burst=20, monotonic=clock)
    assert taken(buckets, "192.0.2.1", times=30) == 20
    assert buckets.take(client_networks("192.0.2.1")) == pytest.approx(0.2)
    clock.now += 1.0
    assert taken(buckets, "192.0.2.1", times=30) == 5
    clock.now += 3600.0
    assert taken(buckets, "192.0.2.1", times=30) == 20


def test_no_more_is_taken_in_a_period_than_burst_and_rate_allow(clock: Clock) -> None:
    buckets = TokenBuckets(rate=5 / 600, burst=5, monotonic=clock)
    allowed: list[float] = []
    for _ in range(5_000):
        clock.now += 1.0
        if taken(buckets, "192.0.2.1", times=1):
            allowed.append(clock.now)
    for start in allowed:
        assert sum(start <= one < start + 600 for one in allowed) <= 10


def test_requests_that_are_refused_take_nothing(clock: Clock) -> None:
    buckets = TokenBuckets(rate=1, burst=1, monotonic=clock)
    assert taken(buckets, "192.0.2.1", times=1_000) == 1
    clock.now += 1.0
    assert taken(buckets, "192.0.2.1", times=1) == 1


def test_clients_of_other_networks_have_their_own(clock: Clock) -> None:
    buckets = TokenBuckets(rate=1, burst=10, monotonic=clock)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8:1:1::1", "2001:db8:1:2::1"):
        assert taken(buckets, address, times=20) == 10
    for same in ("::ffff:192.0.2.1", "2001:db8:1:1:ffff::9"):
        assert taken(buckets, same, times=20) == 0


@pytest.mark.parametrize("first", ["2001:db8:7::", "192.0.2.0"])
def test_S15_a_client_with_many_addresses_has_the_tokens_of_one_larger_network(
    clock: Clock, first: str
) -> None:
    buckets = TokenBuckets(rate=1, burst=10, monotonic=clock)
    base, step = ip_address(first), (1 << 64 if ":" in first else 1)
    allowed = sum(taken(buckets, str(base + number * step), times=20) for number in range(256))
    assert allowed == 10 * LARGER


def test_S15_a_full_table_stays_bounded_and_counts_new_clients_together(clock: Clock) -> None:
    buckets = TokenBuckets(rate=1, burst=2, monotonic=clock, most=30)
    sent = 3_000
    allowed = sum(
        taken(buckets, f"2001:{number:x}:1:1::1", times=1) for number in range(0x1000, 0x1000 + sent)
    )
    assert len(buckets) <= 34
    assert allowed <= 30 + 2 * LARGER**3
    assert taken(buckets, "2001:1000:1:1::1", times=5) == 1, "a client that is known keeps its bucket"
    clock.now += 10.0
    assert taken(buckets, "198.51.100.9", times=5) == 2, "full buckets still take memory"
    assert len(buckets) <= 4


def test_S15_a_full_table_does_not_let_everybody_through(clock: Clock) -> None:
    buckets = TokenBuckets(rate=1, burst=1, monotonic=clock, most=3)
    taken(buckets, "2001:db8::1", times=1)
    new = [f"{number}.1.1.1" for number in range(1, 200)] * (LARGER**3 // 100)
    assert sum(taken(buckets, one, times=1) for one in new) == LARGER**3


def test_an_unknown_client_is_not_counted(clock: Clock) -> None:
    buckets = TokenBuckets(rate=1, burst=1, monotonic=clock)
    for address in ("", "0.0.0.0", "::", "unix:"):
        assert taken(buckets, address, times=50) == 50
    assert len(buckets) == 0


def test_S15_a_full_table_of_the_usual_size_does_not_hold_the_loop() -> None:
    """CPU time of this thread, so that other programs do not matter."""
    clock = Clock()
    buckets = TokenBuckets(rate=0.001, burst=1, monotonic=clock)
    longest = 0.0
    for number in range(20_000):
        clock.now += 0.01
        networks = client_networks(f"2001:{number:x}:1:1::1")
        begun = time.thread_time()
        buckets.take(networks)
        longest = max(longest, time.thread_time() - begun)
    assert longest < 0.010
