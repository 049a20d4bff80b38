"""The contract of every store, one rule per test. Other files here test races, values and outages."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from portal.errors import ConfigurationError, FailedBeforeLogin, StoredWithoutLogin, StoreUnavailable
from portal.stores.by_url import store_for
from portal.stores.model import Login, Session, SessionTouch
from portal.stores.mongo.store import MongoStore
from portal.stores.store import Store
from portal.stores.tenant_store import Database
from tests.contract.entries import (
    NOW,
    at,
    key_of,
    new_attempt,
    new_event,
    new_link,
    new_login,
    new_session,
    new_step,
    new_tenant,
    provider_of,
)
from tests.contract.patience import patient_url
from tests.mongodb import fresh_database

MILLISECOND = 0.001


async def stored_login(store: Store, login: Login) -> Login | None:
    _, logins = await store.read((), [login.id], now=NOW)
    return logins.get(login.id)


async def stored_session(store: Store, session: Session, *, now: float = NOW) -> Session | None:
    sessions, _ = await store.read([session.id], (), now=now)
    return sessions.get(session.id)


# --- opening


@pytest.mark.gen_test
async def test_opening_again_keeps_stored_entries(store: Store, database_url: str) -> None:
    session = new_session()
    await store.add_session(session)
    again = store_for(database_url)
    await again.open()
    await again.open()
    try:
        assert await stored_session(again, session) == session
        await again.probe()
    finally:
        await again.close()
        await again.close()


@pytest.mark.gen_test
async def test_a_closed_store_is_unavailable(database_url: str) -> None:
    closed = store_for(database_url)
    with pytest.raises(StoreUnavailable):
        await closed.probe()
    await closed.open()
    await closed.close()
    with pytest.raises(StoreUnavailable):
        await closed.read(["a"], (), now=NOW)


@pytest.mark.parametrize(
    "url", ["", "portal.db", "sqlite://", "sqlite:///", "sqlite://host/x.db", "postgresql://u:hush@h/p"]
)
def test_an_unsupported_database_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///") as caught:
        store_for(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["mongodb://u:hu/sh@h/p", "mongodb://h:hush/p", "mongodb://[::hush/p", "mongodb://h/p?timeoutMS=hush"],
)
@pytest.mark.gen_test
async def test_an_invalid_mongodb_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        await store_for(url).open()
    assert "sh" not in str(caught.value).replace("mongodb+srv://host", "").replace("mongodb://host", "")


# --- login attempts and logouts


@pytest.mark.gen_test
async def test_an_attempt_is_returned_unchanged_and_once(store: Store) -> None:
    attempt, other = new_attempt(), new_attempt()
    await store.add_attempt(attempt)
    await store.add_attempt(other)
    key = key_of(attempt)
    assert await store.take_attempt(attempt.id, **key) == attempt
    assert await store.take_attempt(attempt.id, **key) is None
    assert await store.take_attempt(other.id, **key) == other


@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"binding_hash": "c" * 64}])
@pytest.mark.gen_test
async def test_an_attempt_is_not_used_up_with_another_tenant_or_binding(
    store: Store, other: dict[str, str]
) -> None:
    attempt = new_attempt()
    await store.add_attempt(attempt)
    assert await store.take_attempt(attempt.id, **{**key_of(attempt), **other}) is None
    assert await store.take_attempt(attempt.id, **key_of(attempt)) == attempt


@pytest.mark.gen_test
async def test_an_attempt_expires_when_read(store: Store) -> None:
    attempt = new_attempt()
    await store.add_attempt(attempt)
    assert await store.take_attempt(attempt.id, **{**key_of(attempt), "now": attempt.expires_at}) is None
    just_before = round(attempt.expires_at - MILLISECOND, 3)
    assert await store.take_attempt(attempt.id, **{**key_of(attempt), "now": just_before}) == attempt


@pytest.mark.gen_test
async def test_a_logout_step_is_returned_unchanged_and_once(store: Store) -> None:
    step = new_step()
    await store.add_logout_step(step)
    key = key_of(step)
    assert await store.take_logout_step(step.id, **key) == step
    assert await store.take_logout_step(step.id, **key) is None


@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"binding_hash": "c" * 64}])
@pytest.mark.gen_test
async def test_a_logout_step_is_not_used_up_with_another_tenant_or_binding(
    store: Store, other: dict[str, str]
) -> None:
    step = new_step()
    await store.add_logout_step(step)
    assert await store.take_logout_step(step.id, **{**key_of(step), **other}) is None
    assert await store.take_logout_step(step.id, **{**key_of(step), "now": step.expires_at}) is None
    assert await store.take_logout_step(step.id, **key_of(step)) == step


# --- sessions


@pytest.mark.gen_test
async def test_a_session_is_returned_unchanged(store: Store, second_store: Store) -> None:
    session = new_session()
    await store.add_session(session)
    assert await stored_session(second_store, session) == session


@pytest.mark.gen_test
async def test_two_sessions_never_share_a_secret(store: Store, second_store: Store) -> None:
    session = new_session()
    await store.add_session(session)
    twin = new_session(secret_hash=session.secret_hash)
    with pytest.raises(StoreUnavailable) as caught:
        await store.add_session(twin)
    assert session.secret_hash not in str(caught.value)
    assert await stored_session(store, twin) is None
    await second_store.add_session(new_session())  # the failed write does not block others


@pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
@pytest.mark.gen_test
async def test_a_session_expires_when_read_at_either_limit(store: Store, limit: str) -> None:
    session = new_session(**{limit: at(60.5)})
    await store.add_session(session)
    assert await stored_session(store, session, now=at(60.5)) is None
    assert await stored_session(store, session, now=at(60.499)) == session


@pytest.mark.gen_test
async def test_rotating_a_session_invalidates_the_old_secret(store: Store) -> None:
    session = new_session()
    await store.add_session(session)
    seen: dict[str, Any] = {"last_seen_at": at(5.5), "idle_expires_at": at(3605.5)}
    assert await store.rotate_session(
        session.id, old_secret_hash=session.secret_hash, new_secret_hash="n" * 64, **seen
    )
    assert await stored_session(store, session) == replace(session, secret_hash="n" * 64, **seen)
    assert not await store.rotate_session(
        session.id, old_secret_hash=session.secret_hash, new_secret_hash="m" * 64, **seen
    )
    assert await stored_session(store, session) == replace(session, secret_hash="n" * 64, **seen)


@pytest.mark.gen_test
async def test_a_session_is_stored_with_a_login(store: Store) -> None:
    session = new_session()
    login = new_login(session.id)
    await store.add_session(session, login=login)
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})


@pytest.mark.gen_test
async def test_a_login_is_stored_with_a_new_secret_and_not_without(store: Store) -> None:
    session = new_session()
    await store.add_session(session)
    login = new_login(session.id)

    async def rotate(old: str, new: str) -> bool:
        hashes = {"old_secret_hash": old, "new_secret_hash": new}
        return await store.rotate_session(
            session.id, **hashes, last_seen_at=at(5), idle_expires_at=at(3605), login=login
        )

    assert not await rotate("o" * 64, "n" * 64)
    assert await store.list_logins(session.id, now=NOW) == []
    assert await rotate(session.secret_hash, "n" * 64)
    assert await store.list_logins(session.id, now=NOW) == [login]
    rotated = await stored_session(store, session)
    assert rotated == replace(session, secret_hash="n" * 64, last_seen_at=at(5), idle_expires_at=at(3605))


@pytest.mark.gen_test
async def test_a_session_that_mongodb_stored_without_its_login_is_reported(
    mongodb_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(login: Login) -> None:
        raise StoreUnavailable("the connection is lost")

    with fresh_database(mongodb_server) as url:
        store = MongoStore(patient_url(url))
        await store.open()
        try:
            monkeypatch.setattr(store, "put_login", fail)
            session = new_session()
            with pytest.raises(StoredWithoutLogin):
                await store.add_session(session, login=new_login(session.id))
            times: dict[str, Any] = {"last_seen_at": at(5), "idle_expires_at": at(3605)}
            with pytest.raises(StoredWithoutLogin):
                await store.rotate_session(
                    session.id,
                    old_secret_hash=session.secret_hash,
                    new_secret_hash="n" * 64,
                    login=new_login(session.id),
                    **times,
                )
            assert await stored_session(store, session) == replace(session, secret_hash="n" * 64, **times)
        finally:
            await store.close()


@pytest.mark.gen_test
async def test_a_failure_of_mongodb_before_a_login_is_told_apart(
    mongodb_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is possibly stored; after this error alone the login may be stored without a doubt."""

    @contextlib.asynccontextmanager
    async def fail_afterwards() -> AsyncIterator[None]:
        yield
        raise StoreUnavailable("the acknowledgement was lost")

    with fresh_database(mongodb_server) as url:
        store = MongoStore(patient_url(url))
        await store.open()
        try:
            session = new_session()
            rotated: dict[str, Any] = {
                "old_secret_hash": session.secret_hash,
                "new_secret_hash": "n" * 64,
                "last_seen_at": at(5),
                "idle_expires_at": at(3605),
            }
            with monkeypatch.context() as patch:
                patch.setattr(store._connection, "operation", fail_afterwards)
                with pytest.raises(FailedBeforeLogin):
                    await store.add_session(session, login=new_login(session.id))
                with pytest.raises(FailedBeforeLogin):
                    await store.rotate_session(session.id, login=new_login(session.id), **rotated)
                with pytest.raises(StoreUnavailable) as raised:
                    await store.add_session(new_session())
                assert not isinstance(raised.value, FailedBeforeLogin)
            assert await stored_session(store, session) == replace(
                session, secret_hash="n" * 64, last_seen_at=at(5), idle_expires_at=at(3605)
            )
            assert await store.list_logins(session.id, now=NOW) == []
        finally:
            await store.close()


