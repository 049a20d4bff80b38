"""Several APIs of a tenant: each gets an access token of its own, by one token request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.web.api_proxy import live_calls
from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import api_head, connected
from tests.kit.several_apis import (
    NAMES,
    RecordingApis,
    allow_audiences,
    audience,
    recording_apis,
    use_apis,
)
from tests.kit.world import World

CALLS = 100
FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "refresh with audience": ({"key": "audience", "token": "auto"}, "refresh"),
    "refresh with resource": ({"key": "resource", "token": "refresh"}, "refresh"),
    "exchange": ({"key": "audience", "token": "exchange"}, "exchange"),
}


@asynccontextmanager
async def serving(
    world: World, *, key: str = "audience", names: tuple[str, ...] = NAMES, **entry: Any
) -> AsyncIterator[tuple[RecordingApis, Browser]]:
    """APIs of Acme, and a browser that is signed in there."""
    allow_audiences(world.acme, *names)
    async with recording_apis() as apis:
        entries = {name: {"base_url": f"{apis.url}/{name}", key: audience(name), **entry} for name in names}
        use_apis(world, entries)
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        yield apis, browser


def call(world: World, browser: Browser, name: str, **options: Any) -> asyncio.Future[Response]:
    url = world.at(f"/t/acme/apis/{name}/x")
    return asyncio.ensure_future(browser.fetch(url, **options))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.gen_test(timeout=30)
async def test_three_audiences_with_a_hundred_calls_each_make_one_token_request_each(
    world: World, form: str
) -> None:
    entry, counted = FORMS[form]
    async with serving(world, **entry) as (apis, browser):
        calls = [call(world, browser, name) for name in NAMES for _ in range(CALLS)]
        responses = await asyncio.gather(*calls)
        assert {response.status for response in responses} == {200}
        assert world.acme.requests[counted] == len(NAMES)
        assert world.acme.requests["token"] == 1 + len(NAMES)
        for name in NAMES:
            assert {tuple(one.audiences) for one in apis.of(name)} == {(audience(name),)}
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert world.acme.requests["token"] == 1 + len(NAMES)


@pytest.mark.gen_test
async def test_the_refresh_token_that_was_rotated_for_one_api_serves_the_next(world: World) -> None:
    async with serving(world) as (_, browser):
        for name in NAMES:
            assert (await call(world, browser, name)).status == 200
        await world.expire_access_token(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert world.acme.requests["refresh"] == len(NAMES) + 1
        for name in NAMES:  # the tokens of the APIs are still there
            assert (await call(world, browser, name)).status == 200
        assert world.acme.requests["refresh"] == len(NAMES) + 1


@pytest.mark.gen_test
async def test_a_token_that_its_api_refuses_is_replaced_once(world: World) -> None:
    async with serving(world, names=("billing",)) as (apis, browser):
        await call(world, browser, "billing")
        world.clock.advance(60)
        [first] = apis.calls
        apis.refuses.add(first.token)
        assert (await call(world, browser, "billing")).status == 200
        assert world.acme.requests["refresh"] == 2
        assert [one.token == first.token for one in apis.calls] == [True, True, False]
        apis.refuses.update(one.token for one in apis.calls)
        for _ in range(3):  # a new token is not the reason
            assert (await call(world, browser, "billing")).status == 401
        assert world.acme.requests["refresh"] == 2


@pytest.mark.gen_test
async def test_a_provider_that_answers_for_another_api_is_reported_and_its_token_not_used(
    world: World, log_lines: object
) -> None:
    async with serving(world, names=("billing",), token="refresh") as (apis, browser):
        world.acme.faults.ignores_apis = True
        response = await browser.fetch(world.at("/t/acme/apis/billing/x"))
        assert response.status == 502
        assert b"api_token_of_another_api" in response.body
        assert b"The sign-in service gave access to another API" in response.body
        assert not apis.calls
        assert world.acme.requests["refresh"] == 1
        assert (await browser.fetch(world.at("/t/acme/apis/billing/x"))).status == 502
        assert world.acme.requests["refresh"] == 1  # each call does not ask again
        # the refresh token of that response is stored: the login goes on
        world.acme.faults.ignores_apis = False
        await world.expire_access_token(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_auto_goes_on_to_what_works_and_remembers_it(world: World) -> None:
    async with serving(world, names=("billing",)) as (apis, browser):
        world.acme.faults.ignores_apis = True
        assert (await call(world, browser, "billing")).status == 200
        assert world.acme.requests["refresh"] == 1
        assert world.acme.requests["exchange"] == 1
        assert apis.calls[-1].audiences == [audience("billing")]
        other = world.browser()
        await world.quick_sign_in(other, "acme")
        assert (await call(world, other, "billing")).status == 200
        assert world.acme.requests["refresh"] == 1
        assert world.acme.requests["exchange"] == 2


@pytest.mark.gen_test
async def test_a_refused_refresh_token_ends_the_login(world: World) -> None:
    async with serving(world, names=("billing",)) as (_, browser):
        world.acme.faults.refresh_error = "invalid_grant"
        await world.expire_access_token(browser, "acme")
        response = await browser.fetch(world.at("/t/acme/apis/billing/x"))
        assert response.status == 401
        assert b'"login_url"' in response.body
        assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_a_logout_during_the_request_wins(world: World) -> None:
    async with serving(world, names=("billing",)) as (apis, browser):
        hold = asyncio.Event()
        world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
        waiting = call(world, browser, "billing")
        while not world.acme.requests["refresh"]:
            await asyncio.sleep(0.01)
        login = await world.login_of(browser, "acme")
        assert login is not None
        await world.running.portal.store.delete_login(login.session, login.tenant)
        hold.set()
        assert (await waiting).status == 401
        assert await world.login_of(browser, "acme") is None
        assert not apis.calls


# --- one more login


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.gen_test
async def test_an_api_by_login_says_where_and_the_login_adds_its_token(world: World, silent: bool) -> None:
    async with serving(world, names=("billing",), token="login") as (apis, browser):
        before = await world.login_of(browser, "acme")
        refused = await browser.fetch(world.at("/t/acme/apis/billing/x"))
        assert refused.status == 401
        problem = json.loads(refused.body)
        assert problem["code"] == "api_login_required"
        sent = parse_qs(urlsplit(problem["login_url"]).query)
        assert sent == {
            "return_to": ["/t/acme/"],
            "api": ["billing"],
            "provider": ["default"],
            "prompt": ["none"],
        }
        world.acme.automatic_user = "alice" if silent else None
        page = await browser.open(world.at(problem["login_url"]))
        if not silent:  # the provider wants consent
            page = await world.fill_in(browser, page, "acme", "alice")
        assert page.url == world.at("/t/acme/")
        [asked] = [one for one in world.acme.received if "audience" in one.parameters][-1:]
        assert asked.parameters["audience"] == [audience("billing")]
        assert asked.parameters.get("prompt") == (["none"] if silent else None)
        assert "offline_access" not in asked.parameters["scope"][0]
        assert (await call(world, browser, "billing")).status == 200
        assert apis.calls[-1].audiences == [audience("billing")]
        after = await world.login_of(browser, "acme")
        assert before is not None
        assert after is not None
        assert after.sign_in == before.sign_in
        old, new = (world.running.tokens.open(one) for one in (before, after))
        assert (new.access_token, new.refresh_token, new.id_token) == (
            old.access_token,
            old.refresh_token,
            old.id_token,
        )


async def _log_in_for(world: World, browser: Browser, *names: str) -> None:
    world.acme.automatic_user = "alice"
    for name in names:
        await browser.open(world.at(f"/t/acme/login?api={name}"))
        assert (await call(world, browser, name)).status == 200
    world.acme.automatic_user = None


@pytest.mark.gen_test
async def test_a_logout_revokes_the_tokens_that_logins_for_apis_have_got(world: World) -> None:
    names = ("billing", "stock")
    async with serving(world, names=names, token="login") as (apis, browser):
        await _log_in_for(world, browser, *names)
        state, keys = world.acme.state, world.acme.keys
        issued = [keys.verify(apis.of(name)[-1].token)["jti"] for name in names]
        assert all(state.access_token(jti) is not None for jti in issued)
        await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
        assert [state.access_token(jti) for jti in issued] == [None, None]
        assert world.acme.requests["revocation"] == 1 + len(names)


@pytest.mark.gen_test
async def test_a_login_that_an_earlier_version_stored_works_and_ends(world: World) -> None:
    """Its tokens do not say how they were got; the login's own are revoked."""
    async with serving(world, names=("billing",), token="login") as (_, browser):
        await _log_in_for(world, browser, "billing")
        login = await world.login_of(browser, "acme")
        assert login is not None
        vault = world.running.vault
        members = json.loads(vault.open(login.id, login.tokens))
        [api_token] = members["api_tokens"].values()
        del api_token["own_grant"]
        earlier = replace(login, tokens=vault.seal(login.id, json.dumps(members)), version=login.version + 1)
        assert await world.running.portal.store.swap_login(earlier, expected_version=login.version)
        assert (await call(world, browser, "billing")).status == 200
        await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
        assert world.acme.requests["revocation"] == 1
        assert (await call(world, browser, "billing")).status == 401


