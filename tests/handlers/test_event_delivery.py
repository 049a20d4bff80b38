"""The portal delivers events to a receiver that is slow, fails or is gone, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.admin import event_delivery
from tests.kit.event_receiver import EventReceiver, event_receiver
from tests.kit.raw import change_tenant, until
from tests.kit.world import World, world


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_delivery, "_IDLE_SECONDS", 0.02)
    monkeypatch.setattr(event_delivery, "_LONGEST_PAUSE", 0.05)


def kinds(receiver: EventReceiver) -> list[str]:
    return [event["kind"] for event in receiver.accepted]


async def is_delivering(receiver: EventReceiver, running: World) -> None:
    """Events from before the first delivery are not sent."""
    store = running.running.portal.store
    record = ""
    while not record:
        record = await store.get_meta(event_delivery.RECORD) or ""


@pytest.mark.gen_test(timeout=90)
async def test_a_sign_in_reaches_the_receiver_signed(tmp_path: Path) -> None:
    async with event_receiver() as receiver, world(tmp_path, events=receiver.settings) as running:
        await is_delivering(receiver, running)
        await running.sign_in(running.browser(), "acme")
        await until(lambda: "signed_in" in kinds(receiver), "the event was not delivered")
        (event,) = [event for event in receiver.accepted if event["kind"] == "signed_in"]
        assert (event["tenant"], event["outcome"], event["actor"]["type"]) == ("acme", "done", "user")
        assert event["at"].endswith("Z")
        render = running.running.portal.metrics.render
        await until(lambda: b"portal_events_delivered_total 1.0" in render(), "it was not counted")


@pytest.mark.gen_test(timeout=90)
async def test_a_receiver_that_hangs_delays_no_sign_in(tmp_path: Path) -> None:
    import asyncio

    receiver = EventReceiver(hangs=asyncio.Event())
    async with event_receiver(receiver), world(tmp_path, events=receiver.settings) as running:
        await is_delivering(receiver, running)
        await running.sign_in(running.browser(), "acme")
        await until(receiver.begun.is_set, "nothing was sent")
        assert receiver.hangs is not None
        for _ in range(3):
            page = await running.sign_in(running.browser(), "globex")
            assert page.status == 200
        assert receiver.attempts == 1, "one request at a time"
        receiver.hangs.set()
        await until(lambda: kinds(receiver).count("signed_in") == 4, "events were lost")


@pytest.mark.gen_test(timeout=90)
async def test_a_receiver_that_fails_or_is_gone_gets_every_event_later(tmp_path: Path) -> None:
    receiver = EventReceiver(status=500)
    async with event_receiver(receiver), world(tmp_path, events=receiver.settings) as running:
        await is_delivering(receiver, running)
        await running.sign_in(running.browser(), "acme")
        await until(lambda: receiver.attempts >= 3, "it was not tried again")
        assert receiver.accepted == []
        repeated = {message_id for message_id, events in receiver.messages if len(events) == 1}
        assert len(repeated) == 1, "the same events have another id"
        receiver.status = 302
        before = receiver.attempts
        await until(lambda: receiver.attempts > before, "it was not tried again")
        assert receiver.accepted == [], "a redirect is not an acceptance"
        receiver.status = 200
        await until(lambda: "signed_in" in kinds(receiver), "the event was lost")
        metrics = running.running.portal.metrics.render().decode()
        assert "portal_events_delivery_failures_total" in metrics


@pytest.mark.gen_test(timeout=90)
async def test_events_of_a_dead_receiver_wait_in_the_database(tmp_path: Path) -> None:
    receiver = EventReceiver()
    async with event_receiver(receiver):
        pass  # it is gone, and its port is known
    async with world(tmp_path, events=receiver.settings) as running:
        await is_delivering(receiver, running)
        await running.sign_in(running.browser(), "acme")
        store = running.running.portal.admin.store
        while not (await store.waiting_events(after="", most=10)).events:
            pass
        async with event_receiver(receiver):
            await until(lambda: "signed_in" in kinds(receiver), "the event was lost")


@pytest.mark.gen_test(timeout=90)
async def test_a_refused_sign_in_is_an_event_with_its_rule(tmp_path: Path) -> None:
    async with event_receiver() as receiver, world(tmp_path, events=receiver.settings) as running:
        await is_delivering(receiver, running)
        change_tenant(running, "acme", access={"require": [{"claim": "roles", "contains": "admin"}]})
        running.acme.automatic_user = "bob"
        browser = running.browser()
        page = await browser.open(running.at("/t/acme/login"))
        assert page.status == 403
        await browser.open(running.at("/t/acme/callback?state=unknown&code=c"))  # nobody's attempt
        await until(lambda: "sign_in_refused" in kinds(receiver), "no event")
        refused = [event for event in receiver.accepted if event["kind"] == "sign_in_refused"]
        assert [(event["tenant"], event["target"], event["outcome"]) for event in refused] == [
            ("acme", "sign_in_not_allowed", "refused")
        ]
        assert "admin" in refused[0]["reason"]
        assert refused[0]["actor"]["subject"]
        assert refused[0]["request_id"]