@pytest.mark.gen_test
async def test_a_slow_read_of_mongodb_does_not_hold_up_others(mongodb_server: str) -> None:
    release = threading.Event()
    with fresh_database(mongodb_server) as url:
        store = MongoStore(patient_url(url))
        await store.open()
        try:
            session = new_session()
            login = new_login(session.id)
            await store.add_session(session, login=login)
            reads = store._connection._reads
            assert reads is not None
            slow = reads.run(lambda: release.wait(30))
            assert await store.read([session.id], [login.id], now=NOW) == (
                {session.id: session},
                {login.id: login},
            )
            assert not slow.done()
        finally:
            release.set()
            await store.close()


@pytest.mark.gen_test
async def test_rotating_never_revives_a_session(store: Store) -> None:
    gone, expired = new_session(), new_session(idle_expires_at=at(60))
    await store.add_session(expired)
    for session in (gone, expired):
        assert not await store.rotate_session(
            session.id,
            old_secret_hash=session.secret_hash,
            new_secret_hash="n" * 64,
            last_seen_at=at(60),
            idle_expires_at=at(3660),
        )
        assert await stored_session(store, session, now=at(60)) is None


@pytest.mark.gen_test
async def test_touching_changes_only_the_idle_limit(store: Store) -> None:
    session = new_session()
    await store.add_session(session)
    await store.touch_sessions([SessionTouch(session.id, at(120.25), at(3720.25))])
    touched = replace(session, last_seen_at=at(120.25), idle_expires_at=at(3720.25))
    assert await stored_session(store, session) == touched
    await store.touch_sessions([SessionTouch(session.id, at(60), at(3660))])
    assert await stored_session(store, session) == touched, "a late touch does not shorten it"


