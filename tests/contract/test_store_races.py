"""Of several concurrent operations on one entry, exactly one succeeds: in one process, and in several."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace

import pytest

from portal.stores.model import Login
from portal.stores.store import Store
from tests.contract.entries import (
    NOW,
    at,
    key_of,
    new_attempt,
    new_login,
    new_session,
    new_step,
    provider_of,
)
from tests.contract.processes import Competitor

SLACK = 2.0
"""Seconds by which the measured clock of a database may be off on a busy machine."""
CONTENDERS = 50
ROUNDS = 4


async def winners(contenders: Sequence[Awaitable[object]]) -> list[object]:
    """The results of the successful operations: neither None nor False."""
    return [result for result in await asyncio.gather(*contenders) if result]


@pytest.mark.gen_test
async def test_one_of_many_takes_an_attempt(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        attempt = new_attempt()
        await store.add_attempt(attempt)
        key = key_of(attempt)
        operations = [(store, second_store)[n % 2].take_attempt(attempt.id, **key) for n in range(CONTENDERS)]
        assert await winners(operations) == [attempt]


@pytest.mark.gen_test
async def test_one_of_many_takes_a_logout_step(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        step = new_step()
        await store.add_logout_step(step)
        key = key_of(step)
        operations = [
            (store, second_store)[n % 2].take_logout_step(step.id, **key) for n in range(CONTENDERS)
        ]
        assert await winners(operations) == [step]


@pytest.mark.gen_test
async def test_one_of_many_rotates_a_session(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        session = new_session()
        await store.add_session(session)
        secrets = [f"{session.secret_hash[:60]}{number:04d}" for number in range(CONTENDERS)]
        results = await asyncio.gather(
            *(
                (store, second_store)[number % 2].rotate_session(
                    session.id,
                    old_secret_hash=session.secret_hash,
                    new_secret_hash=secret,
                    last_seen_at=at(1),
                    idle_expires_at=at(3601),
                )
                for number, secret in enumerate(secrets)
            )
        )
        assert sum(results) == 1
        sessions, _ = await store.read([session.id], (), now=NOW)
        assert sessions[session.id].secret_hash == secrets[results.index(True)]


@pytest.mark.gen_test
async def test_one_of_many_swaps_a_login(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        login = new_login()
        await store.put_login(login)
        swapped = [
            replace(login, tokens=f"set {number}", version=login.version + 1) for number in range(CONTENDERS)
        ]
        results = await asyncio.gather(
            *(
                (store, second_store)[number % 2].swap_login(each, expected_version=login.version)
                for number, each in enumerate(swapped)
            )
        )
        assert sum(results) == 1
        _, logins = await store.read((), [login.id], now=NOW)
        assert logins[login.id] == swapped[results.index(True)]


@pytest.mark.gen_test
async def test_one_of_many_gets_the_lease(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        login = new_login()
        await store.put_login(login)
        results = await asyncio.gather(
            *(
                (store, second_store)[number % 2].acquire_lease(
                    login.id, owner=f"process-{number}", seconds=20
                )
                for number in range(CONTENDERS)
            )
        )
        leased = [result for result in results if result]
        owner = f"process-{results.index(leased[0])}"
        assert [(each.lease_owner, each.version) for each in leased] == [(owner, login.version + 1)]


@pytest.mark.gen_test
async def test_one_of_many_deletes_a_login(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        session, login = new_session(), new_login()
        await store.add_session(session)
        login = replace(login, session=session.id)
        await store.put_login(login)
        results = await asyncio.gather(
            *(
                each
                for one in (store, second_store)
                for each in (
                    one.delete_login(login.session, login.tenant),
                    one.delete_session(login.session),
                    one.delete_logins_by_sid(login.issuer, login.sid or "", **provider_of(login)),
                    one.delete_logins_by_subject(login.issuer, login.subject, **provider_of(login)),
                )
            )
        )
        assert [result for result in results if result] in ([login], [[login]])


@pytest.mark.gen_test
async def test_concurrently_stored_logins_replace_each_other(store: Store, second_store: Store) -> None:
    for _ in range(ROUNDS):
        first = new_login()
        logins = [replace(first, tokens=f"set {number}", version=number) for number in range(CONTENDERS)]
        await asyncio.gather(*((store, second_store)[login.version % 2].put_login(login) for login in logins))
        (left,) = await store.list_logins(first.session, now=NOW)
        assert left in logins


# --- the lease


async def let_expire(store: Store, leased: Login, *, seconds_ago: float = 0.01) -> None:
    """Set the expiry of a lease to a time in the past."""
    expired = replace(
        leased, lease_expires_at=round(store.time() - seconds_ago, 3), version=leased.version + 1
    )
    assert await store.swap_login(expired, expected_version=leased.version)


async def lease_of(store: Store, login: Login) -> Login:
    _, logins = await store.read((), [login.id], now=NOW)
    return logins[login.id]


@pytest.mark.gen_test
async def test_a_lease_begins_at_its_grant_by_the_clock_of_the_database(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    before = store.time()
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert leased is not None
    assert before + 20 - SLACK <= leased.lease_expires_at <= store.time() + 20 + SLACK
    assert await lease_of(store, login) == leased
    assert leased == replace(
        login, lease_owner="one", lease_expires_at=leased.lease_expires_at, version=login.version + 1
    )


@pytest.mark.gen_test
async def test_no_other_owner_gets_a_lease_until_it_expires(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert leased is not None
    assert await store.acquire_lease(login.id, owner="two", seconds=20) is None
    await let_expire(store, leased, seconds_ago=-5)
    assert await store.acquire_lease(login.id, owner="two", seconds=20) is None
    await let_expire(store, await lease_of(store, login))
    acquired = await store.acquire_lease(login.id, owner="two", seconds=20)
    assert acquired is not None
    assert (acquired.lease_owner, acquired.version) == ("two", login.version + 4)


@pytest.mark.gen_test
async def test_an_expired_lease_is_acquired_only_from_the_given_owner(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20, from_owner="")
    assert leased is not None, "it was free"
    assert await store.acquire_lease(login.id, owner="two", seconds=20, from_owner="one") is None
    await let_expire(store, leased)
    assert await store.acquire_lease(login.id, owner="two", seconds=20, from_owner="") is None
    assert await store.acquire_lease(login.id, owner="two", seconds=20, from_owner="other") is None
    assert await store.acquire_lease(login.id, owner="two", seconds=20, from_owner="one") is not None


@pytest.mark.gen_test
async def test_a_login_swapped_under_a_lease_keeps_it(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert leased is not None
    touched = replace(leased, expires_at=at(50_000), version=leased.version + 1)
    assert await store.swap_login(touched, expected_version=leased.version)
    assert await lease_of(store, login) == touched
    assert await store.acquire_lease(login.id, owner="two", seconds=20) is None


@pytest.mark.gen_test
async def test_the_owner_of_a_lease_extends_it(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert leased is not None
    assert not await store.extend_lease(login.id, owner="two", seconds=120)
    assert await lease_of(store, login) == leased
    before = store.time()
    assert await store.extend_lease(login.id, owner="one", seconds=120)
    extended = await lease_of(store, login)
    assert before + 120 - SLACK <= extended.lease_expires_at <= store.time() + 120 + SLACK
    assert (extended.lease_owner, extended.version) == ("one", leased.version + 1)
    assert await store.acquire_lease(login.id, owner="one", seconds=20), "the owner may acquire it again"


@pytest.mark.gen_test
async def test_an_expired_lease_is_extended_unless_another_owner_has_acquired_it(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert leased is not None
    await let_expire(store, leased)
    assert await store.extend_lease(login.id, owner="one", seconds=20)
    await let_expire(store, await lease_of(store, login))
    assert await store.acquire_lease(login.id, owner="two", seconds=20)
    assert not await store.extend_lease(login.id, owner="one", seconds=20)


@pytest.mark.gen_test
async def test_a_lease_is_released_by_its_owner_only(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    await store.acquire_lease(login.id, owner="one", seconds=20)
    await store.release_lease(login.id, owner="two")
    assert await store.acquire_lease(login.id, owner="two", seconds=20) is None
    await store.release_lease(login.id, owner="one")
    assert await lease_of(store, login) == replace(login, version=login.version + 2)
    assert not await store.extend_lease(login.id, owner="one", seconds=20)
    assert await store.acquire_lease(login.id, owner="two", seconds=20)


@pytest.mark.gen_test
async def test_there_is_no_lease_on_a_deleted_or_expired_login(store: Store) -> None:
    login = new_login()
    assert await store.acquire_lease(login.id, owner="one", seconds=20) is None
    assert not await store.extend_lease(login.id, owner="one", seconds=20)
    expired = replace(login, lease_owner="one", expires_at=round(store.time() - 0.01, 3))
    await store.put_login(expired)
    assert await store.acquire_lease(login.id, owner="one", seconds=20) is None
    assert not await store.extend_lease(login.id, owner="one", seconds=20)
    await store.delete_login(login.session, login.tenant)
    await store.release_lease(login.id, owner="one")
    assert await store.acquire_lease(login.id, owner="one", seconds=20) is None


@pytest.mark.gen_test
async def test_a_swap_prepared_before_a_lease_does_not_overwrite_it(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    leased = await store.acquire_lease(login.id, owner="one", seconds=20)
    assert not await store.swap_login(
        replace(login, version=login.version + 1), expected_version=login.version
    )
    _, logins = await store.read((), [login.id], now=NOW)
    assert logins[login.id] == leased


# --- between processes


@pytest.mark.gen_test
async def test_one_of_two_processes_succeeds_each_time(store: Store, database_url: str) -> None:
    async with Competitor.start(database_url) as one, Competitor.start(database_url) as two:
        for _ in range(25):
            attempt, login = new_attempt(), new_login()
            await store.add_attempt(attempt)
            await store.put_login(login)
            for what, key in (("take", attempt.id), ("swap", login.id), ("lease", login.id)):
                contest = [each.compete(what, key, version=login.version) for each in (one, two)]
                assert sorted(await asyncio.gather(*contest)) == [False, True], what
