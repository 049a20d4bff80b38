"""THREATS T3, S5: the access token of one API or tenant never goes to another, and one request gets each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from portal.oidc.provider import TokenSet
from tests.kit.browser import Browser, Form, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.processes import world_outside
from tests.kit.raw import api_head, change_tenant, connected, until
from tests.kit.several_apis import (
    NAMES,
    RecordingApis,
    allow_audiences,
    audience,
    audiences_of,
    recording_apis,
    use_apis,
    write_apis,
)
from tests.kit.world import World

CALLS = 100
PROCESSES = 4


@pytest.mark.gen_test(timeout=90)
async def test_S5_hundred_calls_of_three_apis_in_four_processes_make_one_request_each(tmp_path: Path) -> None:
    async with recording_apis() as apis, world_outside(tmp_path, processes=PROCESSES) as (world, served):
        allow_audiences(world.acme, *NAMES)
        entries = {
            name: {"base_url": f"{apis.url}/{name}", "audience": audience(name), "token": "refresh"}
            for name in NAMES
        }
        write_apis(world.parts.tenants_folder, entries)
        await served.stop()
        await served.start()
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        urls = [world.at(f"/t/acme/apis/{name}/x") for name in NAMES for _ in range(CALLS)]
        responses = await asyncio.gather(*map(browser.fetch, urls))
        assert {response.status for response in responses} == {200}
        assert world.acme.requests["refresh"] == len(NAMES)
        for name in NAMES:
            assert {tuple(call.audiences) for call in apis.of(name)} == {(audience(name),)}


@pytest.mark.gen_test
async def test_T3_each_api_gets_its_own_token_only_whichever_was_called_before(world: World) -> None:
    allow_audiences(world.acme, *NAMES)
    async with recording_apis() as apis:
        how = dict(zip(NAMES, ("refresh", "exchange", "auto"), strict=True))
        use_apis(
            world,
            {
                name: {"base_url": f"{apis.url}/{name}", "audience": audience(name), "token": token}
                for name, token in how.items()
            },
        )
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        for _ in range(2):
            for name in (*NAMES, *reversed(NAMES)):
                assert (await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))).status == 200
            assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
            world.clock.advance(301)
        for call in apis.calls:
            assert call.audiences == [audience(call.api)]
        used = {call.bearer for call in world.acme_api.received}
        assert not used & {_digest(call.token) for call in apis.calls}


@pytest.mark.gen_test
async def test_T3_a_changed_audience_gets_a_new_token_and_never_the_old_one(world: World) -> None:
    allow_audiences(world.acme, "billing", "stock")
    async with recording_apis() as apis:
        url = f"{apis.url}/billing"
        use_apis(world, {"billing": {"base_url": url, "audience": audience("billing"), "token": "refresh"}})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await browser.fetch(world.at("/t/acme/apis/billing/x"))
        use_apis(world, {"billing": {"base_url": url, "audience": audience("stock"), "token": "refresh"}})
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200
        assert [call.audiences for call in apis.calls] == [[audience("billing")], [audience("stock")]]


@pytest.mark.gen_test
async def test_T3_a_login_at_one_tenant_is_none_at_the_apis_of_another(world: World) -> None:
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/billing", "audience": audience("billing"), "token": "exchange"}
        use_apis(world, {"billing": entry})
        change_tenant(world, "globex", apis={"billing": {**entry, "base_url": f"{apis.url}/stock"}})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200
        refused = await browser.fetch(world.at("/t/globex/apis/billing/x"))
        assert refused.status == 401
        await world.quick_sign_in(browser, "globex")
        # Globex's client may not request a token for Acme's API, and gets none
        assert (await browser.fetch(world.at("/t/globex/apis/billing/x"))).status == 502
        assert {call.api for call in apis.calls} == {"billing"}


@pytest.mark.parametrize("access", ["anonymous", "client"])
@pytest.mark.gen_test
async def test_T3_an_api_for_everybody_gets_nothing_of_a_user(world: World, access: str) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        entry: dict[str, object] = {"base_url": f"{apis.url}/catalog", "access": access}
        if access == "client":
            entry["audience"] = audience("catalog")
        use_apis(world, {"catalog": entry})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        login = await world.login_of(browser, "acme")
        assert login is not None
        tokens = world.running.tokens.open(login)
        url = world.at("/t/acme/apis/catalog/x")
        headers = {"Authorization": "Bearer of-a-page", "X-Portal-Tenant": "acme"}
        assert (await browser.fetch(url, headers=headers)).status == 200
        [call] = apis.calls
        text = str(call.headers)
        assert tokens.access_token.reveal() not in text
        assert (browser.cookie("localhost", "portal") or "") not in text
        assert "of-a-page" not in text
        if access == "client":
            assert audiences_of(call.token) == [audience("catalog")]
            assert login.subject not in text
        else:
            assert not call.token


@pytest.mark.parametrize("access", ["anonymous", "client"])
@pytest.mark.gen_test
async def test_T3_the_explorer_sends_no_token_of_the_user_to_an_api_for_everybody(
    world: World, access: str
) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/catalog", "access": access}
        if access == "client":
            entry["audience"] = audience("catalog")
        use_apis(world, {}, api=entry)
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        home = await browser.open(world.at("/t/acme/developer"))
        shown = await browser.submit(_explorer(home), {"method": "GET", "path": "/x"})
        assert shown.status == 200
        login = await world.login_of(browser, "acme")
        assert login is not None
        [call] = apis.calls
        assert call.token != world.running.tokens.open(login).access_token.reveal()
        assert bool(call.token) is (access == "client")


@pytest.mark.gen_test
async def test_T3_no_page_and_no_log_has_an_access_token_of_an_api(
    world: World, log_lines: io.StringIO
) -> None:
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/billing", "audience": audience("billing")}
        use_apis(world, {"billing": entry})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200
        world.acme.faults.ignores_apis = True
        world.acme.faults.exchange_error = "invalid_target"
        world.clock.advance(301)
        response = await browser.fetch(world.at("/t/acme/apis/billing/x"))
        assert response.status == 401
        page = await browser.open(world.at("/t/acme/developer"))
        seen = f"{log_lines.getvalue()}{response.text}{page.text}"
        for token in world.acme.state.issued:
            assert token not in seen


@pytest.mark.gen_test(timeout=60)
async def test_D4_a_refused_exchange_for_one_api_pauses_no_refreshes_of_other_users(world: World) -> None:
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        use_apis(world, {"billing": entry_of(apis, "billing", token="exchange")})
        other, victim = world.browser(), world.browser()
        await world.quick_sign_in(other, "acme")
        await world.quick_sign_in(victim, "acme")
        world.acme.faults.exchange_error = "invalid_client"
        for _ in range(4):
            assert (await other.fetch(world.at("/t/acme/apis/billing/x"))).status == 502
        assert world.acme.requests["exchange"] == 1
        await world.expire_access_token(victim, "acme")
        assert (await victim.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_D4_client_tokens_that_expire_at_once_are_not_requested_for_each_call(world: World) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        use_apis(world, {"catalog": entry_of(apis, "catalog", access="client")})
        world.acme.faults.mutate_token_response = lambda document: document.update(expires_in=0)
        stranger = world.browser()
        for _ in range(5):
            assert (await stranger.fetch(world.at("/t/acme/apis/catalog/x"))).status == 502
        assert world.acme.requests["client"] == 1
        assert not apis.calls


@pytest.mark.gen_test(timeout=60)
async def test_S4_a_login_for_one_api_sets_no_session_cookie(world: World) -> None:
    """It may end after another tab got a new cookie, which the browser must keep."""
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        use_apis(world, {"billing": entry_of(apis, "billing", token="login")})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        callback = await world.stop_before_callback(browser, "acme", "?api=billing&prompt=none")
        done = await browser.step(callback, site="cross-site")
        assert done.status == 303
        names = [line.partition("=")[0] for line in done.headers.get_list("Set-Cookie")]
        assert "portal" not in names
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_T3_the_token_of_a_refused_login_for_one_api_is_revoked(world: World) -> None:
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        use_apis(world, {"billing": entry_of(apis, "billing", token="login")})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        world.acme.automatic_user = "bob"
        assert (await browser.open(world.at("/t/acme/login?api=billing"))).status == 400
        assert world.acme.requests["revocation"] == 1
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_T3_a_token_of_a_login_for_one_api_that_is_replaced_is_revoked(world: World) -> None:
    async with billing_by_login(world) as browser:
        await world.post_back(browser, await browser.open(world.at("/t/acme/login?api=billing")))
        await until(lambda: world.acme.requests["revocation"] == 1, "the first token is still valid")
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200, "the second is not"
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_T3_a_new_login_revokes_tokens_of_apis_and_not_its_own_session(world: World) -> None:
    """The refresh tokens of both logins may be of one session at the provider (decision 065)."""
    async with billing_by_login(world) as browser:
        former = await tokens_of(world, browser)
        await world.quick_sign_in(browser, "acme")
        await until(lambda: world.acme.requests["revocation"] == 1, "the token of the API is still valid")
        assert not (await tokens_of(world, browser)).api_tokens
        assert is_valid_at(world.acme, former)
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test(timeout=60)
async def test_T3_a_login_of_another_user_revokes_all_tokens_of_the_former(world: World) -> None:
    async with billing_by_login(world) as browser:
        former = await tokens_of(world, browser)
        world.acme.automatic_user = "bob"
        await world.post_back(browser, await browser.open(world.at("/t/acme/login?prompt=select_account")))
        await until(lambda: world.acme.requests["revocation"] == 2, "a token is still valid")
        assert not is_valid_at(world.acme, former)
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@asynccontextmanager
async def billing_by_login(world: World) -> AsyncIterator[Browser]:
    """A browser with a login at Acme, and a token for an API from a login of its own."""
    allow_audiences(world.acme, "billing")
    async with recording_apis() as apis:
        use_apis(world, {"billing": entry_of(apis, "billing", token="login")})
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        world.acme.automatic_user = "alice"
        await world.post_back(browser, await browser.open(world.at("/t/acme/login?api=billing")))
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 200
        assert world.acme.requests["revocation"] == 0
        yield browser


async def tokens_of(world: World, browser: Browser) -> TokenSet:
    login = await world.login_of(browser, "acme")
    assert login is not None
    return world.running.tokens.open(login)


def is_valid_at(provider: FaultyProvider, tokens: TokenSet) -> bool:
    """Whether the provider still accepts a refresh token."""
    assert tokens.refresh_token is not None
    found = provider.state.refresh_token(tokens.refresh_token.reveal())
    assert found is not None
    return not found.grant.revoked


@pytest.mark.gen_test(timeout=60)
async def test_T9_a_client_token_of_a_replaced_registration_is_not_used(world: World) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        use_apis(world, {"catalog": entry_of(apis, "catalog", access="client")})
        hold = asyncio.Event()
        world.acme.faults.endpoints["token"] = EndpointFault(hold=hold)
        call = asyncio.ensure_future(world.browser().fetch(world.at("/t/acme/apis/catalog/x")))
        await until(lambda: world.acme.requests["token"], "no token was requested")
        change_tenant(world, "acme", issuer=world.globex.issuer)
        hold.set()
        assert (await call).status == 502
        assert not apis.calls


@pytest.mark.gen_test(timeout=60)
async def test_T9_a_call_with_a_client_token_ends_when_its_registration_is_replaced(world: World) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        use_apis(world, {"catalog": entry_of(apis, "catalog", access="client")})
        async with connected(world) as connection:
            await connection.send(api_head(world, world.browser(), "/t/acme/apis/catalog/stream"))
            await asyncio.wait_for(connection.reader.readuntil(b"first"), 5)
            change_tenant(world, "acme", issuer=world.globex.issuer)
            with contextlib.suppress(ConnectionResetError):  # the call is cut in the middle of its response
                await asyncio.wait_for(connection.reader.read(-1), 8)


def entry_of(apis: RecordingApis, name: str, **options: str) -> dict[str, object]:
    """The entry of an API in a tenant file."""
    return {"base_url": f"{apis.url}/{name}", "audience": audience(name), **options}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _explorer(home: Response) -> Form:
    """The form of the API explorer."""
    return next(form for form in home.forms if any(name == "path" for name, _ in form.fields))