@pytest.mark.gen_test
async def test_touching_never_revives_a_session(store: Store) -> None:
    deleted, expired = new_session(), new_session(idle_expires_at=at(60))
    for session in (deleted, expired):
        await store.add_session(session)
    await store.delete_session(deleted.id)
    for session in (deleted, expired):
        await store.touch_sessions([SessionTouch(session.id, at(60), at(3660))])
        assert await stored_session(store, session, now=at(60)) is None


@pytest.mark.gen_test
async def test_deleting_a_session_deletes_and_returns_only_its_logins(store: Store) -> None:
    session, other = new_session(), new_session()
    mine = [new_login(session, tenant=tenant) for tenant in ("acme", "globex", "initech")]
    theirs = new_login(other)
    for each in (session, other):
        await store.add_session(each)
    for login in (*reversed(mine), theirs):
        await store.put_login(login)
    assert await store.delete_session(session.id) == mine
    sessions, logins = await store.read(
        [session.id, other.id], [login.id for login in (*mine, theirs)], now=NOW
    )
    assert (sessions, logins) == ({other.id: other}, {theirs.id: theirs})
    assert await store.delete_session(session.id) == []


# --- reading


@pytest.mark.gen_test
async def test_reading_many_returns_the_live_ones_by_id(store: Store) -> None:
    sessions = [new_session() for _ in range(120)]
    logins = [new_login(session, tokens="t" * 5000) for session in sessions]
    expired_session, expired_login = new_session(idle_expires_at=at(1)), new_login(expires_at=at(1))
    for session in (*sessions, expired_session):
        await store.add_session(session)
    for login in (*logins, expired_login):
        await store.put_login(login)
    found = await store.read(
        {*(session.id for session in sessions), expired_session.id, "missing"},
        {*(login.id for login in logins), expired_login.id, "missing:acme", "", "no colon"},
        now=at(1),
    )
    assert found == ({session.id: session for session in sessions}, {login.id: login for login in logins})


