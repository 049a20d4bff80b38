"""Entries are returned unchanged, and only text selects entries (THREATS S13)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from portal.stores.model import Login, SessionTouch
from portal.stores.store import Store
from tests.contract.entries import (
    NOW,
    OfProvider,
    at,
    new_attempt,
    new_login,
    new_session,
    new_step,
    provider_of,
)

ODD_CLAIMS = {
    "": "empty name",
    "$where": "1",
    "a.b": {"$ne": None, "c.d": [{"$gt": ""}, []]},
    "https://acme.example/roles": ["admin", "ad\u0000min", "𝔘🜚", "\u202e"],
    "large": 2**200,
    "negative": -(2**70),
    "limit": 2**63,
    "float": 0.1 + 0.2,
    "yes": True,
    "none": None,
    "deep": [[[[[[{"x": {"y": {}}}]]]]]],
    "__proto__": {"_id": 1},
}


@pytest.mark.gen_test
async def test_claims_of_any_name_and_size_are_returned_unchanged(store: Store) -> None:
    login = new_login(claims=ODD_CLAIMS)
    await store.put_login(login)
    _, logins = await store.read((), [login.id], now=NOW)
    found = logins[login.id]
    assert found == login
    assert list(found.claims) == list(ODD_CLAIMS), "the order is kept as well"
    assert found.claims["yes"] is True


texts = st.text(st.characters(), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=8,
)
milliseconds = st.integers(0, 4_000_000_000_000).map(lambda value: value / 1000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    claims=st.dictionaries(texts, json_values, max_size=6),
    expires_at=milliseconds,
    signed_in_at=milliseconds,
    version=st.integers(0, 2**62),
)
def test_a_login_is_returned_unchanged(store: Store, io_loop: IOLoop, **fields: object) -> None:
    login = new_login("s" * 22, **fields)

    async def store_and_read() -> Login:
        await store.put_login(login)
        _, logins = await store.read((), [login.id], now=-1.0)
        return logins[login.id]

    assert io_loop.run_sync(store_and_read) == login


# --- S13: values that a request could inject instead of text

Call = Callable[[Store, Any], Awaitable[object]]

ACME: OfProvider = {"tenant": "acme", "registration": "r" * 64}
CALLS: dict[str, Call] = {
    "add_attempt": lambda store, bad: store.add_attempt(new_attempt(id=bad)),
    "add_attempt tenant": lambda store, bad: store.add_attempt(new_attempt(tenant=bad)),
    "add_attempt binding": lambda store, bad: store.add_attempt(new_attempt(binding_hash=bad)),
    "take_attempt": lambda store, bad: store.take_attempt(bad, tenant="acme", binding_hash="b" * 64, now=NOW),
    "take_attempt tenant": lambda store, bad: store.take_attempt("a", tenant=bad, binding_hash="b", now=NOW),
    "take_attempt binding": lambda store, bad: store.take_attempt(
        "a", tenant="acme", binding_hash=bad, now=NOW
    ),
    "add_logout_step": lambda store, bad: store.add_logout_step(new_step(id=bad)),
    "take_logout_step": lambda store, bad: store.take_logout_step(
        bad, tenant="acme", binding_hash="b" * 64, now=NOW
    ),
    "take_logout_step tenant": lambda store, bad: store.take_logout_step(
        "a", tenant=bad, binding_hash="b" * 64, now=NOW
    ),
    "add_session": lambda store, bad: store.add_session(new_session(id=bad)),
    "add_session secret": lambda store, bad: store.add_session(new_session(secret_hash=bad)),
    "rotate_session": lambda store, bad: rotate(store, session_id=bad),
    "rotate_session old": lambda store, bad: rotate(store, old_secret_hash=bad),
    "rotate_session new": lambda store, bad: rotate(store, new_secret_hash=bad),
    "touch_sessions": lambda store, bad: store.touch_sessions([SessionTouch(bad, NOW, NOW)]),
    "delete_session": lambda store, bad: store.delete_session(bad),
    "read sessions": lambda store, bad: store.read([bad], (), now=NOW),
    "read logins": lambda store, bad: store.read((), ["a:acme", bad], now=NOW),
    "list_logins": lambda store, bad: store.list_logins(bad, now=NOW),
    "put_login": lambda store, bad: store.put_login(new_login("s", tenant=bad)),
    "swap_login": lambda store, bad: store.swap_login(new_login("s", tenant=bad), expected_version=1),
    "acquire_lease": lambda store, bad: store.acquire_lease(bad, owner="p", seconds=1),
    "acquire_lease owner": lambda store, bad: store.acquire_lease("s:acme", owner=bad, seconds=1),
    "extend_lease": lambda store, bad: store.extend_lease(bad, owner="p", seconds=1),
    "extend_lease owner": lambda store, bad: store.extend_lease("s:acme", owner=bad, seconds=1),
    "release_lease": lambda store, bad: store.release_lease(bad, owner="p"),
    "release_lease owner": lambda store, bad: store.release_lease("s:acme", owner=bad),
    "delete_login": lambda store, bad: store.delete_login(bad, "acme"),
    "delete_login tenant": lambda store, bad: store.delete_login("s", bad),
    "delete_logins_by_sid": lambda store, bad: store.delete_logins_by_sid("https://i.example", bad, **ACME),
    "delete_logins_by_sid issuer": lambda store, bad: store.delete_logins_by_sid(bad, "sid-1", **ACME),
    "delete_logins_by_sid tenant": lambda store, bad: store.delete_logins_by_sid(
        "https://i.example", "sid-1", tenant=bad, registration="r"
    ),
    "delete_logins_by_sid registration": lambda store, bad: store.delete_logins_by_sid(
        "https://i.example", "sid-1", tenant="acme", registration=bad
    ),
    "delete_logins_by_subject": lambda store, bad: store.delete_logins_by_subject(
        "https://i.example", bad, **ACME
    ),
    "delete_logins_by_subject issuer": lambda store, bad: store.delete_logins_by_subject(bad, "sub", **ACME),
    "delete_logins_by_subject tenant": lambda store, bad: store.delete_logins_by_subject(
        "https://i.example", "sub", tenant=bad, registration="r"
    ),
    "remember_once": lambda store, bad: store.remember_once(bad, expires_at=at(1), now=NOW),
    "is_remembered": lambda store, bad: store.is_remembered(bad, now=NOW),
}


def rotate(store: Store, **bad: Any) -> Awaitable[bool]:
    secrets = {"session_id": "s", "old_secret_hash": "o" * 64, "new_secret_hash": "n" * 64, **bad}
    session_id = secrets.pop("session_id")
    return store.rotate_session(session_id, **secrets, last_seen_at=NOW, idle_expires_at=at(1))


@pytest.mark.gen_test
async def test_only_text_selects_entries(store: Store) -> None:
    session, login = new_session(), new_login()
    await store.add_session(session)
    await store.put_login(login)
    for name, call in CALLS.items():
        for bad in ({"$ne": ""}, {"$gt": ""}, None, True, 7, 1.5, b"s", ["s"], ("s",), {"$where": "1"}):
            if bad is None and name == "delete_logins_by_sid issuer":
                continue  # None means any issuer
            with pytest.raises(TypeError) as caught:
                await call(store, bad)
            assert "text" in str(caught.value), name
            assert "$" not in str(caught.value), name
    with pytest.raises(TypeError):
        await store.read("one id, not a collection", (), now=NOW)
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})


@pytest.mark.gen_test
async def test_text_that_looks_like_a_query_is_treated_as_text(store: Store) -> None:
    session, login = new_session(), new_login()
    await store.add_session(session)
    await store.put_login(login)
    for text in (
        '{"$ne": ""}',
        "$where",
        "%",
        "_",
        "*",
        "' OR '1'='1",
        '"; DROP TABLE sessions; --',
        "a\u0000b",
    ):
        assert await store.read([text], [text], now=NOW) == ({}, {})
        assert await store.take_attempt(text, tenant=text, binding_hash=text, now=NOW) is None
        assert await store.delete_session(text) == []
        assert await store.delete_logins_by_subject(login.issuer, text, **provider_of(login)) == []
        assert await store.delete_logins_by_sid(text, text, tenant=text, registration=text) == []
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})
