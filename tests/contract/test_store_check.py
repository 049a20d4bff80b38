"""`portal store check` names what cannot be read, on each database, and changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from click.testing import CliRunner
from pymongo import MongoClient
from tornado.ioloop import IOLoop

from portal.admin.store_check import Finding, Report, StoreCheck
from portal.cli.main import cli
from portal.clock import now
from portal.errors import StoreUnavailable
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.provider import TokenSet
from portal.secret import Secret
from portal.stores.by_url import inspection_for
from portal.stores.mongo.documents import VERSION
from portal.stores.tenant_store import Database
from portal.tenancy.stored import sealed_for
from tests.contract.entries import (
    at,
    new_attempt,
    new_claim,
    new_draft,
    new_event,
    new_link,
    new_login,
    new_revision,
    new_session,
    new_step,
    new_tenant,
)

SECRET = "nobody-may-see-this"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(KeyRing.create(tmp_path / "keys.json"))


def sealed_login(vault: Vault, tenant: str = "acme") -> Any:
    login = new_login(tenant=tenant)
    tokens = TokenSet(access_token=Secret(SECRET), refresh_token=None, id_token=None, expires_at=at(60))
    return replace(login, tokens=vault.seal_tokens(login.id, tokens))


async def fill(store: Database, vault: Vault) -> None:
    """Entries of every kind, all of which can be used."""
    await store.add_session(new_session())
    await store.put_login(sealed_login(vault))
    step = new_step()
    await store.add_logout_step(replace(step, next_url=vault.seal(step.id, "https://portal.example/")))
    await store.put_login(new_login(tenant="gone", expires_at=at(-60)))  # it is about to be deleted
    await store.remember_once("key", expires_at=at(60), now=at(0))
    tenants = store.tenants
    await tenants.add_tenant(new_tenant(), event=new_event())
    sealed = vault.seal(sealed_for("initech"), SECRET)
    content = f"name: Initech\nissuer: https://l.example\nclient: {{id: i, secret: 'sealed:{sealed}'}}\n"
    revision = new_revision(1, content=content)
    await tenants.publish(revision, replaces=0, draft=None, event=new_event())
    await tenants.put_draft(new_draft(), replaces=None, event=new_event())
    await tenants.add_setup_link(new_link(), event=new_event())
    await tenants.add_domain(new_claim(), event=new_event())


async def checked(url: str, vault: Vault, **options: Any) -> Report:
    inspection = inspection_for(url)
    await inspection.open()
    try:
        check = StoreCheck(vault, {"acme"}, clock=now)
        return await check.run(inspection, **{"most": 10, "progress": lambda done, all_: None, **options})
    finally:
        await inspection.close()


def content_of(url: str) -> str:
    """All that the database contains, its indexes included."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return "\n".join(database.iterdump())
    with MongoClient[dict[str, Any]](url) as client:
        opened = client.get_default_database()
        found = {
            name: (list(opened[name].find()), opened[name].index_information())
            for name in sorted(opened.list_collection_names())
        }
        return str(json_util.dumps(found))


@pytest.mark.gen_test(timeout=60)
async def test_a_database_without_a_problem_has_none_and_is_not_changed(
    store: Database, database_url: str, vault: Vault
) -> None:
    await fill(store, vault)
    before = content_of(database_url)
    steps: list[tuple[int, int]] = []
    report = await checked(database_url, vault, progress=lambda done, all_: steps.append((done, all_)))
    assert content_of(database_url) == before
    assert (report.findings, report.counts) == ([], {})
    kinds = {"TenantRecord", "Revision", "Draft", "SetupLink", "DomainClaim", "Event", "Session", "Login"}
    assert {*kinds, "LogoutStep", "used identifier"} <= report.entries.keys()
    assert steps[-1][0] == report.entries.total() <= steps[-1][1]


