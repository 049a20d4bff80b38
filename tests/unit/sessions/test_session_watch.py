"""Sessions with listeners are read together, and only what has happened is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from portal.errors import StoreUnavailable
from portal.sessions import session_watch
from portal.sessions.session_watch import SessionChange, SessionEvent, SessionWatch, is_near
from portal.stores.model import Login, Session
from portal.stores.store import Store
from tests.kit.raw import until
from tests.kit.samples import START, SampleDirectory, sample_login, sample_provider, sample_session


@dataclass
class FakeStore:
    """Sessions and logins by id; counts what is read."""

    sessions: dict[str, Session] = field(default_factory=dict)
    logins: dict[str, Login] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)
    down: bool = False

    def add(self, session: Session, *logins: Login) -> None:
        self.sessions[session.id] = session
        self.logins |= {login.id: login for login in logins}

    async def read(
        self, sessions: Collection[str], logins: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        if self.down:
            raise StoreUnavailable("down")
        self.reads.append(len(sessions) + len(logins))
        live = {key: self.sessions[key] for key in sessions if key in self.sessions}
        return live, {key: self.logins[key] for key in logins if key in self.logins}


@dataclass
class Watched:
    store: FakeStore
    watch: SessionWatch
    now: float = START
    heard: list[SessionEvent] = field(default_factory=list)
    state: object = field(default_factory=object)

    def listen(self, session: Session, *logins: Login) -> None:
        self.store.add(session, *logins)
        self.watch.listen(session, logins, self.heard.append)

    async def news(self) -> list[SessionEvent]:
        """What is reported by the next check."""
        self.heard.clear()
        await self.watch.check()
        return list(self.heard)


def made() -> Watched:
    store = FakeStore()
    provider = sample_provider()
    directory = SampleDirectory({provider.id: provider})
    watched: Watched
    watch = SessionWatch(
        store=cast(Store, store),
        directory=directory,
        tenant_state=lambda slug: watched.state,
        clock=lambda: watched.now,
    )
    watched = Watched(store, watch)
    return watched


def numbered(number: int) -> tuple[Session, Login]:
    key = f"{number:022}"
    return sample_session(id=key), sample_login(session=key)


@pytest.mark.gen_test
async def test_many_sessions_are_read_in_few_queries() -> None:
    watched = made()
    for number in range(400):
        watched.listen(*numbered(number))
        watched.watch.listen(sample_session(id=f"{number:022}"), [], lambda event: None)
    assert await watched.news() == []
    assert watched.store.reads == [256, 256, 256, 32]


@pytest.mark.gen_test
async def test_L6_who_listens_with_a_former_secret_hears_of_no_sign_in() -> None:
    watched = made()
    session, login = numbered(1)
    watched.listen(session, login)
    renewed = replace(session, secret_hash="1" * 64)
    watched.store.add(renewed, login, replace(login, tenant="globex"))
    with_new: list[SessionEvent] = []
    watched.watch.listen(renewed, [login], with_new.append)
    assert await watched.news() == [SessionEvent(SessionChange.REPLACED)]
    watched.store.logins.clear()
    assert await watched.news() == []
    assert with_new == [SessionEvent(SessionChange.ENDED, "acme")]
    assert len(watched.watch) == 1


@pytest.mark.gen_test
async def test_a_refresh_is_not_reported_and_a_login_that_was_replaced_has_ended() -> None:
    watched = made()
    session, login = numbered(1)
    watched.listen(session, login)
    watched.store.add(session, replace(login, tokens="new", version=2))
    assert await watched.news() == []
    watched.store.add(session, replace(login, signed_in_at=START + 5, version=9))
    assert await watched.news() == [SessionEvent(SessionChange.ENDED, "acme")]


@pytest.mark.gen_test
async def test_a_tenant_that_is_gone_or_a_registration_that_changed_ends_the_login() -> None:
    watched = made()
    session, login = numbered(1)
    watched.listen(session, login)
    watched.state = object()  # changed, but it still accepts the login
    assert await watched.news() == []
    watched.state = None
    assert await watched.news() == [SessionEvent(SessionChange.ENDED, "acme")]
    other = made()
    other.listen(session, replace(login, registration="another"))
    other.state = object()
    assert await other.news() == [SessionEvent(SessionChange.ENDED, "acme")]


@pytest.mark.gen_test
async def test_an_unexpected_error_about_one_session_keeps_no_other_from_being_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = made()
    for number in (1, 2, 3):
        watched.listen(*numbered(number))
    first = watched.store.logins.pop(numbered(1)[1].id)
    compare = watched.watch._compare_logins

    def fails_for_the_first(one: session_watch._Watched, logins: dict[str, Login]) -> None:
        if one.session.id == first.session:
            raise ValueError("unexpected")
        compare(one, logins)

    monkeypatch.setattr(watched.watch, "_compare_logins", fails_for_the_first)
    watched.store.logins.clear()
    assert await watched.news() == [SessionEvent(SessionChange.ENDED, "acme")] * 2


@pytest.mark.gen_test
async def test_nothing_ends_while_the_database_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_watch, "CHECK_SECONDS", 0.01)
    watched, stop = made(), asyncio.Event()
    watched.listen(*numbered(1))
    watched.store.down = True
    running = asyncio.create_task(watched.watch.watch(stop))
    await asyncio.sleep(0.05)
    assert watched.heard == []
    watched.store.sessions.clear()
    watched.store.down = False
    await until(lambda: bool(watched.heard), "the end was not reported")
    stop.set()
    await running
    assert [event.tenant for event in watched.heard] == ["acme", None]
    assert len(watched.watch) == 0


@pytest.mark.gen_test
async def test_who_no_longer_listens_hears_nothing_and_costs_nothing() -> None:
    watched = made()
    session, login = numbered(1)
    watched.listen(session, login)
    watched.watch.forget(session, watched.heard.append)
    watched.watch.forget(session, watched.heard.append)
    watched.store.sessions.clear()
    assert await watched.news() == []
    assert (len(watched.watch), watched.store.reads) == (0, [])


@pytest.mark.parametrize(
    ("left", "lifetime", "near"),
    [(121, 3600, False), (120, 3600, True), (60, 200, False), (50, 200, True), (-5, 3600, True)],
)
def test_an_end_is_near_two_minutes_before_or_in_the_last_quarter(
    left: float, lifetime: float, near: bool
) -> None:
    assert is_near(START + lifetime, START, START + lifetime - left) is near