async def put_all(store: Store, logins: list[Login]) -> None:
    """Store a few at a time: an operation that waits for the database for two seconds fails."""
    for first in range(0, len(logins), 20):
        await asyncio.gather(*map(store.put_login, logins[first : first + 20]))


@pytest.mark.gen_test
async def test_reading_more_than_fits_into_one_response_of_the_database(store: Store) -> None:
    logins = [new_login() for _ in range(1100)]
    await put_all(store, logins)
    _, found = await store.read((), [login.id for login in logins], now=NOW)
    assert found == {login.id: login for login in logins}
    large = [new_login(tokens=str(number % 10) * 250_000) for number in range(80)]
    await put_all(store, large)
    _, found = await store.read((), [login.id for login in large], now=NOW)
    assert found == {login.id: login for login in large}


@pytest.mark.gen_test
async def test_reading_nothing_returns_nothing(store: Store) -> None:
    session, login = new_session(), new_login()
    await store.add_session(session)
    await store.put_login(login)
    assert await store.read((), (), now=NOW) == ({}, {})
    assert await store.read([session.id], (), now=NOW) == ({session.id: session}, {})
    assert await store.read((), [login.id], now=NOW) == ({}, {login.id: login})


@pytest.mark.gen_test
async def test_a_login_expires_when_read(store: Store) -> None:
    login = new_login(expires_at=at(60.5))
    await store.put_login(login)
    for time, expected in ((at(60.499), [login]), (at(60.5), [])):
        _, logins = await store.read((), [login.id], now=time)
        assert list(logins.values()) == expected
        assert await store.list_logins(login.session, now=time) == expected


@pytest.mark.gen_test
async def test_logins_of_a_session_are_listed_by_tenant(store: Store) -> None:
    session = new_session()
    tenants = ["zeta", "acme", "m-10", "m-9", "globex"]
    for tenant in tenants:
        await store.put_login(new_login(session, tenant=tenant))
    await store.put_login(new_login(tenant="beta"))
    listed = await store.list_logins(session.id, now=NOW)
    assert [login.tenant for login in listed] == sorted(tenants)


# --- logins


@pytest.mark.gen_test
async def test_putting_a_login_replaces_the_one_at_that_tenant(store: Store) -> None:
    old = new_login(lease_owner="process-1", lease_expires_at=at(20))
    new = replace(new_login(old.session, subject="another", sid=None), lease_owner=None)
    await store.put_login(old)
    await store.put_login(new)
    assert await stored_login(store, old) == new
    assert await store.delete_logins_by_subject(old.issuer, old.subject, **provider_of(old)) == []


@pytest.mark.gen_test
async def test_the_logins_of_a_registration_are_deleted_up_to_a_time(store: Store) -> None:
    gone = [new_login(), new_login(issuer="https://other.example/")]
    kept = [
        new_login(tenant="globex"),
        new_login(provider="partners"),
        new_login(registration="s" * 64),
        new_login(signed_in_at=at(0.001)),
    ]
    gone = [replace(login, signed_in_at=at(0)) for login in gone]
    for login in (*gone, *kept):
        await store.put_login(login)
    one = ("acme", "default", "r" * 64)
    issuers = [login.issuer for login in gone]
    assert await store.delete_logins_of(*one, kept_issuers=issuers, signed_in_until=NOW) == 0
    assert await store.delete_logins_of(*one, kept_issuers={gone[0].issuer}, signed_in_until=NOW) == 1
    assert [await stored_login(store, login) for login in gone] == [gone[0], None]
    assert await store.delete_logins_of(*one, kept_issuers=(), signed_in_until=NOW) == 1
    assert await stored_login(store, gone[0]) is None
    assert [await stored_login(store, login) for login in kept] == kept


