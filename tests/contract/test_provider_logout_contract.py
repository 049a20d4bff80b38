"""Store operations for back-channel and front-channel logout: deleting logins, and ids that are used once."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import chain

import pytest

from portal.oidc.global_revocation import RevokedSubject, SubjectFormat
from portal.sessions.revoked_users import RevokedUsers
from portal.stores.model import Login
from portal.stores.sqlite import statements as sql
from portal.stores.store import Store
from tests.contract.entries import NOW, at, new_login, provider_of
from tests.contract.processes import Competitor

CONTENDERS = 50
ROUNDS = 4


async def stored_login(store: Store, login: Login) -> Login | None:
    _, logins = await store.read((), [login.id], now=NOW)
    return logins.get(login.id)


@pytest.mark.parametrize("key", ["sid", "subject"])
@pytest.mark.gen_test
async def test_logins_are_deleted_by_sid_or_subject_of_one_tenant_and_registration(
    store: Store, key: str
) -> None:
    matching = sorted(
        (new_login(provider=name) for name in ("staff", "partners")), key=lambda login: login.id
    )
    others = [
        new_login(tenant="globex"),  # two tenants may share an issuer, even the client
        new_login(registration="s" * 64),
        new_login(issuer="https://login.globex.example/"),
        new_login(issuer="https://login.acme.example"),
        new_login(**{key: "another"}),
        *([new_login(sid=None)] if key == "sid" else []),
    ]
    for login in (*matching, *others):
        await store.put_login(login)
    delete = store.delete_logins_by_sid if key == "sid" else store.delete_logins_by_subject
    of_provider = provider_of(matching[0])
    assert await delete(matching[0].issuer, getattr(matching[0], key), **of_provider) == matching
    assert await delete(matching[0].issuer, getattr(matching[0], key), **of_provider) == []
    _, left = await store.read((), [login.id for login in (*matching, *others)], now=NOW)
    assert left == {login.id: login for login in others}


@pytest.mark.gen_test
async def test_logins_are_deleted_by_sid_whatever_their_issuer(store: Store) -> None:
    matching = sorted(
        (new_login(), new_login(issuer="https://login.globex.example/")), key=lambda login: login.id
    )
    others = [
        new_login(tenant="globex"),
        new_login(registration="s" * 64),
        new_login(sid="another"),
        new_login(sid=None),
    ]
    for login in (*matching, *others):
        await store.put_login(login)
    assert (
        await store.delete_logins_by_sid(None, matching[0].sid or "", **provider_of(matching[0])) == matching
    )
    assert await store.delete_logins_by_sid(None, matching[0].sid or "", **provider_of(matching[0])) == []
    _, left = await store.read((), [login.id for login in (*matching, *others)], now=NOW)
    assert left == {login.id: login for login in others}


def test_a_provider_session_is_found_by_an_index_with_and_without_an_issuer() -> None:
    """Unauthenticated clients can request unknown ones, at the URL for front-channel logout."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in chain.from_iterable(sql.SCHEMAS):
            database.execute(statement)
        statement = f"EXPLAIN QUERY PLAN {sql.DELETE_LOGINS.format(sql.OF_PROVIDER_SESSION)}"
        for issuer in (None, "https://login.acme.example/"):
            values = {"sid": "s", "tenant": "acme", "registration": "r", "issuer": issuer}
            plan = [row[3] for row in database.execute(statement, values)]
            assert plan == ["SEARCH logins USING INDEX logins_sid (sid=?)"]


@pytest.mark.gen_test
async def test_logins_whose_provider_session_is_unknown_can_be_deleted_alone(store: Store) -> None:
    with_sid, without, other_user = new_login(), new_login(sid=None), new_login(sid=None, subject="another")
    for login in (with_sid, without, other_user):
        await store.put_login(login)
    ended = await store.delete_logins_by_subject(
        without.issuer, without.subject, **provider_of(without), without_sid=True
    )
    assert ended == [without]
    assert await stored_login(store, with_sid) == with_sid
    assert await stored_login(store, other_user) == other_user


@pytest.mark.gen_test
async def test_a_login_ended_in_one_process_is_gone_in_another(store: Store, second_store: Store) -> None:
    login = new_login()
    await store.put_login(login)
    assert await stored_login(second_store, login) == login
    await store.delete_logins_by_sid(login.issuer, login.sid or "", **provider_of(login))
    assert await stored_login(second_store, login) is None


