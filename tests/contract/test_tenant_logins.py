"""The logins at a tenant: listed for its admins, counted and deleted."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import Awaitable
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from portal.errors import StoreUnavailable
from portal.stores.model import Login, Session
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.sqlite.tenant_logins import _OF_USER
from portal.stores.tenant_logins import ExpiredLogin, Position, TenantLogin, TenantLogins, UserKey
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import Database
from tests.contract.entries import NOW, at, new_event, new_login, new_session
from tests.contract.test_store_limits import BUSY, all_unavailable, locked, opened
from tests.contract.test_tenant_store_limits import frozen_server
from tests.mongodb import MongoTestServer

__all__ = ("frozen_server",)


def event_of(login: ExpiredLogin) -> Event:
    return new_event("login_expired", tenant=login.tenant, target=login.subject, reason=str(login.expired_at))


async def signed_in(store: Database, *seconds: float, **changes: Any) -> list[Login]:
    """Store a login for each of these times, each in its own session."""
    made = []
    for when in seconds:
        session = new_session()
        login = new_login(session, **{"signed_in_at": at(when), **changes})
        await store.add_session(session, login=login)
        made.append(login)
    return made


@pytest.mark.gen_test
async def test_the_logins_at_a_tenant_are_listed_the_newest_first(store: Database) -> None:
    first, third, second = await signed_in(store, -30, -10, -20)
    await signed_in(store, -5, tenant="globex")
    found = await store.tenant_logins.list("acme", registrations=None, before=None, most=10, now=NOW)
    assert [each.login for each in found] == [third, second, first]
    seen = new_session()
    assert {(each.last_seen_at, each.device) for each in found} == {(seen.last_seen_at, seen.device)}
    assert await store.tenant_logins.list("nobody", registrations=None, before=None, most=10, now=NOW) == []


@pytest.mark.gen_test
async def test_only_the_logins_of_the_stated_registrations_are_listed_and_counted(store: Database) -> None:
    logins = store.tenant_logins
    (first,) = await signed_in(store, -30, registration="first")
    (second,) = await signed_in(store, -20, registration="second")
    await signed_in(store, -10, registration="third")
    for registrations, expected in (
        (["first", "second"], [second, first]),
        (frozenset({"first"}), [first]),
        ([], []),
        (["' OR 1 --"], []),
    ):
        found = await logins.list("acme", registrations=registrations, before=None, most=10, now=NOW)
        assert [each.login for each in found] == expected
        assert await logins.count("acme", registrations=registrations, now=NOW) == len(expected)
    one = await logins.list("acme", registrations=["first", "second"], before=None, most=1, now=NOW)
    place = one[0].position
    found = await logins.list("acme", registrations=["first", "third"], before=place, most=1, now=NOW)
    assert [each.login for each in found] == [first]
    assert await logins.count("acme", registrations=None, now=NOW) == 3


@pytest.mark.gen_test
async def test_pages_of_logins_have_each_login_once(store: Database) -> None:
    made = await signed_in(store, *[-10] * 5, -20, -20)
    pages: list[list[TenantLogin]] = []
    before: Position | None = None
    while not pages or pages[-1]:
        pages.append(
            await store.tenant_logins.list("acme", registrations=None, before=before, most=2, now=NOW)
        )
        before = pages[-1][-1].position if pages[-1] else None
    assert [len(page) for page in pages] == [2, 2, 2, 1, 0]
    listed = [each.login for page in pages for each in page]
    assert sorted(listed, key=lambda login: login.id) == sorted(made, key=lambda login: login.id)
    assert listed == sorted(made, key=lambda login: (login.signed_in_at, login.id), reverse=True)


@pytest.mark.gen_test
async def test_a_login_that_expired_or_whose_session_ended_is_not_listed(store: Database) -> None:
    (live,) = await signed_in(store, -10)
    await signed_in(store, -9, expires_at=at(50))
    unused: Session = replace(new_session(), idle_expires_at=at(50))
    await store.add_session(unused, login=new_login(unused, signed_in_at=at(-8)))
    removed = new_session()
    await store.add_session(removed, login=new_login(removed, signed_in_at=at(-7)))
    await store.delete_session(removed.id)
    found = await store.tenant_logins.list("acme", registrations=None, before=None, most=10, now=at(60))
    assert [each.login for each in found] == [live]
    assert await store.tenant_logins.count("acme", registrations=None, now=NOW) == 3
    assert await store.tenant_logins.count("acme", registrations=None, now=at(60)) == 2, (
        "one is of an unused session"
    )
    await signed_in(store, -10, tenant="globex")
    assert await store.tenant_logins.count_all(now=NOW) == (4, 4)
    assert await store.tenant_logins.count_all(now=at(60)) == (3, 3)


@pytest.mark.gen_test
async def test_all_stored_logins_are_read_page_by_page(store: Database) -> None:
    """Also expired ones, and those whose session has ended."""
    made = await signed_in(store, -50, -40)
    made += await signed_in(store, -30, -30, expires_at=at(50))
    made += [new_login(signed_in_at=at(-10), registration="ended")]
    await store.put_login(made[-1])
    await signed_in(store, -5, tenant="globex")
    found: list[Login] = []
    before: Position | None = None
    while page := await store.tenant_logins.stored("acme", before=before, most=2):
        found += page
        before = Position(page[-1].signed_in_at, page[-1].id)
    assert found == sorted(made, key=lambda login: (login.signed_in_at, login.id), reverse=True)
    assert await store.tenant_logins.stored("acme", before=None, most=0) == []


@pytest.mark.gen_test
async def test_the_logins_at_a_tenant_are_deleted_up_to_a_time(store: Database) -> None:
    made = await signed_in(store, -30, -20, -10)
    (kept,) = await signed_in(store, -30, tenant="globex")
    logins = store.tenant_logins
    assert await logins.delete("acme", signed_in_until=at(-20), most=1) == 1
    assert await logins.delete("acme", signed_in_until=at(-20), most=10) == 1
    assert await logins.delete("acme", signed_in_until=at(-20), most=10) == 0
    assert [
        each.login for each in await logins.list("acme", registrations=None, before=None, most=9, now=NOW)
    ] == [made[-1]]
    _, left = await store.read((), [login.id for login in (*made, kept)], now=NOW)
    assert left == {made[-1].id: made[-1], kept.id: kept}


@pytest.mark.gen_test
async def test_many_logins_are_deleted_in_steps(store: Database) -> None:
    session = new_session()
    await store.add_session(session)
    for number in range(450):
        await store.put_login(replace(new_login(), session=f"session-{number}", signed_in_at=at(-1)))
    assert await store.tenant_logins.delete("acme", signed_in_until=NOW, most=440) == 440
    assert await store.tenant_logins.count("acme", registrations=None, now=NOW) == 10


@pytest.mark.gen_test
async def test_a_login_that_cannot_be_read_is_not_listed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    async with opened(store):
        damaged, sound = await signed_in(store, -10, -20)
        statement = "UPDATE logins SET claims = 'x' WHERE id = ?"
        await store._file.write(lambda database: database.execute(statement, (damaged.id,)).rowcount)
        found = await store.tenant_logins.list("acme", registrations=None, before=None, most=10, now=NOW)
        assert [each.login for each in found] == [sound]


async def of_user(
    store: Database, login: Login, *, now: float = NOW, most: int = 10, **changes: Any
) -> list[Login]:
    """The logins of the user of a login."""
    user = UserKey.of(login)._replace(**changes)
    (found,) = await store.tenant_logins.of_users([user], most=most, now=now)
    return [each.login for each in found]


@pytest.mark.gen_test
async def test_the_logins_of_a_user_are_listed_the_newest_first(store: Database) -> None:
    older, newer = await signed_in(store, -30, -10)
    for changes in (
        {"subject": "another"},
        {"issuer": "https://another.example"},
        {"tenant": "globex"},
        {"registration": "another"},
        {"expires_at": at(50)},
    ):
        await signed_in(store, -5, **changes)
    unused: Session = replace(new_session(), idle_expires_at=at(50))
    await store.add_session(unused, login=new_login(unused, signed_in_at=at(-4)))
    assert await of_user(store, older, now=at(60)) == [newer, older]
    assert await of_user(store, older, now=at(60), most=1) == [newer]
    assert await of_user(store, older, most=0) == []
    assert await of_user(store, older, subject="nobody") == []
    seen = new_session()
    of_globex = UserKey.of(older)._replace(tenant="globex")
    ((found,),) = await store.tenant_logins.of_users([of_globex], most=10, now=NOW)
    assert (found.last_seen_at, found.device) == (seen.last_seen_at, seen.device)


@pytest.mark.gen_test
async def test_the_logins_of_some_users_are_listed_for_each_in_the_order_asked(store: Database) -> None:
    older, newer = await signed_in(store, -30, -10)
    (elsewhere,) = await signed_in(store, -20, tenant="globex")
    users = [UserKey.of(elsewhere), UserKey.of(older)._replace(subject="nobody"), UserKey.of(older)]
    found = await store.tenant_logins.of_users(users, most=10, now=NOW)
    assert [[each.login for each in some] for some in found] == [[elsewhere], [], [newer, older]]
    found = await store.tenant_logins.of_users(users, most=1, now=NOW)
    assert [[each.login for each in some] for some in found] == [[elsewhere], [], [newer]]
    assert await store.tenant_logins.of_users([], most=10, now=NOW) == []


def every_operation(logins: TenantLogins) -> dict[str, Awaitable[object]]:
    examples: dict[str, object] = {
        "tenant": "acme",
        "registrations": ["r"],
        "before": None,
        "most": 10,
        "now": NOW,
        "signed_in_until": NOW,
        "users": [UserKey("acme", "r", "https://id.example", "user")],
        "issuer": "https://id.example",
        "subject": "user",
        "session": "s",
        "after": "",
        "among": 10,
        "grace": 60.0,
        "report": event_of,
    }
    operations: dict[str, Awaitable[object]] = {}
    for name, function in inspect.getmembers(TenantLogins, inspect.iscoroutinefunction):
        parameters = [each for each in inspect.signature(function).parameters if each != "self"]
        operations[name] = getattr(logins, name)(**{each: examples[each] for each in parameters})
    assert len(operations) == 8
    return operations


@pytest.mark.gen_test(timeout=60)
async def test_every_operation_on_a_mongodb_that_hangs_fails_in_time(frozen_server: MongoTestServer) -> None:
    store = MongoStore(f"{frozen_server.uri}/portal?timeoutMS=3000&serverSelectionTimeoutMS=3000")
    async with opened(store):
        frozen_server.freeze()
        await all_unavailable(list(every_operation(store.tenant_logins).values()))
        frozen_server.thaw()


@pytest.mark.gen_test(timeout=60)
async def test_only_deleting_waits_for_a_locked_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db", busy=BUSY)
    async with opened(store):
        with locked(tmp_path / "portal.db"):
            operations = every_operation(store.tenant_logins)
            results = await asyncio.gather(*operations.values(), return_exceptions=True)
        failed = [name for name, one in zip(operations, results, strict=True) if isinstance(one, Exception)]
        assert failed == ["delete", "end_expired"]
        assert isinstance(results[list(operations).index("delete")], StoreUnavailable)


@pytest.mark.gen_test
@pytest.mark.parametrize("tenant", ["a" * 10_000, 7, None])
async def test_arguments_are_checked(store: Database, tenant: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await store.tenant_logins.list(tenant, registrations=None, before=None, most=1, now=NOW)
    with pytest.raises((TypeError, ValueError)):
        await store.tenant_logins.count(tenant, registrations=None, now=NOW)
    with pytest.raises((TypeError, ValueError)):
        await of_user(store, new_login(), tenant=tenant)
    with pytest.raises((TypeError, ValueError)):
        await store.tenant_logins.stored(tenant, before=None, most=1)
    with pytest.raises((TypeError, ValueError)):
        await store.tenant_logins.delete(tenant, signed_in_until=NOW, most=1)


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["registration", "issuer", "subject"])
async def test_a_user_is_named_by_text(store: Database, name: str) -> None:
    values: tuple[Any, ...] = (7, None, {"$ne": ""})
    for value in values:
        with pytest.raises(TypeError):
            await of_user(store, new_login(), **{name: value})


def test_the_logins_of_a_user_are_found_by_the_user_and_not_by_the_tenant() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        for each in chain.from_iterable(SCHEMAS):
            database.execute(each)
        names = {"tenant": "", "registration": "", "issuer": "", "subject": "", "now": 0, "most": 1}
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {_OF_USER}", names)]
    assert plan[0] == "SEARCH l USING INDEX logins_subject (issuer=? AND subject=?)"
