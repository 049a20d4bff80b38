from __future__ import annotations

import asyncio
from collections.abc import Hashable

import pytest
from structlog.testing import capture_logs

from portal.oidc.cache import OUTAGE_SECONDS, STALE_SECONDS, DocumentCache, Fetched, Load, lifetime
from portal.oidc.errors import MetadataRejected, ProviderUnavailable
from portal.oidc.recent_failures import FIRST_PAUSE
from portal.outbound.client import OutboundResponse
from tests.kit.samples import ManualClock
from tests.unit.outbound.wire import until


class Source:
    """Loads a document whose value is the number of loads; may wait or fail first."""

    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds
        self.size = 1_000
        self.loads = 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self) -> Fetched[int]:
        self.loads += 1
        number = self.loads
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Fetched(number, self.seconds, self.size)


class Documents(DocumentCache[int]):
    """Documents of one tenant whose settings do not change, unless a test says otherwise."""

    async def get(
        self, key: Hashable, load: Load[int], *, owner: str = "acme", settings: object = None
    ) -> int:
        return await super().get(key, load, owner=owner, settings=settings)


@pytest.mark.gen_test
async def test_a_fresh_document_is_fetched_once() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    assert await cache.get("k", source) == 1
    time.advance(99.9)
    assert await cache.get("k", source) == 1
    assert source.loads == 1


@pytest.mark.gen_test
async def test_documents_of_different_keys_are_separate() -> None:
    cache = Documents(ManualClock())
    one, two = Source(), Source()
    await cache.get("a", one)
    await cache.get("b", two)
    assert (one.loads, two.loads) == (1, 1)


@pytest.mark.gen_test
async def test_concurrent_requests_for_a_document_cause_one_fetch() -> None:
    cache = Documents(ManualClock())
    source = Source()
    source.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(cache.get("k", source)) for _ in range(50)]
    await until(lambda: source.loads == 1)
    source.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert source.loads == 1


@pytest.mark.gen_test
async def test_a_stale_document_is_served_while_one_fetch_renews_it() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    time.advance(100)
    source.gate = asyncio.Event()
    assert [await cache.get("k", source) for _ in range(10)] == [1] * 10
    await until(lambda: source.loads == 2)
    source.gate.set()
    await until(lambda: cache.current("k") == 2)
    assert await cache.get("k", source) == 2
    assert source.loads == 2


@pytest.mark.gen_test
async def test_a_stale_document_is_served_while_the_provider_is_down_and_retried_at_intervals() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source, settings="as they are")
    source.error = ProviderUnavailable("down")
    for hours in range(1, 4):
        time.advance(3600)
        assert await cache.get("k", source, settings="as they are") == 1
        await until(lambda: not cache.is_loading("k"))
        assert await cache.get("k", source, settings="as they are") == 1
        assert not cache.is_loading("k")
        assert source.loads == 1 + hours
    source.error = None
    time.advance(31)
    await cache.get("k", source)
    await until(lambda: cache.current("k") == 5)


@pytest.mark.gen_test
async def test_a_document_that_expired_ten_minutes_ago_is_not_served_while_its_provider_responds() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    time.advance(100 + STALE_SECONDS - 0.1)
    assert await cache.get("k", source) == 1
    await until(lambda: cache.current("k") == 2)
    time.advance(100 + STALE_SECONDS)
    assert await cache.get("k", source) == 3


@pytest.mark.gen_test
async def test_a_document_whose_renewal_takes_long_is_served_for_ten_minutes_at_most() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    source.gate = asyncio.Event()
    time.advance(100)
    assert await cache.get("k", source) == 1
    time.advance(STALE_SECONDS)
    waiting = asyncio.ensure_future(cache.get("k", source))
    await asyncio.sleep(0)
    assert not waiting.done()
    source.gate.set()
    assert await waiting == 2


@pytest.mark.gen_test
async def test_a_document_is_served_for_a_day_at_most_while_its_provider_is_down() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    source.error = ProviderUnavailable("down")
    time.advance(100 + OUTAGE_SECONDS - 0.1)
    assert await cache.get("k", source) == 1
    time.advance(0.1)
    with pytest.raises(ProviderUnavailable):
        await cache.get("k", source)


@pytest.mark.gen_test
@pytest.mark.parametrize("overdue", [0.0, STALE_SECONDS, OUTAGE_SECONDS / 2])
async def test_a_document_with_another_issuer_drops_the_cached_one_at_any_age(overdue: float) -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    time.advance(100 + overdue)
    source.error = MetadataRejected("another issuer")
    if overdue < STALE_SECONDS:
        await cache.get("k", source)
        await until(lambda: not cache.is_loading("k"))
    with pytest.raises(MetadataRejected):
        await cache.get("k", source)


@pytest.mark.gen_test
async def test_an_invalid_new_document_drops_the_cached_one() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    time.advance(100)
    source.error = MetadataRejected("another issuer")
    with capture_logs() as logged:
        await cache.get("k", source)
        await until(lambda: not cache.is_loading("k"))
    with pytest.raises(MetadataRejected):
        await cache.get("k", source)
    assert [(line["event"], line["document"], line["code"]) for line in logged] == [
        ("provider_document_not_renewed", "k", "metadata_rejected")
    ]


@pytest.mark.gen_test
async def test_an_unexpected_error_is_logged_by_its_class_and_the_cached_document_is_served() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source)
    time.advance(100)
    source.error = RuntimeError("a bug")
    with capture_logs() as logged:
        await cache.get("k", source)
        await until(lambda: not cache.is_loading("k"))
    assert [line["code"] for line in logged] == ["RuntimeError"]
    assert await cache.get("k", source) == 1


