"""Event streams: comments, clients that do not read, limits."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from portal.ops.metrics import Metrics
from portal.sessions.session_watch import SessionChange, SessionEvent, SessionWatch
from portal.stores.model import Login
from portal.web.session_streams import COMMENT_SECONDS, MOST_OF_A_USER, EventStream, SessionStreams
from tests.kit.samples import sample_login, sample_session


class Page:
    """A client that reads only when told so."""

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.received: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.aborted = False

    def send(self, text: str) -> asyncio.Future[None]:
        self.received.append(text)
        future = asyncio.get_running_loop().create_future()
        if self.reads:
            future.set_result(None)
        else:
            self.waiting.append(future)
        return future

    def abort(self) -> None:
        self.aborted = True


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class NoChanges:
    def __init__(self) -> None:
        self.listeners: list[object] = []

    def listen(self, session: object, logins: object, listener: object) -> None:
        self.listeners.append(listener)

    def forget(self, session: object, listener: object) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)


def made(most: int = 100) -> tuple[SessionStreams, Time, NoChanges]:
    watch, clock = NoChanges(), Time()
    streams = SessionStreams(cast(SessionWatch, watch), most=most, metrics=Metrics(), monotonic=clock)
    return streams, clock, watch


def opened(streams: SessionStreams, page: Page, session: str = "s" * 22, *logins: Login) -> EventStream:
    return streams.open(sample_session(id=session), [*logins], page, lambda slug: slug != "hidden")


def login_of(number: int, tenant: str = "acme") -> Login:
    return sample_login(tenant=tenant, subject=f"user-{number}")


@pytest.mark.gen_test
async def test_a_comment_is_sent_when_nothing_else_was() -> None:
    streams, clock, _ = made()
    page = Page()
    stream = opened(streams, page)
    clock.now += COMMENT_SECONDS - 2
    await streams.tick()
    assert len(page.received) == 1
    stream.report(SessionEvent(SessionChange.ENDED, "acme"))
    clock.now += COMMENT_SECONDS - 1
    await streams.tick()
    assert page.received[1:] == ['event: ended\ndata: {"tenant": "acme"}\n\n', ":\n\n"]


@pytest.mark.gen_test
async def test_a_client_that_does_not_read_is_disconnected() -> None:
    streams, clock, _ = made()
    page = Page(reads=False)
    stream = opened(streams, page)
    clock.now += 19
    await streams.tick()
    assert not stream.over.is_set()
    clock.now += 2
    await streams.tick()
    assert page.aborted
    assert stream.over.is_set()


@pytest.mark.gen_test
async def test_a_client_with_many_unread_events_is_disconnected() -> None:
    streams, _, _ = made()
    page = Page(reads=False)
    stream = opened(streams, page)
    for _ in range(100):
        stream.report(SessionEvent(SessionChange.ENDED, "acme"))
    await streams.tick()
    assert page.aborted
    assert stream.over.is_set()


@pytest.mark.gen_test
async def test_a_slow_client_that_reads_at_last_stays() -> None:
    streams, clock, _ = made()
    page = Page(reads=False)
    stream = opened(streams, page)
    clock.now += 15
    page.waiting[0].set_result(None)
    clock.now += 15
    await streams.tick()
    assert not stream.over.is_set()


@pytest.mark.gen_test
async def test_a_client_that_has_disconnected_is_noticed_by_the_next_write() -> None:
    streams, _, _ = made()
    page = Page(reads=False)
    stream = opened(streams, page)
    page.waiting[0].set_exception(ConnectionError())
    await streams.tick()
    assert stream.over.is_set()
    assert not page.aborted


@pytest.mark.gen_test
async def test_tenants_of_other_sites_are_not_named() -> None:
    streams, _, _ = made()
    page = Page()
    stream = opened(streams, page)
    stream.report(SessionEvent(SessionChange.ENDED, "hidden"))
    assert len(page.received) == 1


@pytest.mark.gen_test
async def test_L6_a_stream_is_over_with_the_secret_that_it_was_opened_with() -> None:
    streams, _, _ = made()
    page = Page()
    stream = opened(streams, page)
    stream.report(SessionEvent(SessionChange.REPLACED))
    assert stream.over.is_set()
    [_, told] = page.received
    assert 500 <= int(told.removeprefix("retry: ").strip()) <= 1_500


@pytest.mark.gen_test
async def test_a_stream_that_was_removed_is_not_counted_and_hears_nothing() -> None:
    streams, _, watch = made(most=2)
    one = opened(streams, Page(), "s" * 22, login_of(1))
    two = opened(streams, Page(), "t" * 22, login_of(2, "globex"))
    full = Page()
    assert opened(streams, full, "u" * 22, login_of(3, "initech")).over.is_set()
    assert full.received == ["retry: 60000\n\n"]
    streams.remove(one)
    streams.remove(one)
    assert (len(streams), watch.listeners) == (1, [two.report])
    assert not opened(streams, Page(), "u" * 22, login_of(3, "initech")).over.is_set()


@pytest.mark.gen_test
async def test_the_streams_of_all_sessions_of_a_user_are_counted_together() -> None:
    streams, _, _ = made(most=1000)
    mine = [
        (page := Page(), opened(streams, page, f"{number // 20:022}", login_of(1)))
        for number in range(MOST_OF_A_USER + 5)
    ]
    of_another = opened(streams, Page(), "a" * 22, login_of(2))
    assert [stream.over.is_set() for _, stream in mine] == [True] * 5 + [False] * MOST_OF_A_USER
    assert {page.received[-1] for page, _ in mine[:5]} == {"retry: 600000\n\n"}
    assert not of_another.over.is_set()
    assert len(streams) == MOST_OF_A_USER + 1


@pytest.mark.gen_test
async def test_a_tenant_gets_a_quarter_of_the_streams_and_others_the_rest() -> None:
    streams, _, _ = made(most=40)
    of_acme = [opened(streams, Page(), f"{number:022}", login_of(number)) for number in range(10)]
    refused = Page()
    assert opened(streams, refused, "r" * 22, login_of(11)).over.is_set()
    assert refused.received == ["retry: 60000\n\n"]
    assert not opened(streams, Page(), "g" * 22, login_of(1, "globex")).over.is_set()
    both = (login_of(12), login_of(12, "globex"))
    assert not opened(streams, Page(), "b" * 22, *both).over.is_set(), "the user of another tenant as well"
    for stream in of_acme:
        streams.remove(stream)
    assert not opened(streams, Page(), "r" * 22, login_of(11)).over.is_set()


@pytest.mark.gen_test
async def test_sessions_without_logins_share_a_quarter() -> None:
    streams, _, _ = made(most=40)
    over = [opened(streams, Page(), f"{number:022}").over.is_set() for number in range(12)]
    assert over == [False] * 10 + [True] * 2
    assert not opened(streams, Page(), "g" * 22, login_of(1)).over.is_set()


@pytest.mark.gen_test
async def test_nothing_is_kept_of_streams_that_were_removed() -> None:
    streams, _, _ = made()
    one = opened(streams, Page(), "s" * 22, login_of(1), login_of(1, "globex"))
    streams.remove(one)
    assert (streams._streams, streams._of_user, streams._of_tenant, streams._counted_for) == ({}, {}, {}, {})


@pytest.mark.gen_test
async def test_a_stream_counts_for_the_tenant_of_its_session_with_the_fewest_streams() -> None:
    """THREATS D5: users of one tenant cannot take the streams of another."""
    streams, _, _ = made(most=100)
    for number in range(25):
        assert not opened(streams, Page(), f"{number:022}", login_of(number)).over.is_set()
    for number in range(100, 120):
        both = (login_of(number), login_of(number, "globex"))
        assert not opened(streams, Page(), f"{number:022}", *both).over.is_set()
    assert streams._of_tenant == {"acme": 25, "globex": 20}
    for number in range(200, 205):
        assert not opened(streams, Page(), f"{number:022}", login_of(number, "globex")).over.is_set()
    both = (login_of(300), login_of(300, "globex"))
    assert opened(streams, Page(), "e" * 22, *both).over.is_set()
    assert not opened(streams, Page(), "f" * 22, login_of(301, "initech")).over.is_set()