async def _with_lost_key(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    lost = KeyRing.create(folder / "lost.json")
    login = sealed_login(Vault(lost))
    await store.put_login(login)
    problem = f"no key {lost.newest.kid} in the key ring"
    return {Finding("Login", f"{login.id[:8]}…", problem)}


async def _with_copied_tokens(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    login = sealed_login(vault)
    copied = replace(login, session=secrets.token_urlsafe(16))
    await store.put_login(copied)
    return {Finding("Login", f"{copied.id[:8]}…", "a sealed value belongs to another document")}


async def _with_unsealed_attempt(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    attempt = new_attempt(sealed=SECRET)
    await store.add_attempt(attempt)
    return {Finding("LoginAttempt", f"{attempt.id[:8]}…", "a sealed value is malformed")}


async def _with_unknown_tenant(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    login = sealed_login(vault, "nobody")
    await store.put_login(login)
    return {Finding("Login", f"{login.id[:8]}…", "belongs to a tenant that does not exist")}


async def _with_broken_json(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    await store.tenants.add_tenant(new_tenant("hooli"), event=new_event(actor="{"))
    link = new_link("hooli", author="{'")
    await store.tenants.add_setup_link(link, event=new_event())
    broken = new_event("x", actor="[")
    await store.tenants.add_events([broken])
    events = await store.tenants.list_events()
    bad = {event.id for event in events if event.actor in ("{", "[")}
    assert len(bad) == 2
    return {
        *(Finding("Event", key, "actor is not JSON") for key in bad),
        Finding("SetupLink", f"{link.id[:8]}…", "author is not JSON"),
    }


async def _with_later_content(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    await store.tenants.add_tenant(new_tenant("hooli"), event=new_event())
    revision = new_revision(1, "hooli", format=7)
    await store.tenants.publish(revision, replaces=0, draft=None, event=new_event())
    problem = "has format 7, and this portal reads formats up to 1"
    return {Finding("Revision", "hooli:1", problem)}


async def _with_bad_content(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    await store.tenants.add_tenant(new_tenant("hooli"), event=new_event())
    revision = new_revision(1, "hooli", content="a: [b\n")
    await store.tenants.publish(revision, replaces=0, draft=None, event=new_event())
    return {Finding("Revision", "hooli:1", "content cannot be read")}


async def _with_damaged_meta(store: Database, vault: Vault, folder: Path) -> set[Finding]:
    await store.put_meta("generation", "x")
    await store.put_meta("key_ring", "{")
    return {
        Finding("metadata", "generation", "cannot be read"),
        Finding("metadata", "key_ring", "value is not JSON"),
    }


Fault = Callable[[Database, Vault, Path], Awaitable[set[Finding]]]
FAULTS: tuple[Fault, ...] = (
    *(_with_lost_key, _with_copied_tokens, _with_unsealed_attempt, _with_unknown_tenant),
    *(_with_broken_json, _with_later_content, _with_bad_content, _with_damaged_meta),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.gen_test(timeout=60)
async def test_what_cannot_be_used_is_named_and_nothing_else(
    store: Database, database_url: str, vault: Vault, tmp_path: Path, fault: Fault
) -> None:
    await fill(store, vault)
    expected = await fault(store, vault, tmp_path)
    before = content_of(database_url)
    report = await checked(database_url, vault)
    assert set(report.findings) == expected
    assert content_of(database_url) == before


def change(url: str, table: str, key: str, field: str, value: Any) -> None:
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            column = "slug" if table == "tenants" else "id"
            database.execute(f"UPDATE {table} SET {field} = ? WHERE {column} = ?", (value, key))
            database.commit()
        return
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()[table].update_one({"_id": key}, {"$set": {field: value}})


@pytest.mark.gen_test(timeout=60)
async def test_damaged_entries_and_missing_revisions_are_named(
    store: Database, database_url: str, vault: Vault
) -> None:
    await fill(store, vault)
    session, login = new_session(), sealed_login(vault)
    await store.add_session(session)
    await store.put_login(login)
    change(database_url, "sessions", session.id, "created_at", SECRET)
    change(database_url, "logins", login.id, "claims", "{")
    change(database_url, "tenants", "initech", "live", 2)
    report = await checked(database_url, vault)
    assert set(report.findings) == {
        Finding("Session", f"{session.id[:8]}…", "created_at cannot be read"),
        Finding("Login", f"{login.id[:8]}…", "claims cannot be read"),
        Finding("TenantRecord", "initech", "its live revision 2 is missing"),
    }


@pytest.mark.parametrize("database_url", ["mongodb"], indirect=True)
@pytest.mark.gen_test(timeout=60)
async def test_documents_of_an_unknown_format_are_named(
    store: Database, database_url: str, vault: Vault
) -> None:
    login, later = sealed_login(vault), sealed_login(vault)
    for each in (login, later):
        await store.put_login(each)
    change(database_url, "logins", login.id, "v", VERSION + 1)
    change(database_url, "logins", later.id, "v", VERSION + 2)
    report = await checked(database_url, vault)
    assert report.findings == [Finding("Login", f"{later.id[:8]}…", "has an unknown format")]


@pytest.mark.parametrize("database_url", ["mongodb"], indirect=True)
@pytest.mark.gen_test(timeout=60)
async def test_a_tenant_that_cannot_find_its_revision_or_cannot_be_changed_is_named(
    store: Database, database_url: str, vault: Vault
) -> None:
    """As after the restore of one collection without the other."""
    await fill(store, vault)
    change(database_url, "tenants", "initech", "instance", "another")
    change(database_url, "tenants", "initech", "events", 5)
    change(database_url, "domains", "initech.example", "events", 5)
    assert await store.tenants.read_revisions([("initech", 1)]) == []
    with pytest.raises(StoreUnavailable):
        await store.tenants.set_status(
            "initech", "suspended", expected="live", at=at(9), event=new_event("the change")
        )
    report = await checked(database_url, vault)
    assert set(report.findings) == {
        Finding("Revision", "initech:1", "belongs to an earlier tenant of this name"),
        Finding("TenantRecord", "initech", "its live revision 1 is missing"),
        Finding("TenantRecord", "initech", "events cannot be read"),
        Finding("DomainClaim", "initech.example", "events cannot be read"),
    }


@pytest.mark.gen_test(timeout=60)
async def test_all_are_counted_and_some_named(store: Database, database_url: str, vault: Vault) -> None:
    for _ in range(30):
        await store.put_login(sealed_login(vault, "nobody"))
    report = await checked(database_url, vault, most=4)
    assert list(report.counts.values()) == [30]
    assert len(report.findings) == 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.gen_test(timeout=110)
async def test_memory_does_not_grow_with_the_number_of_entries(
    store: Database, database_url: str, vault: Vault
) -> None:
    async def peak() -> int:
        tracemalloc.start()
        try:
            await checked(database_url, vault)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    path = database_url.removeprefix("sqlite:///")
    columns = (
        "SELECT sessions.id || n.value, secret_hash || n.value, created_at, last_seen_at, idle_expires_at"
    )
    select = columns + ", absolute_expires_at, device FROM sessions, json_each(?) AS n"
    await store.add_session(new_session(device="x" * 2000))
    for number, rows in enumerate((2_000, 20_000)):
        with contextlib.closing(sqlite3.connect(path)) as database:
            values = json.dumps([f"{number}.{row}" for row in range(rows)])
            database.execute(f"INSERT INTO sessions {select} WHERE length(sessions.id) = 22", (values,))
            database.commit()
        if number == 0:
            small = await peak()
    assert await peak() < small + 1_000_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_command_prints_a_report_without_secrets(
    io_loop: IOLoop, store: Database, database_url: str, vault: Vault, tmp_path: Path
) -> None:
    io_loop.run_sync(lambda: fill(store, vault))
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "acme.yaml").write_text("not even valid")
    variables = {
        "PORTAL_DATABASE": database_url,
        "PORTAL_KEYS": str(tmp_path / "keys.json"),
        "PORTAL_TENANTS": str(tmp_path / "tenants"),
        "PORTAL_CONFIG": None,
    }

    def run(*options: str) -> Any:
        return CliRunner().invoke(cli, ["store", "check", *options], env=variables, standalone_mode=False)

    done = run()
    assert done.return_value == 0, done.output
    assert "0 problems found." in done.output
    io_loop.run_sync(lambda: store.add_attempt(new_attempt(sealed=SECRET)))
    digest = hashlib.sha256(Path(database_url.removeprefix("sqlite:///")).read_bytes()).digest()
    done = run()
    assert done.return_value == 1
    assert "LoginAttempt: a sealed value is malformed: 1" in done.output
    assert SECRET not in done.output
    done = run("--json")
    report = json.loads(done.stdout)
    assert done.return_value == 1
    assert report["problems"] == [
        {"kind": "LoginAttempt", "problem": "a sealed value is malformed", "count": 1}
    ]
    assert report["entries"]["Login"] == 2
    assert hashlib.sha256(Path(database_url.removeprefix("sqlite:///")).read_bytes()).digest() == digest