@pytest.mark.gen_test
async def test_the_login_for_an_api_of_another_account_adds_nothing(world: World) -> None:
    async with serving(world, names=("billing",), token="login") as (apis, browser):
        world.acme.automatic_user = "bob"
        page = await browser.open(world.at("/t/acme/login?api=billing"))
        assert page.status == 400
        assert "This sign-in could not be added" in page.text
        assert (await call(world, browser, "billing")).status == 401
        login = await world.login_of(browser, "acme")
        assert login is not None
        assert login.subject == "acme-001"
        assert not apis.calls


@pytest.mark.gen_test
async def test_an_api_that_needs_no_login_of_its_own_has_none(world: World) -> None:
    async with serving(world, names=("billing",), token="exchange") as (_, browser):
        for name in ("billing", "unknown"):
            assert (await browser.open(world.at(f"/t/acme/login?api={name}"))).status == 404


# --- the login's own access token


@pytest.mark.gen_test
async def test_a_shared_token_is_checked_where_the_api_names_its_audience(world: World) -> None:
    async with recording_apis() as apis:
        own, url = "https://api.acme.example", f"{apis.url}/billing"
        use_apis(
            world,
            {
                "billing": {"base_url": url, "audience": own},
                "stock": {"base_url": url, "audience": audience("stock"), "token": "shared"},
                "catalog": {"base_url": url},
            },
        )
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        statuses = {name: (await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))).status for name in NAMES}
        assert statuses == {"billing": 200, "catalog": 200, "stock": 502}
        assert world.acme.requests["token"] == 1
        assert {tuple(one.audiences) for one in apis.calls} == {(own,)}


