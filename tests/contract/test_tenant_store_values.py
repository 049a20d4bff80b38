"""What tenants of a database may contain: any text within the limits, and nothing that is not a record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from itertools import chain
from typing import Any

import pytest
import structlog
from bson import Int64
from pymongo import MongoClient

from portal.stores.record_checks import MAX_CONTENT_BYTES, MAX_REASON_CHARACTERS, TenantEntry, require_valid
from portal.stores.sqlite import tenant_statements as sql
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.stored_entries import stored_names
from portal.stores.tenant_records import DomainClaim, Draft, Event, Revision, SetupLink, TenantRecord
from portal.stores.tenant_store import TenantStore
from tests.contract.entries import (
    at,
    new_claim,
    new_draft,
    new_event,
    new_link,
    new_revision,
    new_tenant,
)
from tests.kit.loop_monitor import LoopMonitor

STRANGE = "ü\x00\u202e'\"; DROP TABLE tenants; -- $ne {$gt: ''} .a.b \U0001f600\n\t"
SECRET = "a-secret-value-that-must-never-be-logged"
RECORDS: tuple[TenantEntry, ...] = (
    new_tenant(),
    new_revision(),
    new_draft(),
    new_link(),
    new_claim(),
    new_event(),
)
Damage = Callable[[type, str, object], None]
"""Sets a field of the one stored record of this type."""


def with_value(record: Any, field: str, value: object) -> Any:
    return replace(record, **{field: value})


# --- limits


def test_a_valid_record_of_each_kind_is_accepted() -> None:
    for record in RECORDS:
        require_valid(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_field_of_a_record_has_a_type_and_a_limit(record: TenantEntry) -> None:
    for field in fields(record):
        value = getattr(record, field.name)
        wrong: list[object] = [None, [value], {"$ne": value}, b"x", True]
        wrong.append(1 if isinstance(value, str) else "1")
        for each in wrong:
            with pytest.raises(TypeError, match=field.name) as caught:
                require_valid(with_value(record, field.name, each))
            assert SECRET not in str(caught.value)
        beyond: list[object] = [SECRET * 10_000, "\ud800"]
        if not isinstance(value, str):
            beyond = [-1, 2**53 + 1] if isinstance(value, int) else [-0.001, math.nan, math.inf, 1e15]
        for each in beyond:
            with pytest.raises(ValueError, match=field.name) as refused:
                require_valid(with_value(record, field.name, each))
            assert SECRET not in str(refused.value)


def test_the_limits_are_inclusive() -> None:
    fitting = "ü" * (MAX_CONTENT_BYTES // 2)
    require_valid(new_revision(content=fitting, reason="ü" * MAX_REASON_CHARACTERS))
    with pytest.raises(ValueError, match="content has more than 262144 bytes"):
        require_valid(new_draft(content=fitting + "x"))
    with pytest.raises(ValueError, match="reason has more than 1000 characters"):
        require_valid(new_event(reason="x" * (MAX_REASON_CHARACTERS + 1)))


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (new_tenant(), "slug"),
        (new_revision(), "tenant"),
        (new_draft(), "tenant"),
        (new_link(), "id"),
        (new_link(), "tenant"),
        (new_link(), "token_hash"),
        (new_claim(), "name"),
        (new_claim(), "tenant"),
        (new_event(), "id"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_identifies_a_record_is_not_empty(record: TenantEntry, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is empty"):
        require_valid(with_value(record, field, ""))


def test_an_event_has_an_id_of_its_time() -> None:
    with pytest.raises(ValueError, match="event_id"):
        require_valid(new_event(at=at(1)))
    require_valid(new_event(seconds=1))


@pytest.mark.gen_test
async def test_no_argument_can_be_a_query_operator(tenants: TenantStore) -> None:
    """THREATS S13."""
    query: Any = {"$ne": ""}
    event = new_event()
    await tenants.add_tenant(new_tenant(), event=event)
    await tenants.put_draft(new_draft(), replaces=None, event=None)
    claim: dict[str, Any] = {"proof": "dns", "proven_at": 1.0, "checked_at": 1.0}
    for call in (
        lambda: tenants.get_tenant(query),
        lambda: tenants.set_status(query, "x", expected="live", at=1.0, event=event),
        lambda: tenants.set_status("initech", query, expected="live", at=1.0, event=event),
        lambda: tenants.set_status("initech", "x", expected=query, at=1.0, event=event),
        lambda: tenants.set_status("initech", "x", expected="live", at=query, event=event),
        lambda: tenants.remove_tenant(query, event=event),
        lambda: tenants.publish(new_revision(), replaces=query, draft=None, event=event),
        lambda: tenants.publish(new_revision(), replaces=0, draft=query, event=event),
        lambda: tenants.publish(new_revision(tenant=query), replaces=0, draft=None, event=event),
        lambda: tenants.read_revisions([(query, 1)]),
        lambda: tenants.read_revisions([("initech", query)]),
        lambda: tenants.list_revisions(query, before=None, most=1),
        lambda: tenants.list_revisions("initech", before=query, most=1),
        lambda: tenants.list_revisions("initech", before=None, most=query),
        lambda: tenants.get_draft(query),
        lambda: tenants.put_draft(new_draft(), replaces=query, event=None),
        lambda: tenants.put_draft(new_draft(content=query), replaces=1, event=None),
        lambda: tenants.delete_draft(query, version=1, event=event),
        lambda: tenants.delete_draft("initech", version=query, event=event),
        lambda: tenants.find_setup_link(query),
        lambda: tenants.bind_setup_link(query, browser_hash="b", now=1.0, event=event),
        lambda: tenants.bind_setup_link("t", browser_hash=query, now=1.0, event=event),
        lambda: tenants.bind_setup_link("t", browser_hash="b", now=query, event=event),
        lambda: tenants.list_setup_links(query),
        lambda: tenants.revoke_setup_link(query, tenant="initech", at=1.0, event=event),
        lambda: tenants.revoke_setup_link("l", tenant=query, at=1.0, event=event),
        lambda: tenants.revoke_setup_link("l", tenant="initech", at=query, event=event),
        lambda: tenants.list_domains(query),
        lambda: tenants.prove_domain(query, tenant="initech", **claim, event=event),
        lambda: tenants.prove_domain("d", tenant=query, **claim, event=event),
        lambda: tenants.prove_domain("d", tenant="initech", **{**claim, "proof": query}, event=event),
        lambda: tenants.delete_domain(query, tenant="initech", event=event),
        lambda: tenants.delete_domain("d", tenant=query, event=event),
        lambda: tenants.prove_domain(
            "d", tenant="initech", **claim, event=event, unchanged=new_claim(proof=query)
        ),
        lambda: tenants.delete_domain(
            "d", tenant="initech", event=event, unchanged=new_claim(proven_at=query)
        ),
        lambda: tenants.list_events(tenant=query),
        lambda: tenants.list_events(before=query),
        lambda: tenants.list_events(since=query),
        lambda: tenants.list_events(most=query),
        lambda: tenants.purge_events(before=query, most=1),
        lambda: tenants.purge_events(before=1.0, most=query),
        lambda: tenants.add_events([new_event(kind=query)]),
        lambda: tenants.add_setup_link(new_link(tenant=query), event=event),
        lambda: tenants.add_domain(new_claim(tenant=query), event=event),
        lambda: tenants.add_tenant(new_tenant(query), event=event),
    ):
        with pytest.raises(TypeError):
            await call()
    assert await tenants.list_tenants() == [new_tenant()]
    assert await tenants.get_draft("initech") == new_draft()
    assert await tenants.list_events() == [event]


@pytest.mark.parametrize("key", [("x" * 64, 1), ("initech", 2**53 + 1), ("initech", -1), ("\ud800", 1)])
@pytest.mark.gen_test
async def test_a_key_of_a_revision_has_the_limits_of_its_fields(
    tenants: TenantStore, key: tuple[str, int]
) -> None:
    with pytest.raises(ValueError, match=r"slug|number"):
        await tenants.read_revisions([("initech", 1), key])


@pytest.mark.gen_test
async def test_a_revision_with_a_number_that_is_not_larger_is_refused(tenants: TenantStore) -> None:
    await tenants.add_tenant(new_tenant(live=3), event=new_event())
    for number in (2, 3):
        with pytest.raises(ValueError, match="number"):
            await tenants.publish(new_revision(number), replaces=3, draft=None, event=new_event())
    assert await tenants.publish(new_revision(9), replaces=3, draft=None, event=new_event())
    assert await tenants.read_revisions([("initech", 9)]) == [new_revision(9)]


@pytest.mark.gen_test
async def test_any_text_within_the_limits_is_returned_unchanged(tenants: TenantStore) -> None:
    large = (STRANGE * (MAX_CONTENT_BYTES // len(STRANGE.encode())))[: MAX_CONTENT_BYTES // 2]
    tenant = new_tenant(status="$ne.\u202e")
    revision = new_revision(content=large, author=STRANGE, reason=STRANGE, test=STRANGE, published_at=0.0)
    draft = new_draft(2**53, content=large, author=STRANGE, test=STRANGE, based_on=2**53)
    link = new_link(id="$where.a", name=STRANGE, author=STRANGE, expires_at=9_000_000_000.999)
    claim = new_claim("xn--4ca.example.$", token=STRANGE[:60], kind="$kind")
    event = new_event(actor=STRANGE, target=STRANGE, reason=STRANGE, device=STRANGE, request_id="", client="")
    assert await tenants.add_tenant(tenant, event=event)
    assert await tenants.publish(revision, replaces=0, draft=None, event=new_event())
    assert await tenants.put_draft(draft, replaces=None, event=new_event())
    assert await tenants.add_setup_link(link, event=new_event())
    assert await tenants.add_domain(claim, event=new_event())
    assert await tenants.revoke_setup_link("$where.a", tenant="initech", at=at(1), event=new_event())
    assert await tenants.read_revisions([("initech", 1)]) == [revision]
    assert await tenants.get_draft("initech") == draft
    assert await tenants.list_setup_links("initech") == [replace(link, revoked_at=at(1))]
    assert await tenants.list_domains() == [claim]
    assert event in await tenants.list_events()
    assert await tenants.list_tenants() == [replace(tenant, live=1, changed_at=0.0)]


# --- damage


@pytest.fixture
def damage(database_url: str) -> Iterator[Damage]:
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
            yield lambda model, field, value: _damage_sqlite(database, model, field, value)
    else:
        with MongoClient[Any](database_url) as client:
            yield lambda model, field, value: _damage_mongodb(client, model, field, value)


_TABLES: dict[type, str] = {
    TenantRecord: "tenants",
    Revision: "revisions",
    Draft: "drafts",
    SetupLink: "setup_links",
    DomainClaim: "domains",
    Event: "events",
}
_PARTS: dict[type, str] = {Draft: "draft.", SetupLink: "links.0."}


def _damage_sqlite(database: sqlite3.Connection, model: type, field: str, value: object) -> None:
    with contextlib.suppress(sqlite3.IntegrityError), database:
        database.execute(f"UPDATE {_TABLES[model]} SET {field} = ?", (value,))


def _damage_mongodb(client: MongoClient[Any], model: type, field: str, value: object) -> None:
    table = "tenants" if model in _PARTS else _TABLES[model]
    path = f"{_PARTS.get(model, '')}{field}"
    client.get_default_database()[table].update_many({}, {"$set": {path: value}})


VALUES = (None, SECRET, b"\xff\x00", 5, 1.5, math.inf, [SECRET], {"a": SECRET}, Int64(2**62), "[" * 100_000)
_KEYS = {"slug", "tenant", "id", "name", "token_hash", "number"}


@pytest.mark.gen_test(timeout=120)
async def test_a_damaged_record_is_missing_and_nothing_fails(
    tenants: TenantStore, damage: Damage, database_url: str
) -> None:
    link = new_link()
    assert await tenants.add_tenant(new_tenant(), event=new_event())
    assert await tenants.publish(new_revision(), replaces=0, draft=None, event=new_event())
    assert await tenants.put_draft(new_draft(), replaces=None, event=None)
    assert await tenants.add_setup_link(link, event=new_event())
    assert await tenants.add_domain(new_claim(), event=new_event())

    async def everything() -> list[object]:
        return [
            *await tenants.list_tenants(),
            await tenants.get_tenant("initech"),
            *await tenants.read_revisions([("initech", 1)]),
            *await tenants.list_revisions("initech", before=None, most=5),
            await tenants.get_draft("initech"),
            await tenants.find_setup_link(link.token_hash),
            *await tenants.list_setup_links("initech"),
            *await tenants.list_domains(),
            *await tenants.list_events(),
        ]

    whole = await everything()
    assert None not in whole
    accepted = VALUES if not database_url.startswith("sqlite") else (SECRET, b"\xff\x00", 5, 1.5, math.inf)
    missing = 0
    with structlog.testing.capture_logs() as logs:
        for model in _TABLES:
            for field in stored_names(model):
                if field in _KEYS:
                    continue
                good = getattr(next(each for each in whole if isinstance(each, model)), field)
                for value in accepted:
                    damage(model, field, value)
                    found = await everything()
                    missing += len([each for each in found if each is not None]) < len(whole)
                damage(model, field, good)
                if model is Event:
                    continue  # those of this test differ
                assert await everything() == whole, (model, field)
    assert missing > 50
    damaged = [line for line in logs if line["event"] == "damaged_entry"]
    assert {line["kind"] for line in damaged} >= {model.__name__ for model in _TABLES}
    assert SECRET not in json.dumps(damaged)


@pytest.mark.gen_test
async def test_one_damaged_tenant_hides_no_other(
    tenants: TenantStore, damage: Damage, database_url: str
) -> None:
    for slug in ("initech", "globex"):
        await tenants.add_tenant(new_tenant(slug), event=new_event())
        await tenants.publish(new_revision(1, slug), replaces=0, draft=None, event=new_event())
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
            database.execute("UPDATE tenants SET live = 'x' WHERE slug = 'globex'")
            database.execute("UPDATE revisions SET content = x'ff00' WHERE tenant = 'globex'")
    else:
        with MongoClient[Any](database_url) as client:
            stored = client.get_default_database()
            stored["tenants"].update_one(
                {"_id": "globex"}, {"$set": {"live": "x", "events": [5, {"_id": 5}]}}
            )
            stored["revisions"].update_one({"tenant": "globex"}, {"$set": {"v": 99}})
            stored["tenants"].insert_one({"_id": 5})
    assert [each.slug for each in await tenants.list_tenants()] == ["initech"]
    assert await tenants.read_revisions([("globex", 1), ("initech", 1)]) == [new_revision()]
    assert await tenants.list_events(most=1)
    assert await tenants.set_status("globex", "suspended", expected="live", at=at(1), event=new_event("x", 9))
    assert (await tenants.list_events(most=1))[0].kind == "x"


@pytest.mark.gen_test
async def test_damaged_events_do_not_keep_back_those_that_wait_after_them(
    tenants: TenantStore, damage: Damage
) -> None:
    damaged = [new_event(seconds=number) for number in range(5)]
    await tenants.add_events(damaged)
    damage(Event, "at", "x")
    sound = new_event(seconds=9)
    await tenants.add_events([sound])
    assert await tenants.waiting_events(after="", most=3) == ([], [event.id for event in damaged[:3]])
    assert await tenants.waiting_events(after="", most=9) == ([sound], [event.id for event in damaged])
    await tenants.set_aside_events([event.id for event in damaged])
    assert await tenants.waiting_events(after="", most=3) == ([sound], [])
    assert await tenants.list_set_aside(after="", most=9) == []


# --- size


@pytest.mark.gen_test(timeout=120)
async def test_no_list_of_ten_thousand_holds_the_event_loop(
    tenants: TenantStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_many(database_url, 10_000)
    monkeypatch.setattr("tests.kit.loop_monitor.SAMPLED_AFTER", 0.005)
    monitor = LoopMonitor()
    more = [new_event(seconds=1) for _ in range(3_000)]
    with monitor.watching():
        # as tasks, so that their callbacks are the portal's
        found = await asyncio.create_task(tenants.list_tenants())
        domains = await asyncio.create_task(tenants.list_domains())
        events = await asyncio.create_task(tenants.list_events(most=10_000))
        keys = [(each.slug, 1) for each in found[:2_000]]
        revisions = await asyncio.create_task(tenants.read_revisions(keys))
        await asyncio.create_task(tenants.add_events(more))
    assert [each.slug for each in found] == [f"t{number:05}" for number in range(10_000)]
    assert (len(domains), len(events), len(revisions)) == (10_000, 10_000, 2_000)
    too_long = [str(hold) for hold in monitor.holds if hold.cpu > 0.010]
    assert not too_long


def _store_many(url: str, count: int) -> None:
    """Store tenants, each with a revision, a domain and an event, without the store."""
    slugs = [f"t{number:05}" for number in range(count)]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            for table, rows in (
                ("tenants", [new_tenant(slug) for slug in slugs]),
                ("revisions", [new_revision(1, slug) for slug in slugs]),
                ("domains", [new_claim(f"{slug}.example", slug) for slug in slugs]),
                ("events", [new_event(tenant=slug) for slug in slugs]),
            ):
                values = [tuple(getattr(row, each.name) for each in fields(row)) for row in rows]
                marks = ", ".join("?" * len(values[0]))
                columns = ", ".join(each.name for each in fields(rows[0]))
                database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
        return
    from portal.stores.mongo import tenant_documents as documents

    with MongoClient[Any](url) as client:
        stored = client.get_default_database()
        made = [{**documents.tenant_document(new_tenant(slug)), "instance": "i"} for slug in slugs]
        stored["tenants"].insert_many(made)
        stored["revisions"].insert_many(
            {
                **documents.revision_document(new_revision(1, slug)),
                "_id": documents.revision_id(slug, 1, "i"),
                "instance": "i",
            }
            for slug in slugs
        )
        stored["domains"].insert_many(
            documents.domain_document(new_claim(f"{slug}.example", slug), tenant_instance="i")
            for slug in slugs
        )
        stored["events"].insert_many(documents.event_document(new_event(tenant=slug)) for slug in slugs)


@pytest.mark.parametrize(
    ("statement", "plan"),
    [
        (sql.GET_TENANT, "SEARCH tenants USING INDEX sqlite_autoindex_tenants_1 (slug=?)"),
        (
            sql.GET_REVISION,
            "SEARCH revisions USING INDEX sqlite_autoindex_revisions_1 (tenant=? AND number=?)",
        ),
        (
            sql.LIST_REVISIONS,
            "SEARCH revisions USING INDEX sqlite_autoindex_revisions_1 (tenant=? AND number<?)",
        ),
        (sql.GET_DRAFT, "SEARCH drafts USING INDEX sqlite_autoindex_drafts_1 (tenant=?)"),
        (sql.FIND_LINK, "SEARCH setup_links USING INDEX setup_links_token (token_hash=?)"),
        (sql.LIST_LINKS, "SEARCH setup_links USING INDEX setup_links_tenant (tenant=?)"),
        (sql.LIST_DOMAINS_OF, "SEARCH domains USING INDEX domains_tenant (tenant=?)"),
        (
            sql.LIST_EVENTS.format(
                index=sql.ACTS_OF_TENANT,
                conditions=f"{sql.ACTS} AND id >= :since AND tenant = :tenant AND id < :before",
            ),
            "SEARCH events USING INDEX events_acts (tenant=? AND id>? AND id<?)",
        ),
        (
            sql.LIST_EVENTS.format(
                index=sql.ALL_ACTS, conditions=f"{sql.ACTS} AND id >= :since AND id < :before"
            ),
            "SEARCH events USING INDEX events_all_acts (id>? AND id<?)",
        ),
        (
            sql.READ_EVENTS.format(of_tenant="", order="ASC"),
            "SEARCH events USING INDEX sqlite_autoindex_events_1 (id>? AND id<?)",
        ),
        (
            sql.READ_EVENTS.format(of_tenant="AND tenant = :tenant", order="DESC"),
            "SEARCH events USING INDEX events_tenant (tenant=? AND id>? AND id<?)",
        ),
        *(
            (
                sql.LAST_SEARCHED.format(
                    index=sql.INDEXES[of_tenant, acts],
                    conditions="id > :after AND id < :before"
                    + (f" AND {sql.ACTS}" if acts else "")
                    + (" AND tenant = :tenant" if of_tenant else ""),
                ),
                f"SEARCH events USING {index} ({'tenant=? AND ' if of_tenant else ''}id>? AND id<?)",
            )
            for of_tenant, acts, index in (
                (True, True, "INDEX events_acts"),
                (True, False, "COVERING INDEX events_tenant"),
                (False, True, "INDEX events_all_acts"),
                (False, False, "COVERING INDEX sqlite_autoindex_events_1"),
            )
        ),
        (sql.WAITING_EVENTS, "SEARCH events USING INDEX events_waiting (id>?)"),
        (sql.LIST_USER_EVENTS, "SEARCH events USING INDEX events_user (tenant=? AND actor=? AND id>?)"),
    ],
)
def test_every_query_for_some_records_uses_an_index(statement: str, plan: str) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        for each in chain.from_iterable(SCHEMAS):
            database.execute(each)
        names = {"since": "", "after": "", "tenant": "", "actor": "", "before": "", "most": 1, "last": 1}
        parameters: Any = names if ":" in statement else ("",) * statement.count("?")
        assert [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)] == [plan]
