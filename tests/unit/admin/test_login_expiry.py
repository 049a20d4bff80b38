"""Expired logins become events, with the user as who they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.admin import login_expiry
from portal.admin.actors import ActorType, actor_of
from portal.admin.events import EventKind
from portal.admin.login_expiry import GRACE_SECONDS, LoginExpiry
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_login, new_session


@pytest.mark.gen_test
async def test_a_sweep_ends_all_expired_logins_with_an_event_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_expiry, "_AT_ONCE", 2)  # in several steps
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    try:
        now = store.time()
        ended_at = round(now - GRACE_SECONDS - 10, 3)
        for number in range(7):
            session = new_session(idle_expires_at=ended_at, absolute_expires_at=now + 900)
            login = new_login(session, subject=f"user-{number}", issuer="https://id.example", tenant="acme")
            await store.add_session(session, login=login)
        live = new_session(idle_expires_at=now - GRACE_SECONDS + 30, absolute_expires_at=now + 900)
        await store.add_session(live)
        expiry = LoginExpiry(store.tenant_logins, clock=store.time)
        assert await expiry.sweep() == 14
        assert await expiry.sweep() == 0
        events = await store.tenants.read_events(most=100)
        assert len(events) == 7
        for event in events:
            actor = actor_of(event.actor)
            assert (event.kind, event.tenant, event.outcome) == (EventKind.LOGIN_EXPIRED, "acme", "done")
            assert (actor.type, actor.provider) == (ActorType.EXPIRY, "https://id.example")
            assert event.at >= now
            assert event.reason.startswith("expired at 20")
        assert {actor_of(event.actor).subject for event in events} == {f"user-{n}" for n in range(7)}
    finally:
        await store.close()