# --- APIs without users


@pytest.mark.gen_test
async def test_an_anonymous_api_is_called_without_login_and_without_token(world: World) -> None:
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/catalog", "access": "anonymous"}
        use_apis(world, {"catalog": entry})
        browser = world.browser()
        url = world.at("/t/acme/apis/catalog/x")
        assert (await browser.fetch(url)).status == 200
        assert (await browser.fetch(url, "POST", body="{}")).status == 200
        await world.quick_sign_in(browser, "acme")
        assert (await browser.fetch(url)).status == 200
        assert {one.headers.get("Authorization") for one in apis.calls} == {None}
        assert not any("Cookie" in one.headers for one in apis.calls)
        assert (await browser.fetch(url, site="cross-site")).status == 403
        assert (await browser.fetch(url, "POST", body="{}", csrf=False)).status == 403
        assert len(apis.calls) == 3


@pytest.mark.gen_test
async def test_an_api_with_access_client_gets_one_token_of_the_portal_for_everybody(world: World) -> None:
    allow_audiences(world.acme, "catalog")
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/catalog", "access": "client", "audience": audience("catalog")}
        use_apis(world, {"catalog": entry})
        signed_in = world.browser()
        await world.quick_sign_in(signed_in, "acme")
        browsers = [world.browser(), signed_in]
        calls = [call(world, browser, "catalog") for browser in browsers for _ in range(50)]
        assert {one.status for one in await asyncio.gather(*calls)} == {200}
        assert world.acme.requests["client"] == 1
        assert len({one.token for one in apis.calls}) == 1
        assert apis.calls[0].audiences == [audience("catalog")]
        world.clock.advance(301)
        assert (await call(world, browsers[0], "catalog")).status == 200
        assert world.acme.requests["client"] == 2
        world.clock.advance(60)
        apis.refuses.update(one.token for one in apis.calls)
        assert (await call(world, browsers[0], "catalog")).status == 200
        assert world.acme.requests["client"] == 3


@pytest.mark.gen_test
async def test_a_client_that_the_provider_refuses_is_not_sent_at_every_call(world: World) -> None:
    async with recording_apis() as apis:
        entry = {"base_url": f"{apis.url}/catalog", "access": "client", "audience": audience("catalog")}
        use_apis(world, {"catalog": entry})
        browser = world.browser()
        for _ in range(5):
            response = await browser.fetch(world.at("/t/acme/apis/catalog/x"))
            assert response.status == 502
            assert b"api_token_refused" in response.body
        assert world.acme.requests["client"] == 1
        assert not apis.calls