@pytest.mark.gen_test
async def test_a_swap_requires_the_expected_version(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    newer = replace(
        login,
        tokens="sealed again",
        sid=None,
        claims={"sub": "x"},
        version=login.version + 1,
        lease_owner="process-1",
        lease_expires_at=at(20.5),
    )
    assert not await store.swap_login(newer, expected_version=login.version + 1)
    assert await stored_login(store, login) == login
    assert await store.swap_login(newer, expected_version=login.version)
    assert await stored_login(store, login) == newer
    assert not await store.swap_login(newer, expected_version=login.version)


@pytest.mark.gen_test
async def test_a_swap_never_recreates_a_deleted_login(store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    assert await store.delete_login(login.session, login.tenant) == login
    newer = replace(login, version=login.version + 1)
    assert not await store.swap_login(newer, expected_version=login.version)
    assert await stored_login(store, login) is None
    assert await store.delete_login(login.session, login.tenant) is None


@pytest.mark.gen_test
async def test_a_login_is_deleted_only_with_the_given_token_set(store: Store) -> None:
    before, after = new_login(tokens="before"), new_login(tokens="after")
    await store.put_login(after)
    assert await store.delete_login(after.session, after.tenant, tokens=before.tokens) is None
    assert await stored_login(store, after) == after
    assert await store.delete_login(after.session, after.tenant, tokens=after.tokens) == after
    assert await stored_login(store, after) is None


# --- metadata of the database


@pytest.mark.gen_test
async def test_a_meta_value_is_returned_as_last_stored(store: Store, second_store: Store) -> None:
    assert await store.get_meta("generation") is None
    await store.put_meta("generation", '{"number": 1, "ü": "“"}')
    await store.put_meta("another", "x")
    assert await second_store.get_meta("generation") == '{"number": 1, "ü": "“"}'
    await second_store.put_meta("generation", "2")
    assert await store.get_meta("generation") == "2"
    assert await store.get_meta("another") == "x"


@pytest.mark.gen_test
async def test_a_meta_value_is_swapped_only_if_it_is_the_expected_one(
    store: Store, second_store: Store
) -> None:
    assert not await store.swap_meta("generation", expected="1", value="2")
    assert await store.get_meta("generation") is None
    assert await store.swap_meta("generation", expected=None, value="1")
    assert not await second_store.swap_meta("generation", expected=None, value="3")
    assert not await second_store.swap_meta("generation", expected="2", value="3")
    assert await second_store.get_meta("generation") == "1"
    assert await second_store.swap_meta("generation", expected="1", value="2")
    assert await store.get_meta("generation") == "2"


@pytest.mark.gen_test
async def test_one_of_many_concurrent_swaps_of_a_meta_value_succeeds(
    store: Store, second_store: Store
) -> None:
    for expected in (None, "0"):
        swaps = [
            each.swap_meta("generation", expected=expected, value="0" if expected is None else f"n{number}")
            for number, each in enumerate([store, second_store] * 5)
        ]
        assert sorted(await asyncio.gather(*swaps)) == [False] * 9 + [True]


# --- cleaning up


@pytest.mark.gen_test
async def test_forgetting_sign_ins_keeps_used_ids_metadata_and_tenants(store: Database) -> None:
    assert not await store.has_logins()
    session = new_session()
    logins = [new_login(session, tenant=f"t{number}") for number in range(5)]
    await store.add_session(session)
    for login in logins:
        await store.put_login(login)
    await store.add_attempt(new_attempt())
    await store.add_logout_step(new_step())
    await store.remember_once("jti", expires_at=at(86_400), now=NOW)
    await store.put_meta("generation", "1")
    assert await store.has_logins()
    link = new_link()
    await store.tenants.add_tenant(new_tenant(), event=new_event())
    await store.tenants.add_setup_link(link, event=new_event())
    assert [await store.forget_sign_ins(most=3) for _ in range(4)] == [3, 3, 3, 0]
    assert await store.tenants.find_setup_link(link.token_hash) is None
    assert await store.tenants.get_tenant("initech") == new_tenant()
    assert not await store.has_logins()
    found = await store.read([session.id], [login.id for login in logins], now=NOW)
    assert found == ({}, {})
    assert await store.is_remembered("jti", now=NOW)
    assert await store.get_meta("generation") == "1"


@pytest.mark.gen_test
async def test_purging_deletes_and_counts_expired_entries(store: Store) -> None:
    for expired in (at(-1), at(0)):
        await store.add_attempt(new_attempt(expires_at=expired))
        await store.add_logout_step(new_step(expires_at=expired))
        await store.add_session(new_session(idle_expires_at=expired))
        await store.add_session(new_session(absolute_expires_at=expired))
        await store.put_login(new_login(expires_at=expired))
        await store.remember_once(f"jti {expired}", expires_at=expired, now=at(-2))
    await store.remember_once("jti", expires_at=at(86_400), now=NOW)
    attempt, step, session = new_attempt(), new_step(), new_session()
    login = new_login(session)
    await store.add_attempt(attempt)
    await store.add_logout_step(step)
    await store.add_session(session)
    await store.put_login(login)
    assert await store.purge() == 12
    assert await store.purge() == 0
    assert await store.is_remembered("jti", now=NOW)
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})
    assert await store.take_attempt(attempt.id, **key_of(attempt)) == attempt
    assert await store.take_logout_step(step.id, **key_of(step)) == step
