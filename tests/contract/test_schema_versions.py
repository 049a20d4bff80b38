"""SQLite files of other versions: an older one is migrated, a newer one is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.errors import StartupError
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_event, new_tenant

FILES = Path(__file__).parent / "files"
THEN = 1_767_225_600.0
FAR = 9_000_000_000.5

SESSION = Session("session-1", "5" * 64, THEN, THEN + 0.25, FAR, FAR, "Firefox")
LOGIN = Login(
    session="session-1",
    tenant="acme",
    provider="default",
    registration="r" * 64,
    issuer="https://login.acme.example/",
    subject="user-1",
    sid="sid-1",
    claims={"sub": "user-1", "name": "Ada ü", "sid": "sid-1"},
    tokens="sealed token set",
    access_expires_at=FAR,
    signed_in_at=THEN,
    expires_at=FAR,
    version=2**48 - 1,
)
ATTEMPT = LoginAttempt(
    id="attempt-1",
    tenant="acme",
    provider="default",
    registration="r" * 64,
    binding_hash="b" * 64,
    nonce="nonce",
    sealed="sealed verifier",
    redirect_uri="https://portal.example/t/acme/callback",
    return_to="/t/acme/",
    expires_at=FAR,
)
STEP = LogoutStep("step-1", "acme", "b" * 64, "sealed address", FAR)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("number", range(2, len(SCHEMAS)))
def test_a_file_of_every_earlier_schema_can_be_migrated(number: int) -> None:
    """For each new schema, add the dump of a file with the previous one: `sqlite3 portal.db .dump`."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript((FILES / f"schema-{number}.sql").read_text(encoding="utf-8"))
        assert database.execute("PRAGMA user_version").fetchone() == (number,)
        for statements in SCHEMAS[number:]:
            for statement in statements:
                database.execute(statement)


@pytest.mark.gen_test
async def test_a_file_of_schema_2_is_migrated_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "portal.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FILES / "schema-2.sql").read_text(encoding="utf-8"))
    assert version(path) == 2
    store = SQLiteStore(path)
    await store.open()
    try:
        found = await store.read([SESSION.id], [LOGIN.id], now=THEN)
        assert found == ({SESSION.id: SESSION}, {LOGIN.id: LOGIN})
        key: dict[str, Any] = {"tenant": "acme", "binding_hash": "b" * 64, "now": THEN}
        assert await store.take_attempt(ATTEMPT.id, **key) == ATTEMPT
        assert await store.take_logout_step(STEP.id, **key) == STEP
        assert await store.is_remembered("jti-1", now=THEN)
        assert await store.get_meta("generation") is None
    finally:
        await store.close()
    assert version(path) == len(SCHEMAS)


@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.gen_test
async def test_a_file_without_tenants_gets_them_and_keeps_its_content(tmp_path: Path, number: int) -> None:
    path = tmp_path / "portal.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FILES / f"schema-{number}.sql").read_text(encoding="utf-8"))
    store = SQLiteStore(path)
    await store.open()
    try:
        assert await store.tenants.list_tenants() == []
        assert await store.tenants.add_tenant(new_tenant(), event=new_event())
        found = await store.read([SESSION.id], [LOGIN.id], now=THEN)
        assert found == ({SESSION.id: SESSION}, {LOGIN.id: LOGIN})
        assert await store.get_meta("generation") == "1"
        assert await store.tenants.tenants_version() == 1
    finally:
        await store.close()
    assert version(path) == len(SCHEMAS)
    await store.open()
    assert await store.tenants.list_tenants() == [new_tenant()]
    await store.close()


@pytest.mark.gen_test
async def test_the_events_of_a_file_without_those_of_users_stay(tmp_path: Path) -> None:
    path = tmp_path / "portal.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((FILES / "schema-5.sql").read_text(encoding="utf-8"))
    store = SQLiteStore(path)
    await store.open()
    try:
        assert [event.kind for event in await store.tenants.list_events(tenant="acme")] == ["tenant_added"]
        await store.tenants.add_events([new_event("signed_in", actor="ada")])
        found = await store.tenants.list_user_events([("initech", "ada")], since=0.0, most=9)
        assert len(found) == 1
    finally:
        await store.close()


@pytest.mark.gen_test
async def test_a_file_of_a_much_newer_portal_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "portal.db"
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {len(SCHEMAS) + 2}")
    before = path.read_bytes()
    with pytest.raises(StartupError, match="made by a newer portal") as caught:
        await store.open()
    assert caught.value.exit_code == 3
    assert f"Start a portal of format {len(SCHEMAS) + 2} or {len(SCHEMAS) + 1}" in caught.value.remedy
    assert path.read_bytes() == before


@pytest.mark.gen_test
async def test_a_file_of_the_next_portal_is_used_and_not_migrated(tmp_path: Path) -> None:
    """Also by a process that has it open while the next version migrates it."""
    path = tmp_path / "portal.db"
    first = SQLiteStore(path)
    await first.open()
    await first.put_login(LOGIN)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE logins ADD COLUMN new TEXT NOT NULL DEFAULT 'x'")
        database.execute("CREATE TABLE things (id TEXT PRIMARY KEY NOT NULL)")
        database.execute(f"PRAGMA user_version = {len(SCHEMAS) + 1}")
        database.commit()
    second = SQLiteStore(path)
    await second.open()
    for store in (first, second):
        assert (await store.read((), [LOGIN.id], now=THEN))[1] == {LOGIN.id: LOGIN}
        await store.put_login(LOGIN)
        await store.add_session(replace(SESSION, id=f"of {store is first}", secret_hash=str(store is first)))
        await store.close()
    assert version(path) == len(SCHEMAS) + 1


@pytest.mark.parametrize("number", range(2, len(SCHEMAS)))
def test_a_schema_only_adds(number: int) -> None:
    """The version before uses the file too: what it reads stays, and what it does not write has a default."""
    with closing(sqlite3.connect(":memory:")) as database:
        for statements in SCHEMAS[:number]:
            for statement in statements:
                database.execute(statement)
        before = shape(database)
        for statement in SCHEMAS[number]:
            database.execute(statement)
        after = shape(database)
    for table, columns in before.items():
        assert columns.items() <= after[table].items(), table
        for name in after[table].keys() - columns.keys():
            _, not_null, default, key = after[table][name]
            assert not key, (table, name)
            assert not not_null or default is not None, (table, name)


def shape(database: sqlite3.Connection) -> dict[str, dict[str, tuple[object, ...]]]:
    """Type, NOT NULL, default and place in the key of each column by table and name, and unique indexes."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {
        table: {row[1]: tuple(row[2:]) for row in database.execute(f"PRAGMA table_info({table})")}
        for table in tables
    }
    for table in tables:
        for _, name, unique, *_ in database.execute(f"PRAGMA index_list({table})").fetchall():
            if unique and not name.startswith("sqlite_autoindex"):
                found[table][f"unique {name}"] = ("", 1, None, 1)  # which a later schema cannot add
    return found
