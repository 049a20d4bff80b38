"""Logins at all tenants: found by session, subject and issuer, and ended when their time is over."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from portal.stores.model import Login, Session
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.sqlite.tenant_logins import FIND as FIND_STATEMENTS
from portal.stores.sqlite.tenant_logins import LAST_FOUND
from portal.stores.tenant_logins import ExpiredLogin
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import Database
from tests.contract.entries import NOW, at, new_login, new_session
from tests.contract.test_tenant_logins import event_of

FIND: dict[str, Any] = {"session": "", "issuer": "", "subject": "", "after": "", "among": 100, "now": NOW}


@pytest.mark.gen_test
async def test_live_logins_are_found_at_all_tenants_by_session_subject_and_issuer(store: Database) -> None:
    first, second, gone = new_session(), new_session(), new_session(idle_expires_at=at(-1))
    for session in (first, second, gone):
        await store.add_session(session)
    one, two = "https://one.example", "https://two.example"
    ada = new_login(first, subject="ada", issuer=one)
    also = new_login(second, subject="ada", issuer=two, tenant="globex")
    bob = new_login(second, subject="bob", issuer=one)
    over = new_login(first, subject="ada", tenant="over", expires_at=at(-1))
    for login in (ada, also, bob, over, new_login(gone, subject="ada")):
        await store.put_login(login)

    async def found(**wanted: Any) -> list[Login]:
        page = await store.tenant_logins.find(**(FIND | wanted))
        assert page.more_after is None
        return [each.login for each in page.logins]

    def by_id(*logins: Login) -> list[Login]:
        return sorted(logins, key=lambda login: login.id)

    assert await found() == by_id(ada, also, bob)
    assert await found(session=second.id) == by_id(also, bob)
    assert await found(session="nothing") == []
    assert await found(subject="ada") == by_id(ada, also)
    assert await found(subject="ada", issuer=two) == [also]
    assert await found(subject="bob", issuer=two) == []
    assert await found(session=second.id, subject="bob") == [bob]
    assert await found(session=second.id, subject="ada", issuer=one) == []
    assert await found(after=by_id(ada, also, bob)[0].id) == by_id(ada, also, bob)[1:]
    with pytest.raises(ValueError, match="issuer"):
        await found(issuer=one)
    for name in ("session", "issuer", "subject", "after"):
        with pytest.raises(TypeError):
            await found(**{name: {"$ne": ""}})


@pytest.mark.gen_test
async def test_a_search_of_logins_reads_a_bounded_number_and_says_where_it_goes_on(store: Database) -> None:
    made = []
    for _ in range(10):
        session = new_session()
        login = new_login(session, subject="ada")
        await store.add_session(session, login=login)
        made.append(login)
    logins = sorted(made, key=lambda login: login.id)
    searches: tuple[dict[str, Any], ...] = (
        {},
        {"subject": "ada"},
        {"subject": "ada", "issuer": made[0].issuer},
    )
    for wanted in searches:
        seen: list[Login] = []
        place: str | None = ""
        while place is not None:
            page = await store.tenant_logins.find(**(FIND | wanted | {"among": 4, "after": place}))
            assert len(page.logins) <= 4
            seen += [one.login for one in page.logins]
            place = page.more_after
        assert seen == logins


@pytest.mark.parametrize("statements", [FIND_STATEMENTS, LAST_FOUND])
@pytest.mark.parametrize(
    ("by", "plan"),
    [
        ("session", "INDEX logins_session (session=?)"),
        ("user", "INDEX logins_subject (issuer=? AND subject=?)"),
        ("subject", "INDEX logins_subject (issuer=? AND subject=?)"),
        ("", "INDEX sqlite_autoindex_logins_1 (id>?)"),
    ],
)
def test_a_search_of_logins_uses_an_index(statements: dict[str, str], by: str, plan: str) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        for each in chain.from_iterable(SCHEMAS):
            database.execute(each)
        parameters = {**FIND, "last": 1}
        steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statements[by]}", parameters)]
    assert any(plan in step for step in steps), steps
    assert "SCAN logins" not in steps, steps


# --- expiry


async def expired(store: Database, **more: Any) -> list[tuple[str, str, float]]:
    """End what has expired; return tenant, subject and time of what was reported."""
    given: dict[str, Any] = {"most": 100, "grace": 60.0, "report": event_of}
    while await store.tenant_logins.end_expired(**(given | more)):
        pass
    events = await store.tenants.read_events(most=1000)
    return sorted((event.tenant, event.target, float(event.reason)) for event in events)


def session_until(idle: float, absolute: float) -> Session:
    return new_session(idle_expires_at=round(idle, 3), absolute_expires_at=round(absolute, 3))


@pytest.mark.gen_test
async def test_a_login_whose_time_is_over_is_deleted_and_reported_once(store: Database) -> None:
    """By its own limit, or by those of its session; what is live, or expired a moment ago, stays."""
    now = store.time()
    live, idle = session_until(now + 900, now + 900), session_until(now - 100, now + 900)
    old, just_now = session_until(now - 80, now - 90), session_until(now - 30, now + 900)
    for session in (live, idle, old, just_now):
        await store.add_session(session)
    stays = new_login(live, expires_at=now + 500)
    for login in (
        stays,
        new_login(live, tenant="own", subject="ada", expires_at=round(now - 70, 3)),
        new_login(idle, tenant="idle", subject="bob", expires_at=now + 500),
        new_login(idle, tenant="both", subject="bob", expires_at=round(now - 200, 3)),
        new_login(old, tenant="old", subject="eve", expires_at=now + 500),
        new_login(just_now, tenant="just", expires_at=now + 500),
        new_login(live, tenant="just", expires_at=round(now - 30, 3)),
    ):
        await store.put_login(login)
    ends = (("both", "bob", -200), ("idle", "bob", -100), ("old", "eve", -90), ("own", "ada", -70))
    reported = [(tenant, subject, round(now + seconds, 3)) for tenant, subject, seconds in ends]
    assert await expired(store, most=1) == reported
    assert await expired(store) == reported, "once"
    then = now - 1000  # what is stored, live or not
    sessions, logins = await store.read([live.id, idle.id, old.id, just_now.id], [stays.id], now=then)
    assert set(sessions) == {live.id, just_now.id}
    assert set(logins) == {stays.id}
    assert len(await expired(store, grace=0.0)) == 6, "later"


@pytest.mark.gen_test
async def test_several_processes_report_each_expired_login_once(store: Database) -> None:
    now = store.time()
    for number in range(50):
        session = session_until(now - 100, now + 900)
        login = new_login(session, subject=f"user-{number:02}", expires_at=now + 900)
        await store.add_session(session, login=login)
    await asyncio.gather(*(expired(store, most=7) for _ in range(5)))
    reported = [subject for _, subject, _ in await expired(store)]
    assert reported == [f"user-{number:02}" for number in range(50)]


@pytest.mark.gen_test
async def test_a_login_that_was_ended_is_not_reported_as_expired(store: Database) -> None:
    now = store.time()
    session = session_until(now + 900, now + 900)
    login = new_login(session, expires_at=round(now - 100, 3))
    await store.add_session(session, login=login)
    assert await store.delete_login(session.id, login.tenant) is not None
    assert await expired(store) == []


@pytest.mark.gen_test
async def test_a_login_that_cannot_be_reported_does_not_keep_back_others(store: Database) -> None:
    now = store.time()
    session = session_until(now - 100, now + 900)
    await store.add_session(session)
    for tenant in ("bad", "good"):
        await store.put_login(new_login(session, tenant=tenant, subject=tenant, expires_at=now + 900))

    def report(login: ExpiredLogin) -> Event:
        made = event_of(login)
        return replace(made, client="x" * 100) if login.tenant == "bad" else made

    assert [tenant for tenant, _, _ in await expired(store, report=report)] == ["good"]


@pytest.mark.gen_test
async def test_a_purge_leaves_sessions_and_logins_for_a_while(store: Database) -> None:
    now = store.time()
    session = session_until(now - 100, now + 900)
    await store.add_session(session, login=new_login(session, expires_at=round(now - 100, 3)))
    assert await store.purge(keep_sign_ins=3600.0) == 0
    assert await store.purge(keep_sign_ins=50.0) == 2
