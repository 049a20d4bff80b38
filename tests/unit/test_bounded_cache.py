from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portal.bounded_cache import ENTRY_BYTES, ByteBoundedCache


def cache_for(entries: int, *, size: int = 100) -> ByteBoundedCache[str, int]:
    return ByteBoundedCache(entries * (size + ENTRY_BYTES), max_value_bytes=10 * size)


def test_a_value_is_returned_until_it_is_discarded() -> None:
    cache = cache_for(4)
    cache.put("a", 1, size=100, owner="acme")
    assert cache.get("a") == 1
    cache.discard("a")
    cache.discard("a")
    assert cache.get("a") is None
    assert (len(cache), cache.size) == (0, 0)


def test_the_least_recently_used_value_of_the_owner_goes_first() -> None:
    cache = cache_for(2)
    for key in ("a", "b"):
        cache.put(key, 1, size=100, owner="acme")
    assert cache.get("a") == 1
    cache.put("c", 1, size=100, owner="acme")
    assert [cache.get(key) for key in ("a", "b", "c")] == [1, None, 1]


def test_D5_an_owner_of_many_values_displaces_only_its_own() -> None:
    cache = cache_for(10)
    cache.put("quiet", 1, size=100, owner="globex")
    for number in range(1_000):
        cache.put(f"greedy {number}", number, size=100, owner="acme")
    assert cache.get("quiet") == 1
    assert cache.get("greedy 999") == 999
    assert len(cache) == 10


def test_D5_an_owner_of_large_values_displaces_only_its_own() -> None:
    cache = cache_for(20)
    for number in range(5):
        cache.put(f"quiet {number}", number, size=100, owner="globex")
    for number in range(100):
        cache.put(f"large {number}", number, size=1_000, owner="acme")
    assert [cache.get(f"quiet {number}") for number in range(5)] == [0, 1, 2, 3, 4]


def test_a_value_larger_than_the_bound_of_one_value_is_not_kept_and_displaces_nothing() -> None:
    cache = cache_for(4)
    cache.put("a", 1, size=100, owner="acme")
    cache.put("b", 2, size=1_001, owner="acme")
    assert (cache.get("a"), cache.get("b")) == (1, None)


def test_a_value_that_grew_too_large_does_not_leave_the_old_one_behind() -> None:
    cache = cache_for(4)
    cache.put("a", 1, size=100, owner="acme")
    cache.put("a", 2, size=1_001, owner="acme")
    assert cache.get("a") is None


def test_a_value_replaced_by_another_owner_counts_for_that_owner() -> None:
    cache = cache_for(4)
    cache.put("a", 1, size=100, owner="acme")
    cache.put("a", 2, size=100, owner="globex")
    assert (cache.get("a"), len(cache), cache.size) == (2, 1, 100 + ENTRY_BYTES)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "discard", "clear"]),
            st.integers(0, 12),
            st.integers(0, 3_000),
            st.sampled_from(["acme", "globex", "initech"]),
        )
    )
)
def test_the_size_is_correct_and_bounded_after_any_operations(
    steps: list[tuple[str, int, int, str]],
) -> None:
    cache: ByteBoundedCache[int, int] = ByteBoundedCache(8_000, max_value_bytes=2_000)
    sizes: dict[int, int] = {}
    for step, key, size, owner in steps:
        match step:
            case "put":
                cache.put(key, size, size=size, owner=owner)
                sizes[key] = size + ENTRY_BYTES
            case "get":
                cache.get(key)
            case "discard":
                cache.discard(key)
            case "clear":
                cache.clear()
        assert cache.size <= 8_000
        kept_keys = [key for key in sizes if cache.get(key) is not None]
        assert cache.size == sum(sizes[key] for key in kept_keys)
        assert len(cache) == len(kept_keys)
