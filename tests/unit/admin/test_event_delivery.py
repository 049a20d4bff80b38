"""Delivery of events: at least once, by one process, whatever the receiver and the database do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pytest

from portal.admin import event_delivery
from portal.admin.event_delivery import (
    BATCH_CHARACTERS,
    LEASE_SECONDS,
    RECORD,
    REFUSALS,
    EventDelivery,
    bounded,
)
from portal.admin.event_webhook import RefusedByReceiver, body_of, message_id, signed_headers
from portal.errors import OutboundFailed, StoreUnavailable
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Event
from tests.contract.entries import new_event
from tests.kit.raw import until
from tests.kit.samples import START


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Receiver:
    """Keeps the batches that it accepts."""

    fails: bool = False
    refuses: set[str] = field(default_factory=set)
    """Ids of events that it never accepts."""
    attempts: int = 0
    batches: list[list[str]] = field(default_factory=list)

    async def send(self, events: Sequence[Event]) -> None:
        self.attempts += 1
        if self.fails:
            raise OutboundFailed("down")
        if self.refuses & {event.id for event in events}:
            raise RefusedByReceiver("the receiver responded with status 400")
        self.batches.append([event.id for event in events])


@dataclass
class Observer:
    lags: list[float] = field(default_factory=list)
    count: int = 0
    failures: int = 0
    not_delivered: dict[str, int] = field(default_factory=dict)

    def lag(self, seconds: float) -> None:
        self.lags.append(seconds)

    def delivered(self, count: int) -> None:
        self.count += count

    def failed(self) -> None:
        self.failures += 1

    def set_aside(self, reason: str, count: int) -> None:
        self.not_delivered[reason] = self.not_delivered.get(reason, 0) + count


@dataclass
class Parts:
    store: SQLiteStore
    clock: Clock
    receiver: Receiver
    observer: Observer

    def process(self, *, log: bool = False) -> EventDelivery:
        """One process of the deployment."""
        return EventDelivery(
            self.store,
            self.store.tenants,
            receiver=self.receiver,
            log=log,
            clock=self.clock,
            observer=self.observer,
        )


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_delivery, "_PASS_SECONDS", 0.001)


@asynccontextmanager
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    try:
        yield Parts(store, Clock(), Receiver(), Observer())
    finally:
        await store.close()


def later(count: int, *, since: float = 1.0) -> list[Event]:
    """Events after START: `new_event` counts from another time."""
    base = new_event().at
    return [new_event("signed_in", START - base + since + number) for number in range(count)]


@pytest.mark.gen_test
async def test_each_event_is_delivered_in_bounded_batches_and_once(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        events = later(250)
        await made.store.tenants.add_events(events)
        assert [await process.step() for _ in range(2)] == [0.0, 0.0]  # there is more
        assert await process.step() > 0
        assert await process.step() > 0
        assert [len(batch) for batch in made.receiver.batches] == [100, 100, 50]
        assert list(chain.from_iterable(made.receiver.batches)) == [event.id for event in events]
        assert made.observer.count == 250


@pytest.mark.gen_test
async def test_an_event_that_is_stored_late_is_delivered_too(tmp_path: Path) -> None:
    """Its id is earlier than those that were delivered: a position in the order of ids would miss it."""
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        first, second = later(2)
        await made.store.tenants.add_events([second])
        await process.step()
        await made.store.tenants.add_events([first])
        await process.step()
        assert made.receiver.batches == [[second.id], [first.id]]


@pytest.mark.gen_test
async def test_events_from_before_the_first_delivery_are_not_sent(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        await made.store.tenants.add_events(later(1, since=-10.0))
        process = made.process()
        await process.step()
        await process.step()
        assert made.receiver.attempts == 0


@pytest.mark.gen_test
async def test_what_a_receiver_did_not_accept_is_sent_again_with_the_same_events(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        events = later(3)
        await made.store.tenants.add_events(events)
        made.receiver.fails = True
        with pytest.raises(OutboundFailed):
            await process.step()
        made.clock.now += 60
        with pytest.raises(OutboundFailed):
            await process.step()
        assert made.observer.lags[-1] == pytest.approx(59.0)
        made.receiver.fails = False
        await process.step()
        assert made.receiver.batches == [[event.id for event in events]]
        await process.step()
        assert made.observer.lags[-1] == 0.0


@pytest.mark.gen_test
async def test_one_process_delivers_and_another_takes_over_when_its_lease_ends(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        first, second = made.process(), made.process()
        await first.step()
        await made.store.tenants.add_events(later(1))
        await second.step()
        assert made.receiver.attempts == 0
        made.clock.now += LEASE_SECONDS + 1  # the first was killed
        await second.step()
        assert made.receiver.attempts == 1
        await made.store.tenants.add_events(later(1, since=100.0))
        await first.step()  # it was only stopped for a while
        assert made.receiver.attempts == 1


@pytest.mark.gen_test
async def test_a_process_that_stops_lets_another_take_over_at_once(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        first, second, stop = made.process(), made.process(), asyncio.Event()
        running = asyncio.create_task(first.run(stop))
        await until(lambda: bool(made.observer.lags), "it did not begin")
        await made.store.tenants.add_events(events := later(1))
        await until(lambda: made.receiver.batches, "nothing was delivered")
        stop.set()
        await running
        assert json.loads(await made.store.get_meta(RECORD) or "")["owner"] == ""
        await made.store.tenants.add_events(later(1, since=100.0))
        await second.step()
        assert len(made.receiver.batches) == 2
        assert made.receiver.batches[0] == [events[0].id]


@pytest.mark.gen_test
async def test_a_receiver_that_fails_is_tried_less_often_and_the_lease_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        pauses = [process._failed(OutboundFailed("down")) for _ in range(40)]
        for number, pause in enumerate(pauses):
            longest = min(300.0, 2.0**number)
            assert longest / 2 <= pause <= longest
        assert len(set(pauses[10:])) > 1, "without jitter, many portals ask at the same time"
        monkeypatch.setattr(event_delivery, "_LEASE_CHECK_SECONDS", 0.001)
        await made.store.tenants.add_events(later(1))
        made.receiver.fails = True
        with pytest.raises(OutboundFailed):
            await process.step()
        made.clock.now += LEASE_SECONDS - 5
        assert not await process._stopped_within(asyncio.Event(), 0.01)
        assert made.observer.lags[-1] == pytest.approx(LEASE_SECONDS - 6), "the age grows in a pause, too"
        renewed = json.loads(await made.store.get_meta(RECORD) or "")
        assert renewed["until"] == made.clock.now + LEASE_SECONDS


@pytest.mark.gen_test
async def test_a_database_that_fails_after_the_delivery_causes_a_repetition_and_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(2))
        with monkeypatch.context() as patch:

            async def fails(ids: Sequence[str]) -> None:
                raise StoreUnavailable("down")

            patch.setattr(made.store.tenants, "mark_delivered", fails)
            with pytest.raises(StoreUnavailable):
                await process.step()
        await process.step()
        assert made.receiver.batches == [[event.id for event in events]] * 2


@pytest.mark.gen_test
async def test_an_event_is_in_the_log_once_while_the_receiver_fails(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with parts(tmp_path) as made:
        process = made.process(log=True)
        await process.step()
        made.receiver.fails = True
        (event,) = later(1)
        await made.store.tenants.add_events([event])
        for _ in range(3):
            with pytest.raises(OutboundFailed):
                await process.step()
        made.receiver.fails = False
        await process.step()
        lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
        (line,) = [line for line in lines if line["event"] == "audit_event"]
        assert (line["event_id"], line["kind"], line["tenant"]) == (event.id, "signed_in", event.tenant)
        assert isinstance(line["actor"], dict)


async def refused(process: EventDelivery, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RefusedByReceiver):
            await process.step()


@pytest.mark.gen_test
async def test_events_that_a_receiver_refuses_are_set_aside_and_the_others_are_delivered(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        events = later(5)
        await made.store.tenants.add_events(events)
        made.receiver.refuses = {events[1].id, events[4].id}
        await refused(process, REFUSALS)
        await process.step()
        # the last one is sent once more: the receiver still accepts it
        assert made.receiver.batches == [[events[number].id] for number in (0, 2, 3, 3)]
        assert await made.store.tenants.list_set_aside(after="", most=9) == [events[1], events[4]]
        assert made.observer.not_delivered == {"refused": 2}
        (line,) = [
            each
            for each in map(json.loads, log_lines.getvalue().splitlines())
            if "set_aside" in each["event"]
        ]
        assert line["event_ids"] == [events[1].id, events[4].id]
        await made.store.tenants.add_events(more := later(2, since=50.0))
        await process.step()
        assert made.receiver.batches[-1] == [event.id for event in more], "batches go on"


@pytest.mark.gen_test
async def test_a_receiver_that_accepts_nothing_loses_no_event(tmp_path: Path) -> None:
    """A wrong secret, a wrong path: what it refuses is not about the events."""
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        events = later(3)
        await made.store.tenants.add_events(events)
        made.receiver.refuses = {event.id for event in events}
        await refused(process, REFUSALS + 3)
        assert made.observer.not_delivered == {}
        made.receiver.refuses = set()
        await process.step()
        assert made.receiver.batches == [[event.id] for event in events]


@pytest.mark.gen_test
async def test_a_whole_batch_that_is_refused_is_set_aside_once_a_later_event_is_accepted(
    tmp_path: Path,
) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(100))
        made.receiver.refuses = {event.id for event in events}
        await refused(process, REFUSALS + 1)
        (newest,) = later(1, since=500.0)
        await made.store.tenants.add_events([newest])
        assert await process.step() == 0.0
        assert made.observer.not_delivered == {"refused": 100}
        await process.step()
        assert made.receiver.batches[-1] == [newest.id]
        assert (await made.store.tenants.waiting_events(after="", most=9)).events == []


@pytest.mark.gen_test
async def test_an_event_that_was_refused_by_chance_is_delivered(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(2))
        made.receiver.refuses = {events[0].id}
        await refused(process, REFUSALS)
        send = made.receiver.send

        async def accepts_after_the_second(sent: Sequence[Event]) -> None:
            await send(sent)
            made.receiver.refuses = set()

        made.receiver.send = accepts_after_the_second  # type: ignore[method-assign,assignment]
        await process.step()
        assert made.receiver.batches == [[events[1].id], [events[0].id]]
        assert made.observer.not_delivered == {}


@pytest.mark.gen_test
async def test_a_receiver_that_breaks_while_events_are_sent_one_by_one_loses_none(tmp_path: Path) -> None:
    """It accepted others before: that says nothing about what it refuses now."""
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(6))
        made.receiver.refuses = {events[1].id}
        await refused(process, REFUSALS)
        send = made.receiver.send

        async def breaks_after_the_third(sent: Sequence[Event]) -> None:
            await send(sent)
            if sent[0].id == events[2].id:
                made.receiver.refuses = {event.id for event in events}

        made.receiver.send = breaks_after_the_third  # type: ignore[method-assign,assignment]
        await refused(process, 2)
        assert made.observer.not_delivered == {}
        made.receiver.refuses = {events[1].id}
        await process.step()
        assert made.observer.not_delivered == {"refused": 1}
        assert await made.store.tenants.list_set_aside(after="", most=9) == [events[1]]
        assert {each for batch in made.receiver.batches for each in batch} == {
            event.id for event in events if event is not events[1]
        }


@pytest.mark.gen_test
async def test_a_receiver_that_refuses_every_second_request_gets_every_event(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(100))
        made.receiver.refuses = {event.id for event in events}
        await refused(process, REFUSALS)
        made.receiver.refuses = set()
        chance, send = random.Random(7), made.receiver.send

        async def refuses_half(sent: Sequence[Event]) -> None:
            made.receiver.refuses = {sent[0].id} if chance.random() < 0.5 else set()
            await send(sent)

        made.receiver.send = refuses_half  # type: ignore[method-assign,assignment]
        while (await made.store.tenants.waiting_events(after="", most=1)).events:
            with contextlib.suppress(RefusedByReceiver):
                await process.step()
        assert made.observer.not_delivered == {}
        assert {each for batch in made.receiver.batches for each in batch} == {event.id for event in events}


@pytest.mark.gen_test
async def test_a_receiver_that_is_gone_now_and_then_is_not_tried_less_and_less_often(tmp_path: Path) -> None:
    """Each event that it accepts ends the count of failures, also while events are sent one by one."""
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(events := later(8))
        made.receiver.refuses = {events[7].id}
        await refused(process, REFUSALS)
        send, pauses = made.receiver.send, []

        async def fails_every_second_time(sent: Sequence[Event]) -> None:
            if made.receiver.attempts % 2:
                made.receiver.attempts += 1
                raise OutboundFailed("status 503")
            await send(sent)

        made.receiver.send = fails_every_second_time  # type: ignore[method-assign,assignment]
        made.receiver.attempts = 0
        for _ in range(7):
            try:
                await process.step()
            except OutboundFailed as error:
                pauses.append(process._failed(error))
        assert len(pauses) == 7
        assert max(pauses) <= 2.0


@pytest.mark.gen_test
async def test_an_event_with_a_date_that_cannot_be_written_does_not_stop_the_delivery(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        damaged, surrogate, sound = later(3)
        await made.store.tenants.add_events([damaged, surrogate, sound])
        actor = '{"type": "user", "subject": "\\ud800", "provider": ""}'
        with closing(sqlite3.connect(tmp_path / "portal.db")) as database, database:
            database.execute("UPDATE events SET at = 1e15 WHERE id = ?", (damaged.id,))
            database.execute("UPDATE events SET actor = ? WHERE id = ?", (actor, surrogate.id))
        sent: list[Event] = []
        send = made.receiver.send

        async def written(events: Sequence[Event]) -> None:
            body_of(events)
            sent.extend(events)
            await send(events)

        made.receiver.send = written  # type: ignore[method-assign]
        await process.step()
        assert made.observer.not_delivered == {"damaged": 1}
        assert [event.id for event in sent] == [surrogate.id, sound.id]


@pytest.mark.gen_test
async def test_damaged_events_are_set_aside_and_do_not_stop_the_delivery(tmp_path: Path) -> None:
    async with parts(tmp_path) as made:
        process = made.process()
        await process.step()
        await made.store.tenants.add_events(later(150))
        with closing(sqlite3.connect(tmp_path / "portal.db")) as database, database:
            database.execute("UPDATE events SET at = 'x'")
        (sound,) = later(1, since=500.0)
        await made.store.tenants.add_events([sound])
        assert await process.step() == 0.0
        await process.step()
        assert made.observer.not_delivered == {"damaged": 150}
        assert made.receiver.batches == [[sound.id]]


def test_large_events_make_small_batches() -> None:
    large = [new_event(actor="x" * 30_000, seconds=number) for number in range(100)]
    batch = bounded(large)
    assert 0 < sum(len(event.actor) for event in batch) <= BATCH_CHARACTERS
    huge = [new_event(actor="x" * (BATCH_CHARACTERS + 1)), new_event()]
    assert bounded(huge) == huge[:1]


def test_a_message_is_signed_as_standard_webhooks_says() -> None:
    """The example of the specification: id, timestamp and payload, joined by full stops."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = dict(
        signed_headers(
            key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
        )
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_same_events_have_the_same_message_id() -> None:
    one, other = new_event(), new_event()
    assert message_id([one, other]) == message_id([one, other]) != message_id([one])
    content = json.loads(body_of([one]))
    assert content["data"]["events"][0]["id"] == one.id
    assert content["timestamp"] == content["data"]["events"][0]["at"]
    signed = hmac.new(b"k", b"i.5." + body_of([one]), hashlib.sha256).digest()
    headers = signed_headers(b"k", message_id="i", timestamp=5, body=body_of([one]))
    assert headers[2] == ("webhook-signature", f"v1,{base64.b64encode(signed).decode()}")
