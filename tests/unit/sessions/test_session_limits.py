"""Sessions and logins end when they are not used, and at the latest after a fixed time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from portal.oidc.provider import Provider
from portal.sessions.credentials import SessionCookie
from portal.sessions.directory import Limits
from portal.sessions.reader import BatchedReader
from portal.sessions.service import RequestSession, SessionService
from portal.stores.model import Login
from portal.stores.store import Store
from tests.kit.samples import START, SampleDirectory, sample_login, sample_session, sample_tokens
from tests.unit.sessions.refreshing import Scene, refreshing


class TenantLimits(SampleDirectory):
    def __init__(self, provider: Provider, of_login: Limits) -> None:
        super().__init__({provider.id: provider})
        self.of_login = of_login

    def limits(self, tenant: str) -> Limits:
        return self.of_login


@dataclass
class SignedIn:
    """A browser that is signed in at acme."""

    scene: Scene
    service: SessionService
    cookie: SessionCookie

    async def request(self, tenant: str | None = "acme") -> RequestSession | None:
        return await self.service.open_session(self.cookie.value, tenant)

    async def login(self) -> Login | None:
        found = await self.request()
        return found.login if found else None


@asynccontextmanager
async def signed_in(
    folder: Path, *, idle: float, absolute: float = 43_200.0, of_login: Limits | None = None
) -> AsyncIterator[SignedIn]:
    """`idle` and `absolute` are the limits of the session, `of_login` those of the login."""
    of_login = of_login or Limits(None, 43_200.0)
    async with refreshing(folder) as scene:
        store, cookie = cast(Store, scene.store), SessionCookie.new()
        directory = TenantLimits(scene.provider, of_login)
        service = SessionService(
            store=store,
            vault=scene.vault,
            relying_party=scene.party,  # type: ignore[arg-type]
            directory=directory,
            tokens=scene.refresher(),
            reader=BatchedReader(store, clock=scene.clock),
            clock=scene.clock,
            idle=idle,
            absolute=absolute,
        )
        await store.add_session(
            sample_session(
                id=cookie.session_id,
                secret_hash=cookie.secret_hash,
                idle_expires_at=START + idle,
                absolute_expires_at=START + absolute,
            )
        )
        expires_at = START + min(of_login.idle or absolute, of_login.absolute)
        login = sample_login(session=cookie.session_id, expires_at=expires_at)
        await store.put_login(
            replace(login, tokens=scene.vault.seal_tokens(login.id, sample_tokens(expires_at=START + 10**6)))
        )
        yield SignedIn(scene, service, cookie)


@pytest.mark.parametrize("idle", [60.0, 300.0, 3600.0])
@pytest.mark.gen_test
async def test_a_session_that_is_used_lives_until_its_absolute_limit(tmp_path: Path, idle: float) -> None:
    async with signed_in(tmp_path, idle=idle, absolute=8 * idle) as s:
        for _ in range(8):
            s.scene.clock.advance(0.9 * idle)
            assert await s.login() is not None
        s.scene.clock.advance(0.9 * idle)
        assert await s.request() is None


@pytest.mark.gen_test
async def test_a_session_that_is_not_used_ends(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=300.0) as s:
        s.scene.clock.advance(200)
        assert await s.request() is not None
        s.scene.clock.advance(299)
        assert await s.request() is not None
        s.scene.clock.advance(301)
        assert await s.request() is None


@pytest.mark.parametrize(("idle", "pause"), [(3600.0, 60), (300.0, 30)])
@pytest.mark.gen_test
async def test_the_idle_limit_is_written_once_a_minute_or_ten_times_in_its_duration(
    tmp_path: Path, idle: float, pause: int
) -> None:
    of_login = Limits(idle, 43_200.0)
    async with signed_in(tmp_path, idle=idle, of_login=of_login) as s:
        for _ in range(2 * pause):
            s.scene.clock.advance(1)
            await s.request()
        assert (s.scene.store.calls["touch_sessions"], s.scene.store.calls["swap_login"]) == (2, 2)


@pytest.mark.parametrize("idle", [60.0, 300.0])
@pytest.mark.gen_test
async def test_a_login_that_is_used_lives_until_the_absolute_limit_of_its_tenant(
    tmp_path: Path, idle: float
) -> None:
    async with signed_in(tmp_path, idle=3600.0, of_login=Limits(idle, 10 * idle)) as s:
        for _ in range(11):
            s.scene.clock.advance(0.9 * idle)
            assert await s.login() is not None
        s.scene.clock.advance(0.2 * idle)
        assert await s.login() is None
        assert await s.request() is not None, "the session has other limits"


@pytest.mark.gen_test
async def test_a_login_that_is_not_used_ends_while_its_session_is_used(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=3600.0, of_login=Limits(300.0, 43_200.0)) as s:
        s.scene.clock.advance(200)
        before = await s.login()
        s.scene.clock.advance(200)
        after = await s.login()
        assert before is not None
        assert after is not None
        assert after.version > before.version, "concurrent writers must notice the change"
        for _ in range(4):
            s.scene.clock.advance(100)
            assert await s.request(tenant=None) is not None
        assert await s.login() is None


@pytest.mark.gen_test
async def test_reading_a_session_extends_nothing(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=1_000, of_login=Limits(500, 43_200)) as made:
        made.scene.clock.advance(400)
        found = await made.service.open_session(made.cookie.value, "acme", extend=False)
        assert found is not None
        assert found.login is not None
        made.scene.clock.advance(101)
        read = await made.service.open_session(made.cookie.value, "acme", extend=False)
        assert read is not None
        assert read.login is None


@pytest.mark.gen_test
async def test_extending_on_request_survives_a_refresh_at_the_same_time(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=1_000, of_login=Limits(500, 43_200)) as made:
        made.scene.clock.advance(400)
        found = await made.service.open_session(made.cookie.value, "acme", extend=False)
        assert found is not None
        login = found.login
        assert login is not None
        refreshed = replace(login, tokens="of a refresh", version=login.version + 1)
        assert await made.scene.working.swap_login(refreshed, expected_version=login.version)
        session, (extended,) = await made.service.extend(found.session, [login])
        assert session.idle_expires_at == START + 1_400
        assert (extended.tokens, extended.expires_at) == ("of a refresh", START + 900)
        _, stored = await made.scene.working.read((), (login.id,), now=made.scene.clock())
        assert stored[login.id] == extended
        again, _ = await made.service.extend(session, [extended])
        assert again is session, "nothing is written that adds less than a second"


@pytest.mark.gen_test
async def test_a_login_that_has_ended_is_not_extended(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=1_000, of_login=Limits(500, 43_200)) as made:
        made.scene.clock.advance(400)
        found = await made.service.open_session(made.cookie.value, "acme", extend=False)
        assert found is not None
        assert found.login is not None
        await made.scene.working.delete_login(found.session.id, "acme")
        assert (await made.service.extend(found.session, [found.login]))[1] == []
