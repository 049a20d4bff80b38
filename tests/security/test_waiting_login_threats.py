"""A login that waits for the cookie of another tab: failures of the database, and logouts (THREATS L6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from portal.errors import StoreUnavailable
from portal.stores.model import Login, Session
from tests.kit.browser import Browser, Response
from tests.kit.raw import stored, until
from tests.kit.world import World
from tests.kit.world import world as make_world
from tests.mongodb import fresh_database, running_server
from tests.security.test_logins_at_once import codes_held, cookies_of, superseded, tenants_of


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portal.db"
        return
    with fresh_database(request.getfixturevalue("mongodb")) as uri:
        yield uri


class Waiting:
    """A browser with the cookie of its first tab, whose second tab has a login at Globex that waits."""

    def __init__(self, world: World, browser: Browser, url: str, login: Login, added: Session) -> None:
        self.world = world
        self.browser = browser
        self.url = url
        self.login = login
        self.added = added
        self.store: Any = world.running.portal.store

    def failing(self, *methods: str, times: int = 1_000) -> None:
        """Let methods of the database fail so often."""
        for method in methods:
            self._fail(method, times)

    def _fail(self, method: str, times: int) -> None:
        left, works = [times], getattr(self.store, method)

        async def fail(*positional: object, **named: object) -> object:
            if left[0] > 0:
                left[0] -= 1
                raise StoreUnavailable("busy")
            return await works(*positional, **named)

        setattr(self.store, method, fail)

    def before(self, method: str, change: Any) -> None:
        """Change something just before the next call of a method of the database."""
        works = getattr(self.store, method)

        async def changed(*positional: object, **named: object) -> object:
            setattr(self.store, method, works)
            await change()
            return await works(*positional, **named)

        setattr(self.store, method, changed)

    def repair(self, *methods: str) -> None:
        for method in methods:
            delattr(self.store, method)

    async def logout_of_the_provider(self) -> None:
        await self.store.delete_logins_by_subject(
            self.login.issuer, self.login.subject, tenant="globex", registration=self.login.registration
        )

    async def finish(self) -> Response:
        return await self.browser.step(self.url)

    async def tenants(self) -> list[str]:
        return await tenants_of(self.world, self.browser)

    async def has_session(self) -> bool:
        """Whether the login's own session is live."""
        found, _ = await self.store.read((self.login.session,), (), now=self.world.clock())
        return bool(found)


@asynccontextmanager
async def waiting_in(folder: Path, database: str) -> AsyncIterator[Waiting]:
    async with make_world(folder, database=database) as world:
        yield await waiting_login(world)


async def waiting_login(world: World, query: str = "") -> Waiting:
    """Let a login wait. Parameters: query, of the address that begins it."""
    store = world.running.portal.store
    added: list[tuple[Session, Login]] = []
    add = store.add_session

    async def add_session(session: Session, *, login: Login | None = None) -> None:
        if login is not None:
            added.append((session, login))
        await add(session, login=login)

    store.add_session = add_session  # type: ignore[method-assign]
    browser, first, second = await superseded(world, query)
    del store.add_session
    browser.cookies["localhost"]["portal"] = cookies_of(first)["portal"]
    [(session, login)] = [one for one in added if one[1].tenant == "globex"]
    return Waiting(world, browser, world.at(second.headers["Location"]), login, session)