# --- identifiers that may be used once


@pytest.mark.gen_test
async def test_a_used_id_can_be_used_again_when_it_has_expired(store: Store) -> None:
    assert not await store.is_remembered("jti", now=NOW)
    assert await store.remember_once("jti", expires_at=at(60.5), now=NOW)
    assert await store.is_remembered("jti", now=at(60.499))
    assert not await store.remember_once("jti", expires_at=at(900), now=at(60.499))
    assert not await store.is_remembered("jti", now=at(60.5)), "the second use did not extend it"
    assert await store.remember_once("jti", expires_at=at(120), now=at(60.5))
    assert not await store.remember_once("jti", expires_at=at(900), now=at(119))


@pytest.mark.gen_test
async def test_an_id_used_in_one_process_is_used_in_another(store: Store, second_store: Store) -> None:
    assert await store.remember_once("jti", expires_at=at(60), now=NOW)
    assert await second_store.is_remembered("jti", now=NOW)
    assert not await second_store.remember_once("jti", expires_at=at(60), now=NOW)
    assert await second_store.remember_once("another", expires_at=at(60), now=NOW)


@pytest.mark.gen_test
async def test_one_of_many_concurrent_uses_of_an_id_succeeds(store: Store, second_store: Store) -> None:
    for number in range(ROUNDS):
        results = await asyncio.gather(
            *(
                (store, second_store)[index % 2].remember_once(f"jti-{number}", expires_at=at(60), now=NOW)
                for index in range(CONTENDERS)
            )
        )
        assert sum(results) == 1


@pytest.mark.gen_test
async def test_one_of_many_concurrent_uses_of_an_expired_id_succeeds(
    store: Store, second_store: Store
) -> None:
    for number in range(ROUNDS):
        assert await store.remember_once(f"jti-{number}", expires_at=at(60), now=NOW)
        results = await asyncio.gather(
            *(
                (store, second_store)[index % 2].remember_once(
                    f"jti-{number}", expires_at=at(120), now=at(60)
                )
                for index in range(CONTENDERS)
            )
        )
        assert sum(results) == 1


@pytest.mark.gen_test
async def test_one_of_two_processes_succeeds_to_use_an_id(store: Store, database_url: str) -> None:
    async with Competitor.start(database_url) as one, Competitor.start(database_url) as two:
        for number in range(20):
            key = f"jti-{number}"
            assert sum(await asyncio.gather(one.compete("once", key), two.compete("once", key))) == 1
            assert await store.is_remembered(key, now=NOW)


# --- revocations of users


@pytest.mark.parametrize("format", [SubjectFormat.OPAQUE, SubjectFormat.EMAIL])
@pytest.mark.gen_test
async def test_the_last_revocation_of_a_user_counts_in_every_process(
    store: Store, second_store: Store, format: SubjectFormat
) -> None:
    login, email = new_login(), "alice@acme.example"
    subject = RevokedSubject(format, email if format is SubjectFormat.EMAIL else login.subject)
    here, there = RevokedUsers(store), RevokedUsers(second_store)
    begun = store.time() - 1.0
    assert not await there.is_revoked(login, email=email, since=begun)
    await here.record(login.tenant, login.issuer, subject)
    assert await there.is_revoked(login, email=email, since=begun)
    assert await there.is_revoked(replace(login, session="another"), email=email, since=begun)
    for other in (replace(login, tenant="globex"), replace(login, issuer="https://other.example")):
        assert not await there.is_revoked(other, email=email, since=begun)
    other = replace(login, subject="another")
    assert await there.is_revoked(other, email=email, since=begun) == (format is SubjectFormat.EMAIL)
    assert not await there.is_revoked(other, email="bob@acme.example", since=begun)
    while await there.is_revoked(login, email=email, since=(later := second_store.time())):
        await asyncio.sleep(0)  # the clock has not gone on
    await _passed(store, later)
    await here.record(login.tenant, login.issuer, subject)
    assert await there.is_revoked(login, email=email, since=later), "the second one replaced the first"


async def _passed(store: Store, time: float) -> None:
    while store.time() <= time:
        await asyncio.sleep(0)