# --- limits and headers


@pytest.mark.gen_test
async def test_a_body_longer_than_max_body_is_refused(world: World) -> None:
    async with serving(world, names=("billing",), max_body="70KB") as (apis, browser):
        url = world.at("/t/acme/apis/billing/x")
        assert (await browser.fetch(url, "POST", body=b"x" * 70 * 1024)).status == 200
        for size in (70 * 1024 + 1, 3_000_000):
            response = await browser.fetch(url, "POST", body=b"x" * size)
            assert response.status == 413
        assert len(apis.calls) == 1


@pytest.mark.parametrize(("limit", "sent"), [("10KB", 20), ("100KB", 300), ("1MB", 3000)])
@pytest.mark.gen_test
async def test_a_body_without_length_is_counted(world: World, limit: str, sent: int) -> None:
    async with serving(world, names=("billing",), max_body=limit) as (apis, browser), connected(world) as raw:
        head = api_head(
            world,
            browser,
            "/t/acme/apis/billing/x",
            method="POST",
            extra=("Transfer-Encoding: chunked",),
        )
        pieces = b"400\r\n%s\r\n" % (b"x" * 1024) * sent
        with contextlib.suppress(ConnectionError):  # refused before the end
            await raw.send(head + pieces + b"0\r\n\r\n")
        response = await raw.read_response()
        assert response is not None
        assert response.status == 413
        assert not apis.calls


@pytest.mark.gen_test
async def test_a_call_of_an_api_without_users_ends_when_that_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_calls, "_LEAST_AGE", 0.0)
    async with recording_apis() as apis, connected(world) as raw:
        entry = {"base_url": f"{apis.url}/catalog", "access": "anonymous"}
        use_apis(world, {"catalog": entry})
        await raw.send(api_head(world, world.browser(), "/t/acme/apis/catalog/stream"))
        while not apis.calls:
            await asyncio.sleep(0.01)
        await world.running.portal.live_calls.check()
        assert len(world.running.portal.live_calls) == 1
        use_apis(world, {"catalog": {**entry, "access": "user"}})
        await world.running.portal.live_calls.check()
        await raw.ended()
        assert len(world.running.portal.live_calls) == 0


@pytest.mark.gen_test
async def test_listed_headers_pass_and_no_others(world: World) -> None:
    listed: dict[str, Any] = {
        "request_headers": ["Referer", "Sec-CH-UA-Mobile"],
        "response_headers": ["Server"],
    }
    async with serving(world, names=("billing",), **listed) as (apis, browser):
        apis.response_headers = {"X-Powered-By": "echo", "Set-Cookie": "a=b", "Server": "echo"}
        sent = {
            "Referer": "https://page.example/",
            "Sec-CH-UA-Mobile": "?0",
            "Sec-CH-UA": '"x"',
            "Via": "1.1 y",
        }
        response = await browser.fetch(world.at("/t/acme/apis/billing/x"), headers=sent)
        [received] = apis.calls
        assert received.headers["Referer"] == "https://page.example/"
        names = {name.lower() for name in received.headers}
        assert "sec-ch-ua-mobile" in names
        assert not names & {"sec-ch-ua", "via", "cookie", "x-portal-csrf"}
        assert response.headers.get("Server") == "echo"
        assert "X-Powered-By" not in response.headers
        assert "Set-Cookie" not in response.headers


@pytest.mark.gen_test
async def test_a_path_rule_is_for_the_api_that_it_names(world: World) -> None:
    require = [{"claim": "roles", "contains": "admin"}]
    async with serving(world, names=("billing",)) as (apis, browser):
        entry = {"base_url": f"{apis.url}/billing", "audience": audience("billing")}
        rules = {"paths": [{"api": "billing", "path": "/refunds", "require": require}]}
        use_apis(world, {"billing": entry}, access=rules)
        other = world.browser()
        world.acme.automatic_user = "bob"
        await other.open(world.at("/t/acme/login"))
        statuses = {
            (who, path): (await one.fetch(world.at(f"/t/acme{path}"))).status
            for who, one in (("alice", browser), ("bob", other))
            for path in ("/apis/billing/refunds/1", "/apis/billing/x", "/api/refunds/1")
        }
        refused = [key for key, status in statuses.items() if status == 403]
        assert refused == [("bob", "/apis/billing/refunds/1")]