@pytest.mark.parametrize("method", ["delete_session", "swap_login"])
@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_that_is_lost_while_it_moves_leaves_the_others(
    tmp_path: Path, database: str, method: str
) -> None:
    """The session has its new secret by then: whatever happens, the browser must get it."""
    async with waiting_in(tmp_path, database) as waiting:
        waiting.failing(method, "delete_login")
        response = await waiting.finish()
        assert response.status == 503
        assert "portal" in cookies_of(response)
        waiting.repair(method, "delete_login")
        assert await waiting.tenants() == ["acme"], "what could not be deleted has no use"
        assert waiting.world.globex.requests["revocation"] == 1
        assert (await waiting.browser.fetch(waiting.world.at("/t/acme/api/orders"))).status == 200
        assert (await waiting.browser.fetch(waiting.world.at("/t/globex/api/projects"))).status == 401
        await waiting.world.quick_sign_in(waiting.browser, "globex")
        assert await waiting.tenants() == ["acme", "globex"]


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_short_failure_of_the_database_loses_no_login_that_waits(
    tmp_path: Path, database: str
) -> None:
    async with waiting_in(tmp_path, database) as waiting:
        waiting.failing("delete_session", "swap_login", times=2)
        assert (await waiting.finish()).headers["Location"] == "/t/globex/"
        assert await waiting.tenants() == ["acme", "globex"]
        assert not await waiting.has_session()
        assert (await waiting.browser.fetch(waiting.world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_write_without_acknowledgement_loses_no_login_that_waits(world: World) -> None:
    waiting = await waiting_login(world)
    swap = waiting.store.swap_login

    async def unacknowledged(*positional: object, **named: object) -> bool:
        waiting.store.swap_login = swap
        await swap(*positional, **named)
        raise StoreUnavailable("the connection broke")

    waiting.store.swap_login = unacknowledged
    assert (await waiting.finish()).headers["Location"] == "/t/globex/"
    assert await waiting.tenants() == ["acme", "globex"]


@pytest.mark.parametrize("method", ["rotate_session", "delete_session", "swap_login"])
@pytest.mark.parametrize("fails", [False, True], ids=["", "then-failing"])
@pytest.mark.gen_test(timeout=60)
async def test_L6_a_logout_of_the_provider_wins_at_each_step_of_the_move(
    tmp_path: Path, database: str, method: str, fails: bool
) -> None:
    """Also when the database fails afterwards, so that nothing can be deleted any more."""
    async with waiting_in(tmp_path, database) as waiting:
        waiting.before(method, waiting.logout_of_the_provider)
        if fails:
            waiting.failing("delete_login")
        response = await waiting.finish()
        assert "portal" in cookies_of(response)
        if fails:
            waiting.repair("delete_login")
        assert await waiting.tenants() == ["acme"]
        assert (await waiting.browser.fetch(waiting.world.at("/t/globex/api/projects"))).status == 401
        assert (await waiting.browser.fetch(waiting.world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_is_not_usable_in_two_sessions_while_it_moves(world: World) -> None:
    waiting = await waiting_login(world)
    seen: list[tuple[str, bool]] = []
    rotate = waiting.store.rotate_session

    async def rotated(*positional: object, **named: object) -> bool:
        done = bool(await rotate(*positional, **named))
        found = await waiting.store.list_logins(world.session_id(waiting.browser), now=world.clock())
        seen.extend((one.tenant, world.running.portal.sessions._is_usable(one)) for one in found)
        return done

    waiting.store.rotate_session = rotated
    await waiting.finish()
    assert seen == [("acme", True), ("globex", False)]


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_that_nobody_fetches_ends_soon(world: World) -> None:
    waiting = await waiting_login(world)
    assert await waiting.has_session()
    assert waiting.added.idle_expires_at < world.clock() + 70, "as it was stored first"
    world.clock.advance(70)
    assert not await waiting.has_session()
    assert "portal" not in cookies_of(await waiting.finish())
    assert await waiting.tenants() == ["acme"]


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_that_has_waited_lasts_as_long_as_any_other(world: World) -> None:
    """Its own session becomes that of the browser, which has lost the cookie of the first tab."""
    browser, _, second = await superseded(world)
    assert (await browser.open(world.at(second.headers["Location"]))).url == world.at("/t/globex/")
    world.clock.advance(600)
    assert await tenants_of(world, browser) == ["globex"]


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_that_cannot_wait_is_deleted_and_revoked(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    acme, globex = [await world.stop_before_callback(browser, tenant) for tenant in ("acme", "globex")]
    async with codes_held(world, "globex") as hold:
        held = asyncio.ensure_future(browser.step(globex, site="cross-site"))
        await until(lambda: world.globex.requests["code"], "no code was sent")
        await browser.step(acme, site="cross-site")
        store: Any = world.running.portal.store

        async def fail(attempt: object) -> None:
            raise StoreUnavailable("busy")

        store.add_attempt = fail
        hold.set()
        assert (await held).status == 503
        del store.add_attempt
    assert world.globex.requests["revocation"] == 1
    assert await all_logins(world) == ["acme"]


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_login_that_cannot_wait_again_is_deleted_and_revoked(world: World) -> None:
    browser, _, second = await superseded(world)
    store: Any = world.running.portal.store

    async def fail(attempt: object) -> None:
        raise StoreUnavailable("busy")

    store.add_attempt = fail
    assert (await browser.step(world.at(second.headers["Location"]))).status == 503
    del store.add_attempt
    assert world.globex.requests["revocation"] == 1
    assert await all_logins(world) == ["acme"]


async def all_logins(world: World) -> list[str]:
    """The tenants of all stored logins."""
    return sorted(str(row[0]).partition(":")[2] for row in stored(world)["logins"])


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_logout_of_everything_ends_a_login_that_waits(tmp_path: Path, database: str) -> None:
    async with waiting_in(tmp_path, database) as waiting:
        await waiting.browser.step(waiting.world.at("/logout"), "POST", "", site="same-origin")
        response = await waiting.finish()
        assert "portal" not in cookies_of(response)
        assert await waiting.tenants() == []
        assert not await waiting.has_session()
        assert waiting.world.globex.requests["revocation"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_logout_of_everything_wins_at_the_moment_of_the_move(world: World) -> None:
    waiting = await waiting_login(world)

    async def logout() -> None:
        await waiting.store.delete_session(world.session_id(waiting.browser))

    waiting.before("rotate_session", logout)
    assert "portal" not in cookies_of(await waiting.finish())
    assert await waiting.tenants() == []
    assert not await waiting.has_session()


@pytest.mark.gen_test(timeout=60)
async def test_L6_a_logout_at_the_tenant_ends_a_login_there_that_waits(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    acme, globex = [await world.stop_before_callback(browser, tenant) for tenant in ("acme", "globex")]
    before = world.globex.requests["code"]
    async with codes_held(world, "globex") as hold:
        held = asyncio.ensure_future(browser.step(globex, site="cross-site"))
        await until(lambda: world.globex.requests["code"] > before, "no code was sent")
        await browser.step(acme, site="cross-site")
        hold.set()
        second = await held
    await browser.step(world.at("/t/globex/logout"), "POST", "", site="same-origin")
    assert await tenants_of(world, browser) == ["acme"]
    assert "portal" not in cookies_of(await browser.step(world.at(second.headers["Location"])))
    assert await tenants_of(world, browser) == ["acme"]
    assert await all_logins(world) == ["acme"]
    assert world.globex.requests["revocation"] == 2, "of both logins"


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_login_of_a_window_leads_back_into_its_sign_in(world: World) -> None:
    waiting = await waiting_login(world, f"?return_to={quote('/t/globex/signed-in', safe='')}")
    await waiting.logout_of_the_provider()
    waiting.browser.cookies["localhost"] = {}
    page = await waiting.browser.open(waiting.url)
    assert "data-close" in page.text
