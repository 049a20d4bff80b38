"""MongoDB: every write is right when the server executes it twice, because its first response was lost.

For each method of the stores, and for each write that it sends, the response of that write is dropped. The
driver then sends it again, to a server that does not know transaction numbers. The result of the method and
the content of the database must be those of an undisturbed call.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient

from portal.errors import StoreUnavailable
from portal.stores.model import Login, SessionTouch
from portal.stores.mongo.store import MongoStore
from portal.stores.mongo.tenant_documents import event_document, revision_document
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins, UserKey
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import TenantStore
from tests.contract.entries import (
    NOW,
    at,
    key_of,
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
    provider_of,
)
from tests.contract.patience import patient_url
from tests.kit.mongo_proxy import MongoProxy, mongo_proxy
from tests.mongodb import fresh_database

Call = Callable[[MongoStore], Awaitable[object]]

SESSION = new_session()
NEW_SESSION = new_session()
LOGIN = new_login(SESSION)
OTHER_LOGIN = new_login(SESSION, tenant="globex")
NEWER = replace(LOGIN, tokens="newer", version=LOGIN.version + 1)
ATTEMPT, NEW_ATTEMPT = new_attempt(), new_attempt()
STEP, NEW_STEP = new_step(), new_step()
LINK, NEW_LINK = new_link(), new_link()
CLAIM, CLAIM_OF_NEW = new_claim(), new_claim("new.example")
EVENT = new_event("the change", 50)
REMEMBERED = "remembered"

READS: dict[str, Call] = {
    "read": lambda store: store.read([SESSION.id, "x"], [LOGIN.id], now=NOW),
    "list_logins": lambda store: store.list_logins(SESSION.id, now=NOW),
    "is_remembered": lambda store: store.is_remembered(REMEMBERED, now=NOW),
    "get_meta": lambda store: store.get_meta("known"),
    "has_logins": lambda store: store.has_logins(),
    "tenants_version": lambda store: store.tenants.tenants_version(),
    "list_tenants": lambda store: store.tenants.list_tenants(),
    "get_tenant": lambda store: store.tenants.get_tenant("initech"),
    "read_revisions": lambda store: store.tenants.read_revisions([("initech", 1)]),
    "get_draft": lambda store: store.tenants.get_draft("initech"),
    "find_setup_link": lambda store: store.tenants.find_setup_link(LINK.token_hash),
    "list_setup_links": lambda store: store.tenants.list_setup_links("initech"),
    "list_domains": lambda store: store.tenants.list_domains(),
    "list_user_events": lambda store: store.tenants.list_user_events([("initech", "{}")], since=NOW, most=9),
    "list_set_aside": lambda store: store.tenants.list_set_aside(after="", most=9),
    "list": lambda store: store.tenant_logins.list("acme", registrations=None, before=None, most=9, now=NOW),
    "of_users": lambda store: store.tenant_logins.of_users(
        [UserKey("acme", LOGIN.registration, LOGIN.issuer, LOGIN.subject)], most=9, now=NOW
    ),
    "stored": lambda store: store.tenant_logins.stored("acme", before=None, most=9),
    "count": lambda store: store.tenant_logins.count("acme", registrations=None, now=NOW),
    "count_all": lambda store: store.tenant_logins.count_all(now=NOW),
    "find": lambda store: store.tenant_logins.find(
        session=SESSION.id, issuer="", subject="", after="", among=9, now=NOW
    ),
}
"""Methods that send no write."""
REPEATED = {
    "maintain",
    "purge",
    "purge_events",
    "forget_sign_ins",
    "delete_logins_of",
    "delete",
    "end_expired",
}
"""Methods whose caller repeats them: they delete what is left, or do what is left to do."""


async def _swap_from_none(store: MongoStore) -> object:
    return await store.swap_meta("new", expected=None, value="1")


CALLS: dict[str, Call | list[Call]] = {
    "probe": lambda store: store.probe(),
    "maintain": lambda store: store.maintain(),
    "add_attempt": lambda store: store.add_attempt(NEW_ATTEMPT),
    "take_attempt": lambda store: store.take_attempt(ATTEMPT.id, **key_of(ATTEMPT)),
    "add_logout_step": lambda store: store.add_logout_step(NEW_STEP),
    "take_logout_step": lambda store: store.take_logout_step(STEP.id, **key_of(STEP)),
    "add_session": lambda store: store.add_session(NEW_SESSION, login=new_login_of(NEW_SESSION.id)),
    "rotate_session": lambda store: store.rotate_session(
        SESSION.id,
        old_secret_hash=SESSION.secret_hash,
        new_secret_hash="f" * 64,
        last_seen_at=at(1),
        idle_expires_at=at(3601),
        login=NEWER,
    ),
    "touch_sessions": lambda store: store.touch_sessions([SessionTouch(SESSION.id, at(1), at(3601))]),
    "delete_session": lambda store: _without_leases(store.delete_session(SESSION.id)),
    "put_login": [lambda store: store.put_login(NEWER), lambda store: store.put_login(new_login_of("new"))],
    "swap_login": lambda store: store.swap_login(NEWER, expected_version=LOGIN.version),
    "acquire_lease": lambda store: _owner(store.acquire_lease(OTHER_LOGIN.id, owner="two", seconds=60)),
    "extend_lease": lambda store: store.extend_lease(LOGIN.id, owner="one", seconds=60),
    "release_lease": lambda store: store.release_lease(LOGIN.id, owner="one"),
    "delete_login": [
        lambda store: store.delete_login(SESSION.id, "globex"),
        lambda store: store.delete_login(SESSION.id, "globex", tokens=OTHER_LOGIN.tokens),
    ],
    "delete_logins_by_sid": lambda store: store.delete_logins_by_sid(
        OTHER_LOGIN.issuer, OTHER_LOGIN.sid or "", **provider_of(OTHER_LOGIN)
    ),
    "delete_logins_by_subject": lambda store: store.delete_logins_by_subject(
        OTHER_LOGIN.issuer, OTHER_LOGIN.subject, **provider_of(OTHER_LOGIN)
    ),
    "delete_logins_of": lambda store: store.delete_logins_of(
        "globex", "default", OTHER_LOGIN.registration, kept_issuers=(), signed_in_until=at(9)
    ),
    "remember_once": [
        lambda store: store.remember_once("new", expires_at=at(60), now=NOW),
        lambda store: store.remember_once(REMEMBERED, expires_at=at(60), now=NOW),
    ],
    "put_meta": [lambda store: store.put_meta("new", "1"), lambda store: store.put_meta("known", "2")],
    "swap_meta": [_swap_from_none, lambda store: store.swap_meta("known", expected="1", value="2")],
    "forget_sign_ins": lambda store: store.forget_sign_ins(most=100),
    "purge": lambda store: store.purge(),
    "add_tenant": lambda store: store.tenants.add_tenant(new_tenant("hooli"), event=EVENT),
    "set_status": lambda store: store.tenants.set_status(
        "initech", "suspended", expected="live", at=at(9), event=EVENT
    ),
    "remove_tenant": lambda store: store.tenants.remove_tenant("initech", event=EVENT),
    "publish": lambda store: store.tenants.publish(new_revision(2), replaces=1, draft=1, event=EVENT),
    "put_draft": [
        lambda store: store.tenants.put_draft(new_draft(2), replaces=1, event=EVENT),
        lambda store: store.tenants.put_draft(new_draft(2), replaces=1, event=None),
    ],
    "delete_draft": lambda store: store.tenants.delete_draft("initech", version=1, event=EVENT),
    "add_setup_link": lambda store: store.tenants.add_setup_link(NEW_LINK, event=EVENT),
    "bind_setup_link": lambda store: store.tenants.bind_setup_link(
        LINK.token_hash, browser_hash="b", now=at(1), event=EVENT
    ),
    "revoke_setup_link": lambda store: store.tenants.revoke_setup_link(
        LINK.id, tenant="initech", at=at(1), event=EVENT
    ),
    "add_domain": lambda store: store.tenants.add_domain(CLAIM_OF_NEW, event=EVENT),
    "prove_domain": [
        lambda store: _prove(store, event=EVENT),
        lambda store: _prove(store, event=None),
    ],
    "delete_domain": lambda store: store.tenants.delete_domain(
        "initech.example", tenant="initech", event=EVENT, unchanged=CLAIM
    ),
    "add_events": lambda store: store.tenants.add_events([EVENT]),
    "replace_named": lambda store: store.tenants.replace_named(
        [
            new_revision(1, author="{}", reason="", test=""),
            new_draft(1, author="{}"),
            replace(LINK, author="{}", name="somebody"),
        ]
    ),
    # these first deliver what waits in the documents
    "list_events": lambda store: _number(store.tenants.list_events()),
    "read_events": lambda store: _number(store.tenants.read_events(most=99)),
    "search_events": lambda store: store.tenants.search_events(
        tenant=None,
        kinds=(),
        outcome="",
        subject="",
        after="",
        before=None,
        most=0,
        among=0,
    ),
    "waiting_events": lambda store: store.tenants.waiting_events(after="", most=0),
    "list_revisions": lambda store: _list_waiting_revisions(store),
    "mark_delivered": lambda store: store.tenants.mark_delivered([EVENT.id]),
    "set_aside_events": lambda store: store.tenants.set_aside_events([EVENT.id]),
    "deliver_again": lambda store: store.tenants.deliver_again(most=10),
    "purge_events": lambda store: store.tenants.purge_events(before=at(40), most=9),
    "end_expired": lambda store: store.tenant_logins.end_expired(
        most=10, grace=0.0, report=lambda login: EVENT
    ),
    "delete": lambda store: store.tenant_logins.delete("globex", signed_in_until=at(9), most=10),
}
"""A call, or several, of each method that writes."""
_LOGINS: dict[str, Login] = {}


def new_login_of(session: str) -> Login:
    """The login of a session, the same at each call."""
    return _LOGINS.setdefault(session, new_login(session))


async def _owner(leased: Awaitable[Login | None]) -> object:
    """What does not depend on the time."""
    login = await leased
    return login and (login.id, login.lease_owner)


async def _number(events: Awaitable[list[Event]]) -> int:
    """How many there are: their ids are new at each filling."""
    return len(await events)


async def _list_waiting_revisions(store: MongoStore) -> object:
    """With one that waits in the document of its tenant."""
    push = {"$push": {"revisions": revision_document(new_revision(1))}}
    await store._connection.collection("tenants").update_one({"_id": "initech"}, push)
    return await store.tenants.list_revisions("initech", before=None, most=9)


async def _without_leases(logins: Awaitable[list[Login]]) -> object:
    return [replace(login, lease_expires_at=0.0) for login in await logins]


async def _prove(store: MongoStore, *, event: Any) -> bool:
    return await store.tenants.prove_domain(
        "initech.example",
        tenant="initech",
        proof="dns",
        proven_at=at(1),
        checked_at=at(1),
        event=event,
        unchanged=CLAIM,
    )


CASES = [
    pytest.param(name, call, id=f"{name}-{number}")
    for name, calls in CALLS.items()
    for number, call in enumerate(calls if isinstance(calls, list) else [calls])
]


def methods() -> set[str]:
    return {
        name
        for protocol in (Store, TenantStore, TenantLogins)
        for name, _ in inspect.getmembers(protocol, inspect.iscoroutinefunction)
        if not name.startswith("_") and name not in ("open", "close")
    }


def test_every_method_that_writes_has_a_call() -> None:
    assert set(CALLS) == methods() - READS.keys()
    assert methods() > READS.keys()


@pytest.mark.gen_test(timeout=120)
async def test_the_other_methods_write_nothing_whatever_waits_in_the_documents(
    mongodb_server: str, url: str
) -> None:
    async with mongo_proxy(mongodb_server) as proxy:
        here, there = f":{mongodb_server.rpartition(':')[2]}", f":{proxy.port}"
        store = MongoStore(patient_url(url.replace(here, there)))
        await store.open()
        try:
            await fill(store)
            for name, call in READS.items():
                proxy.arm(0)
                await call(store)
                assert not proxy.writes, f"{name} writes: list it in CALLS"
        finally:
            await store.close()


async def fill(store: MongoStore) -> None:
    """Entries of every kind, the same at each call."""
    await store.add_session(SESSION)
    await store.put_login(LOGIN)
    await store.put_login(OTHER_LOGIN)
    assert await store.acquire_lease(LOGIN.id, owner="one", seconds=600)
    await store.add_attempt(ATTEMPT)
    await store.add_logout_step(STEP)
    assert await store.remember_once(REMEMBERED, expires_at=at(-1), now=at(-2))
    await store.put_meta("known", "1")
    tenants = store.tenants
    assert await tenants.add_tenant(new_tenant(), event=new_event())
    assert await tenants.publish(new_revision(1), replaces=0, draft=None, event=new_event())
    assert await tenants.put_draft(new_draft(1), replaces=None, event=new_event())
    assert await tenants.add_setup_link(LINK, event=new_event())
    assert await tenants.add_domain(CLAIM, event=new_event())
    waiting = {**event_document(new_event("waits", 1)), "counted": True}
    documents = store._connection.collection("tenants")
    await documents.update_one({"_id": "initech"}, {"$push": {"events": waiting}})


async def content(store: MongoStore) -> dict[str, object]:
    """All that the stores return; times of leases, and how often something was counted, may differ."""
    tenants = store.tenants
    ids = (SESSION.id, NEW_SESSION.id, "new")
    sessions, _ = await store.read(ids, (), now=at(2))
    logins = [login for key in ids for login in await store.list_logins(key, now=NOW)]
    return {
        "sessions": sessions,
        "logins": [replace(login, lease_expires_at=0.0, version=0) for login in logins],
        "attempts": [await store.take_attempt(each.id, **key_of(each)) for each in (ATTEMPT, NEW_ATTEMPT)],
        "steps": [await store.take_logout_step(each.id, **key_of(each)) for each in (STEP, NEW_STEP)],
        "once": [await store.is_remembered(key, now=NOW) for key in ("new", REMEMBERED)],
        "meta": [await store.get_meta(key) for key in ("new", "known")],
        "tenants": await tenants.list_tenants(),
        "revisions": await tenants.list_revisions("initech", before=None, most=9),
        "draft": await tenants.get_draft("initech"),
        "links": await tenants.list_setup_links("initech"),
        "domains": await tenants.list_domains(),
        "changes": [event for event in await tenants.list_events() if event == EVENT],
        "events": len(await tenants.list_events()),
    }


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as made:
        yield made


def _emptied(url: str) -> None:
    with MongoClient[Any](url) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            database[name].delete_many({})


async def _repeated(call: Call, store: MongoStore, proxy: MongoProxy) -> object:
    """The result of a call; a write that the driver does not repeat fails, and the caller repeats it."""
    try:
        return await call(store)
    except StoreUnavailable:
        (command,) = proxy.dropped
        assert "txnNumber" not in command, "the driver repeats it"
        return await call(store)


@pytest.mark.parametrize(("name", "call"), CASES)
@pytest.mark.gen_test(timeout=120)
async def test_a_write_that_is_executed_twice_has_the_result_of_one(
    mongodb_server: str, url: str, monkeypatch: pytest.MonkeyPatch, name: str, call: Call
) -> None:
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.01)
    async with mongo_proxy(mongodb_server) as proxy:
        here, there = f":{mongodb_server.rpartition(':')[2]}", f":{proxy.port}"
        store = MongoStore(patient_url(url.replace(here, there)))
        await store.open()
        try:
            await fill(store)
            proxy.arm(0)
            expected = await call(store)
            assert proxy.writes, "it writes nothing: list it in READS"
            expected_content = await content(store)
            number = 0
            while True:
                _emptied(url)
                await fill(store)
                number += 1
                proxy.arm(number)
                found = await _repeated(call, store, proxy)
                if not proxy.dropped:
                    break
                lost = f"the response of write {number}: {list(proxy.dropped[0].items())[:2]}"
                proxy.arm(0)
                assert found == expected or name in REPEATED, lost
                assert await content(store) == expected_content, lost
            assert number > 1
        finally:
            await store.close()