@pytest.mark.gen_test
async def test_D4_all_callers_get_the_error_of_a_failed_first_fetch_and_it_is_retried_after_a_pause() -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    source.error = ProviderUnavailable("down")
    failed = await asyncio.gather(*(cache.get("k", source) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(error, ProviderUnavailable) for error in failed)
    source.error = None
    for _ in range(100):
        with pytest.raises(ProviderUnavailable, match="down") as failure:
            await cache.get("k", source)
        assert failure.value.retry_after == 1
    assert source.loads == 1
    time.advance(FIRST_PAUSE)
    assert await cache.get("k", source) == 2
    time.advance(100 + OUTAGE_SECONDS)
    source.error = ProviderUnavailable("down")
    for _ in range(2):  # the success has reset the pauses
        with pytest.raises(ProviderUnavailable) as failure:
            await cache.get("k", source)
    assert failure.value.retry_after == 1


@pytest.mark.gen_test
async def test_D4_a_failure_is_ignored_after_the_settings_of_the_fetch_have_changed() -> None:
    cache = Documents(ManualClock())
    source = Source()
    source.error = MetadataRejected("another issuer")
    for _ in range(2):
        with pytest.raises(MetadataRejected):
            await cache.get("k", source, settings="as it was")
    assert source.loads == 1
    source.error = None
    assert await cache.get("k", source, settings="as the administrator changed it") == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("overdue", [0.0, STALE_SECONDS])
async def test_D4_changed_settings_renew_an_expired_document_at_once_after_a_failure(overdue: float) -> None:
    time, source = ManualClock(), Source()
    cache = Documents(time)
    await cache.get("k", source, settings="as it was")
    time.advance(100 + overdue)
    source.error = ProviderUnavailable("down")
    for _ in range(2):
        assert await cache.get("k", source, settings="as it was") == 1
        await until(lambda: not cache.is_loading("k"))
    assert source.loads == 2
    source.error = None
    await cache.get("k", source, settings="as the administrator changed it")
    await until(lambda: cache.current("k") == 3)


@pytest.mark.gen_test
async def test_a_cancelled_caller_does_not_cancel_the_fetch_for_others() -> None:
    cache = Documents(ManualClock())
    source = Source()
    source.gate = asyncio.Event()
    impatient = asyncio.ensure_future(cache.get("k", source))
    patient = asyncio.ensure_future(cache.get("k", source))
    await until(lambda: source.loads == 1)
    impatient.cancel()
    source.gate.set()
    assert await patient == 1


@pytest.mark.gen_test
async def test_the_least_recently_used_documents_are_evicted_first() -> None:
    cache = Documents(ManualClock(), max_bytes=20 * 1_400)
    source = Source()
    for key in ("a", "b", "a", *map(str, range(18)), "c"):
        await cache.get(key, source)
    assert (cache.current("a"), cache.current("b"), cache.current("c")) == (1, None, 21)


@pytest.mark.gen_test
async def test_D5_large_documents_of_one_tenant_evict_none_of_another() -> None:
    cache = Documents(ManualClock(), max_bytes=1_000_000)
    small, large = Source(), Source()
    large.size = 100_000
    await cache.get("small", small, owner="globex")
    for number in range(100):
        await cache.get(number, large, owner="acme")
    await cache.get("small", small, owner="globex")
    assert (small.loads, large.loads) == (1, 100)


@pytest.mark.gen_test
@pytest.mark.parametrize("age", [100.0, 100 + STALE_SECONDS])
async def test_D5_a_renewed_document_still_counts_against_the_share_of_its_tenant(age: float) -> None:
    time, small, large = ManualClock(), Source(), Source()
    cache = Documents(time, max_bytes=1_000_000)
    large.size = 100_000
    for _ in range(2):
        await cache.get("small", small, owner="globex")
        for number in range(9):
            await cache.get(number, large, owner="acme")
        await until(lambda: not any(cache.is_loading(key) for key in ("small", *range(9))))
        time.advance(age)
    for number in range(9, 20):
        await cache.get(number, large, owner="acme")
    assert (small.loads, cache.current("small")) == (2, 2)


@pytest.mark.gen_test
async def test_closing_cancels_running_fetches() -> None:
    cache = Documents(ManualClock())
    source = Source()
    source.gate = asyncio.Event()
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    waiting = asyncio.ensure_future(cache.get("k", source))
    await until(lambda: source.loads == 1)
    await cache.close()
    assert not cache.is_loading("k")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not unhandled


@pytest.mark.parametrize(
    ("directives", "seconds"),
    [
        (None, 3600),
        ("", 3600),
        ("max-age=600", 600),
        ("public, Max-Age=600, must-revalidate", 600),
        ('max-age="600"', 600),
        ("max-age=0", 60),
        ("max-age=59", 60),
        ("max-age=999999999", 86_400),
        ("max-age=-5", 3600),
        ("max-age=soon", 3600),
        ("s-max-age=5", 3600),
        ("no-store", 60),
        ("no-cache, max-age=600", 60),
    ],
)
def test_cache_control_is_honoured_between_a_minute_and_a_day(directives: str | None, seconds: float) -> None:
    headers = () if directives is None else (("cache-control", directives),)
    assert lifetime(OutboundResponse(200, headers, b"")) == seconds
