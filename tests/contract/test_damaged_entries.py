"""A stored entry with any damage in any field counts as missing; other entries are not affected.

The fields come from the models, so new fields are tested automatically.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest
import structlog
from bson import Binary, Int64
from pymongo import MongoClient

from portal.stores.by_url import store_for
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.store import Store
from portal.stores.stored_entries import stored_names
from tests.contract.entries import NOW, at, key_of, new_attempt, new_login, new_session, new_step, provider_of

SECRET = "a-secret-value-that-must-never-be-logged"
TABLES: dict[type, str] = {
    LoginAttempt: "attempts",
    LogoutStep: "logouts",
    Session: "sessions",
    Login: "logins",
}
_NOT_UTF8 = object()
_MISSING = object()
SQLITE_VALUES = (None, SECRET, b"\xff\x00", 5, 1.5, math.inf, _NOT_UTF8, "[" * 100_000)
MONGODB_VALUES = (
    _MISSING,
    None,
    SECRET,
    5,
    Int64(2**62),
    1.5,
    math.nan,
    math.inf,
    True,
    [SECRET],
    {"a": SECRET},
    Binary(b"\xff\x00"),
    datetime(2000, 1, 1, tzinfo=UTC),
    "[" * 100_000,
)

Damage = Callable[[type, str, str, object], bool]
"""Damages a field of the stored entry with this key; returns whether the database accepted the value."""


def _damage_sqlite(database: sqlite3.Connection, table: str, key: str, field: str, value: object) -> bool:
    text = "CAST(x'ff61' AS TEXT)" if value is _NOT_UTF8 else "?"
    parameters = (key,) if value is _NOT_UTF8 else (value, key)
    try:
        with database:
            changed = database.execute(f"UPDATE {table} SET {field} = {text} WHERE id = ?", parameters)
    except sqlite3.IntegrityError:
        return False
    assert changed.rowcount == 1
    return True


def _damage_mongodb(client: MongoClient[Any], table: str, key: str, field: str, value: object) -> bool:
    change = {"$unset": {field: 1}} if value is _MISSING else {"$set": {field: value}}
    client.get_default_database()[table].update_one({"_id": key}, change)
    return True


@pytest.fixture
def damage(store: Store, database_url: str) -> Iterator[Damage]:
    if database_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
            yield lambda model, key, field, value: _damage_sqlite(database, TABLES[model], key, field, value)
    else:
        with MongoClient[Any](database_url) as client:
            yield lambda model, key, field, value: _damage_mongodb(client, TABLES[model], key, field, value)


@pytest.fixture
def values(database_url: str) -> tuple[object, ...]:
    return SQLITE_VALUES if database_url.startswith("sqlite") else MONGODB_VALUES


def stored_fields(model: type, database_url: str) -> list[str]:
    names = [stored for name, stored in stored_names(model).items() if name != "id"]
    if model is Login and not database_url.startswith("sqlite"):
        names += ["lease_from", "lease_ms"]
    return names


def is_well_typed(entry: object) -> bool:
    types = get_type_hints(type(entry))
    return all(_fits(getattr(entry, name), kind) for name, kind in types.items())


def _fits(value: object, kind: object) -> bool:
    if kind == Mapping[str, object]:
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, float) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) or (kind == str | None and value is None)


def assert_reported_without_content(logs: list[Any], *, least: int) -> None:
    lines = [line for line in logs if line["event"] == "damaged_entry"]
    assert len(lines) >= least
    assert all(line["kind"] in {model.__name__ for model in TABLES} for line in lines)
    assert SECRET not in json.dumps(lines)


@pytest.mark.gen_test(timeout=120)
async def test_a_damaged_session_or_login_is_missing_and_no_other_is(
    store: Store, damage: Damage, values: tuple[object, ...], database_url: str
) -> None:
    others = [new_session() for _ in range(3)]
    other_logins = [new_login(session) for session in others]
    for session, login in zip(others, other_logins, strict=True):
        await store.add_session(session)
        await store.put_login(login)
    absent = 0
    with structlog.testing.capture_logs() as logs:
        for model in (Session, Login):
            for field in stored_fields(model, database_url):
                for value in values:
                    session = new_session()
                    login = new_login(session)
                    await store.add_session(session)
                    await store.put_login(login)
                    key = session.id if model is Session else login.id
                    if not damage(model, key, field, value):
                        continue
                    sessions, logins = await store.read(
                        [session.id, *(each.id for each in others)],
                        [login.id, *(each.id for each in other_logins)],
                        now=NOW,
                    )
                    found = [sessions.pop(session.id, None), logins.pop(login.id, None)]
                    assert sessions == {each.id: each for each in others}, (field, value)
                    assert logins == {each.id: each for each in other_logins}, (field, value)
                    assert all(is_well_typed(each) for each in found if each), (field, value)
                    absent += None in found
                    listed = await store.list_logins(session.id, now=NOW)
                    assert all(map(is_well_typed, listed)), (field, value)
                    await store.delete_session(session.id)
    assert absent > 50
    assert_reported_without_content(logs, least=50)


@pytest.mark.gen_test(timeout=120)
async def test_a_damaged_attempt_or_step_cannot_be_taken(
    store: Store, damage: Damage, values: tuple[object, ...], database_url: str
) -> None:
    absent = 0
    with structlog.testing.capture_logs() as logs:
        for field in stored_fields(LoginAttempt, database_url):
            for value in values:
                attempt = new_attempt()
                await store.add_attempt(attempt)
                if damage(LoginAttempt, attempt.id, field, value):
                    found = await store.take_attempt(attempt.id, **key_of(attempt))
                    assert found is None or is_well_typed(found), (field, value)
                    absent += found is None
        for field in stored_fields(LogoutStep, database_url):
            for value in values:
                step = new_step()
                await store.add_logout_step(step)
                if damage(LogoutStep, step.id, field, value):
                    stored = await store.take_logout_step(step.id, **key_of(step))
                    assert stored is None or is_well_typed(stored), (field, value)
                    absent += stored is None
    assert absent > 20
    assert_reported_without_content(logs, least=10)


@pytest.mark.gen_test(timeout=120)
async def test_damaged_logins_are_deleted_with_the_others_and_get_no_lease(
    store: Store, damage: Damage, values: tuple[object, ...]
) -> None:
    for field in ("claims", "tokens", "access_expires_at", "signed_in_at", "version"):
        for value in values:
            session = new_session()
            healthy = new_login(session, tenant="globex", subject="ada")
            damaged = new_login(session, subject="ada", sid="s-1")
            for login in (healthy, damaged):
                await store.put_login(login)
            if not damage(Login, damaged.id, field, value):
                continue
            if field != "version":
                leased = await store.acquire_lease(damaged.id, owner="one", seconds=20)
                assert leased is None or is_well_typed(leased), (field, value)
            of_sid = await store.delete_logins_by_sid(damaged.issuer, "s-1", **provider_of(damaged))
            assert all(map(is_well_typed, of_sid)), (field, value)
            assert await store.delete_login(session.id, "acme") is None
            assert await store.delete_session(session.id) == [healthy]


@pytest.mark.gen_test
async def test_a_login_under_the_key_of_another_counts_as_missing(store: Store, damage: Damage) -> None:
    """A copy of a user's login under the key of another user does not sign anyone in."""
    mine, theirs = new_login(), new_login()
    await store.put_login(mine)
    await store.put_login(theirs)
    damage(Login, mine.id, "tenant", "globex")
    _, logins = await store.read((), [mine.id, theirs.id, f"{mine.session}:globex"], now=NOW)
    assert logins == {theirs.id: theirs}


@pytest.mark.gen_test
async def test_damage_is_counted_by_kind_and_logged_once_for_each_entry(database_url: str) -> None:
    class Observer:
        def __init__(self) -> None:
            self.damaged: list[str] = []

        def damaged_entry(self, kind: str) -> None:
            self.damaged.append(kind)

        def operation_refused(self) -> None: ...

        def clock_offset(self, seconds: float) -> None: ...

    observer = Observer()
    store = store_for(database_url, observer=observer)
    await store.open()
    login = new_login(expires_at=at(3600))
    await store.put_login(login)
    if database_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
            _damage_sqlite(database, "logins", login.id, "claims", SECRET)
    else:
        with MongoClient[Any](database_url) as client:
            _damage_mongodb(client, "logins", login.id, "claims", SECRET)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert await store.list_logins(login.session, now=NOW) == []
    assert observer.damaged == ["Login"] * 3
    assert [(line["event"], line["kind"], line["field"]) for line in logs] == [
        ("damaged_entry", "Login", "claims")
    ]
    await store.close()
