"""Events of users: written together, in order, bounded, and counted when they are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from portal.admin import user_events
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind
from portal.admin.user_events import MOST_WAITING, UserEvents
from portal.errors import StoreUnavailable
from portal.oidc.id_token import LONGEST_IDENTIFIER
from portal.outbound.url_rules import MAX_URL_LENGTH
from portal.stores.record_checks import require_short, require_valid
from portal.stores.tenant_records import USER_KINDS, Event
from portal.stores.tenant_store import TenantStore
from tests.kit.raw import until
from tests.kit.samples import START, sample_login

REQUEST = Act(Actor(ActorType.USER), request_id="r-1", client="192.0.2.0/24", device="Firefox")


@dataclass
class Store:
    """Keeps what was written, unless it is down."""

    down: bool = False
    refuses: str = ""
    """It fails for records of actors with this text, as no database should."""
    written: list[list[Event]] = field(default_factory=list)

    async def add_events(self, events: Sequence[Event]) -> None:
        if self.down:
            raise StoreUnavailable("down")
        if self.refuses and any(self.refuses in event.actor for event in events):
            raise ValueError("actor is refused")
        self.written.append(list(events))


def made(store: Store) -> tuple[UserEvents, list[int]]:
    lost: list[int] = []
    return UserEvents(cast(TenantStore, store), clock=lambda: START, lost=lost.append), lost


def test_the_kinds_that_the_store_keeps_apart_are_those_of_users() -> None:
    assert set(USER_KINDS) == {EventKind.SIGNED_IN, EventKind.SIGNED_OUT, EventKind.SESSION_ENDED}


@pytest.mark.gen_test
async def test_events_are_written_together_and_name_the_user_and_the_request() -> None:
    store, stop = Store(), asyncio.Event()
    events, lost = made(store)
    running = asyncio.create_task(events.run(stop))
    login = sample_login()
    events.signed_in(login, REQUEST)
    events.signed_out(login, REQUEST)
    events.session_ended(login, "back-channel logout")
    await until(lambda: bool(store.written), "nothing was written")
    stop.set()
    await running
    ((first, second, third),) = store.written
    assert (first.kind, second.kind, third.kind) == ("signed_in", "signed_out", "session_ended")
    assert first.tenant == "acme"
    assert first.actor == Actor(ActorType.USER, login.subject, login.issuer).as_json()
    assert (first.request_id, first.client, first.device) == ("r-1", "192.0.2.0/24", "Firefox")
    assert (third.reason, third.client) == ("back-channel logout", "")
    assert lost == []


@pytest.mark.gen_test
async def test_events_wait_while_the_database_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_events, "_PAUSE_SECONDS", 0.01)
    store, stop = Store(down=True), asyncio.Event()
    events, lost = made(store)
    running = asyncio.create_task(events.run(stop))
    for number in range(300):
        events.signed_in(sample_login(subject=f"user-{number}"), REQUEST)
    await asyncio.sleep(0.05)
    store.down = False
    await until(lambda: sum(map(len, store.written)) == 300, "not all were written")
    stop.set()
    await running
    assert [len(some) for some in store.written] == [200, 100]
    assert "user-0" in store.written[0][0].actor
    assert lost == []


@pytest.mark.gen_test
async def test_what_does_not_fit_and_what_a_stop_leaves_is_counted() -> None:
    store, stop = Store(down=True), asyncio.Event()
    events, lost = made(store)
    for _ in range(MOST_WAITING + 7):
        events.signed_in(sample_login(), REQUEST)
    assert sum(lost) == 7
    stop.set()
    await events.run(stop)
    assert sum(lost) == 7 + MOST_WAITING


@pytest.mark.gen_test
async def test_a_stop_writes_what_is_left() -> None:
    store, stop = Store(), asyncio.Event()
    events, lost = made(store)
    for _ in range(450):
        events.signed_in(sample_login(), REQUEST)
    stop.set()
    await events.run(stop)
    assert ([len(some) for some in store.written], lost) == ([200, 200, 50], [])


@pytest.mark.gen_test
async def test_an_event_that_no_database_accepts_is_counted_as_lost_at_once() -> None:
    store, stop = Store(), asyncio.Event()
    events, lost = made(store)
    events.signed_in(sample_login(subject="x" * 40_001), REQUEST)
    events.signed_in(sample_login(subject="\ud800"), REQUEST)
    events.signed_in(sample_login(tenant="x" * 64), REQUEST)
    events.signed_in(sample_login(), REQUEST)
    assert lost == [1, 1, 1]
    stop.set()
    await events.run(stop)
    assert [len(some) for some in store.written] == [1]


@pytest.mark.gen_test
async def test_events_that_the_database_refuses_do_not_keep_back_later_ones() -> None:
    store, stop = Store(refuses="bad"), asyncio.Event()
    events, lost = made(store)
    running = asyncio.create_task(events.run(stop))
    events.signed_in(sample_login(subject="bad"), REQUEST)
    await until(lambda: lost == [1], "the refused event was not counted")
    events.signed_in(sample_login(subject="good"), REQUEST)
    await until(lambda: bool(store.written), "later events are not written")
    assert not running.done()
    stop.set()
    await running


def test_the_longest_subject_and_issuer_fit_into_every_record_of_who_did_something() -> None:
    longest = Actor(ActorType.SETUP_LINK, '"' * LONGEST_IDENTIFIER, "\\" * MAX_URL_LENGTH)
    event = Act(longest).event(EventKind.SIGNED_IN, tenant="acme", at=START)
    require_valid(event)
    require_short(author=longest.as_json())


@pytest.mark.gen_test
async def test_one_event_a_minute_tells_that_a_limit_of_a_tenant_was_reached() -> None:
    store, stop, times = Store(), asyncio.Event(), [START]
    events = UserEvents(cast(TenantStore, store), clock=lambda: times[-1], lost=lambda count: None)
    for at in (START, START + 1, START + 59, START + 61):
        times.append(at)
        events.limit_reached("body", "acme")
        events.limit_reached("body", "globex")
        events.limit_reached("connections", "")
    stop.set()
    await events.run(stop)
    (written,) = store.written
    assert [(event.target, event.tenant) for event in written] == [
        ("body", "acme"),
        ("body", "globex"),
        ("connections", ""),
    ] * 2
    assert {(event.kind, event.outcome) for event in written} == {("limit_reached", "refused")}


@pytest.mark.gen_test
async def test_refused_sign_ins_of_one_tenant_do_not_take_the_place_of_others() -> None:
    store, stop = Store(), asyncio.Event()
    events, lost = made(store)
    for _ in range(MOST_WAITING):
        events.sign_in_refused("acme", "id_token_rejected:nonce", REQUEST)
    events.sign_in_refused("globex", "provider_denied", REQUEST)
    stop.set()
    await events.run(stop)
    written = [event for some in store.written for event in some]
    assert [event.tenant for event in written] == ["acme"] * 100 + ["globex"]
    assert (written[0].target, written[0].outcome) == ("id_token_rejected:nonce", "refused")
    assert (written[0].request_id, lost) == ("r-1", [])


@pytest.mark.gen_test
async def test_the_end_of_a_registration_names_provider_and_number_of_logins() -> None:
    store, stop = Store(), asyncio.Event()
    events, _ = made(store)
    events.registration_ended("acme", "main", 3)
    stop.set()
    await events.run(stop)
    ((event,),) = store.written
    assert (event.kind, event.target, event.reason) == ("registration_ended", "main", "3 logins ended")


@pytest.mark.gen_test
async def test_what_ends_after_the_loop_is_written_as_well() -> None:
    store, stop = Store(), asyncio.Event()
    events, lost = made(store)
    stop.set()
    await events.run(stop)
    events.session_ended(sample_login(), "refresh_refused")
    await events.write_rest()
    assert [event.kind for event in store.written[0]] == [EventKind.SESSION_ENDED]
    assert lost == []
