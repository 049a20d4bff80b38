"""Step-up: an API asks for another sign-in, the browser goes to the provider, the call succeeds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.raw import change_tenant, raw_api
from tests.kit.several_apis import (
    RecordingApis,
    allow_audiences,
    audience,
    recording_apis,
    scopes_of,
    use_apis,
)
from tests.kit.world import World

NO_TITLE = "The sign-in service did not do what the API asks for"


async def call(world: World, browser: Browser, path: str, method: str = "GET") -> Response:
    return await browser.fetch(world.at(f"/t/acme/api{path}"), method)


def problem_of(response: Response) -> dict[str, Any]:
    assert response.headers["X-Portal-Problem"] == "1"
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.body)
    assert problem["status"] == response.status
    return problem


async def confirm(world: World, browser: Browser, page: Response) -> Response:
    """Enter the code of the second factor, and allow what the provider asks."""
    if "second-factor" in page.url:
        page = await browser.submit(page.form("/second-factor/"))
    return await world.fill_in(browser, page, "acme", "alice")


async def step_up(world: World, browser: Browser, login_url: str) -> Response:
    return await confirm(world, browser, await browser.open(world.at(login_url)))


# --- the whole way


@pytest.mark.gen_test
async def test_an_api_that_needs_a_second_factor_gets_it(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    refused = await call(world, browser, "/secrets")
    assert refused.status == 401
    problem = problem_of(refused)
    assert problem["code"] == "step_up_required"
    assert problem["login_url"] == "/t/acme/login?acr_values=mfa&return_to=%2Ft%2Facme%2F"
    assert world.acme_api.calls["secrets"] == 1  # not repeated
    assert world.acme.requests["refresh"] == 0
    page = await step_up(world, browser, problem["login_url"])
    assert page.url == world.at("/t/acme/")
    assert world.acme.requests["sign_in"] == 0  # the provider knew the user
    accepted = await call(world, browser, "/secrets")
    assert (accepted.status, json.loads(accepted.body)["organisation"]) == (200, "Acme Corporation")
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.claims["acr"] == "mfa"


@pytest.mark.gen_test
async def test_an_api_that_needs_a_recent_sign_in_gets_it(world: World) -> None:
    browser = world.browser()
    world.acme.automatic_acr = "mfa"
    await world.quick_sign_in(browser, "acme")
    await step_up(world, browser, "/t/acme/login?acr_values=mfa")
    assert (await call(world, browser, "/secrets?max_age=120")).status == 200
    world.clock.advance(200)
    problem = problem_of(await call(world, browser, "/secrets?max_age=120"))
    assert "&max_age=120&" in problem["login_url"]
    page = await browser.open(world.at(problem["login_url"]))
    assert "sign-in" in page.url
    await confirm(world, browser, await world.fill_in(browser, page, "acme", "alice"))
    assert (await call(world, browser, "/secrets?max_age=120")).status == 200


@pytest.mark.gen_test
async def test_an_api_that_needs_a_scope_gets_it(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    refused = await call(world, browser, "/orders/A-1001", "DELETE")
    assert refused.status == 403
    problem = problem_of(refused)
    assert problem["code"] == "step_up_required"
    assert problem["login_url"] == "/t/acme/login?scope=delete%3Aorders&return_to=%2Ft%2Facme%2F"
    await step_up(world, browser, problem["login_url"])
    assert world.acme.requests["consent"] == 4  # each consent is a page and its form
    assert (await call(world, browser, "/orders/A-1001", "DELETE")).status == 204
    assert (await call(world, browser, "/orders/A-1001")).status == 404


@pytest.mark.parametrize("claims_supported", [True, False])
@pytest.mark.gen_test
async def test_the_provider_is_asked_in_the_way_that_it_supports(
    world: World, claims_supported: bool
) -> None:
    world.acme.faults.mutate_metadata = lambda metadata: metadata.update(
        claims_parameter_supported=claims_supported
    )
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await step_up(world, browser, "/t/acme/login?acr_values=mfa+gold")
    asked = [one.parameters for one in world.acme.received if one.endpoint == "authorize"][-1]
    if claims_supported:
        acr = {"essential": True, "values": ["mfa", "gold"]}
        assert json.loads(asked["claims"][0]) == {"id_token": {"acr": acr}}
        assert "acr_values" not in asked
    else:
        assert asked["acr_values"] == ["mfa gold"]
        assert "claims" not in asked
    assert (await call(world, browser, "/secrets")).status == 200


@pytest.mark.gen_test
async def test_a_silent_step_up_becomes_an_interactive_one(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await step_up(world, browser, "/t/acme/login?acr_values=mfa&prompt=none&max_age=3600")
    assert page.url == world.at("/t/acme/")
    asked = [one.parameters for one in world.acme.received if one.endpoint == "authorize"]
    assert [one.get("prompt", [""])[0] for one in asked[-2:]] == ["none", ""]
    assert asked[-1]["claims"] == asked[-2]["claims"]
    assert asked[-1]["max_age"] == asked[-2]["max_age"] == ["3600"]
    assert (await call(world, browser, "/secrets")).status == 200


@pytest.mark.gen_test
async def test_the_explorer_without_scripts_leads_to_the_step_up_and_back(world: World) -> None:
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    explorer = next(form for form in page.forms if "body" in dict(form.fields))
    page = await browser.submit(explorer, {"method": "GET", "path": "/secrets", "body": ""})
    assert "This call needs another sign-in" in page.text
    (link,) = {one for one in page.links if "acr_values=mfa" in one}
    page = await confirm(world, browser, await browser.click(link))
    assert page.url == world.at("/t/acme/developer")


# --- providers that do not do it


def with_acr(acr: str | None) -> Callable[[World], None]:
    def change(claims: dict[str, object]) -> None:
        claims.pop("acr", None)
        if acr is not None:
            claims["acr"] = acr

    return lambda world: setattr(world.acme.faults, "mutate_id_token", lambda _, claims: change(claims))


def _without(name: str) -> Callable[[dict[str, object], dict[str, object]], None]:
    def change(header: dict[str, object], claims: dict[str, object]) -> None:
        del claims[name]

    return change


def _unstated(document: dict[str, object]) -> None:
    del document["scope"]


def with_auth_time(world: World) -> None:
    old = int(world.clock()) - 1_000
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(auth_time=old)


def without_auth_time(world: World) -> None:
    world.acme.faults.mutate_id_token = _without("auth_time")


def without_scope(world: World) -> None:
    world.acme.faults.mutate_token_response = lambda document: document.update(scope="openid read:orders")


@pytest.mark.parametrize(
    ("query", "fault", "advice"),
    [
        ("acr_values=mfa", with_acr(None), "second factor"),
        ("acr_values=mfa", with_acr("pwd"), "second factor"),
        ("max_age=60", with_auth_time, "does not follow max_age"),
        ("max_age=60", without_auth_time, "does not follow max_age"),
        ("scope=delete:orders", without_scope, "additional permission"),
    ],
)
@pytest.mark.gen_test
async def test_a_provider_that_ignores_the_step_up_is_named_and_the_login_stays(
    world: World, query: str, fault: Callable[[World], None], advice: str
) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    before = await world.login_of(browser, "acme")
    fault(world)
    page = await step_up(world, browser, f"/t/acme/login?{query}")
    assert page.status == 403
    assert NO_TITLE in page.text
    assert advice in page.text
    assert "Continue as before" in page.text
    assert "/t/acme/" in page.links
    world.acme.faults.clear()
    assert await world.login_of(browser, "acme") == before
    assert (await call(world, browser, "/orders")).status == 200


@pytest.mark.gen_test
async def test_a_scope_that_is_not_stated_counts_as_granted(world: World) -> None:
    """RFC 6749 5.1: `scope` is optional if it is identical to the requested one."""
    browser = world.browser()
    await world.sign_in(browser, "acme")
    world.acme.faults.mutate_token_response = _unstated
    await step_up(world, browser, "/t/acme/login?scope=delete:orders")
    assert (await call(world, browser, "/orders/A-1002", "DELETE")).status == 204


@pytest.mark.gen_test
async def test_a_user_who_does_not_allow_the_scope_stays_signed_in(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    page = await browser.open(world.at("/t/acme/login?scope=delete:orders"))
    consent = page.form("/consent/")
    kept = [pair for pair in consent.fields if pair != ("scope", "delete:orders")]
    consent.fields[:] = kept
    page = await browser.submit(consent, button="allow")
    assert "did not grant it" in page.text
    assert (await call(world, browser, "/orders")).status == 200


# --- no loops


ALWAYS = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nWWW-Authenticate: Bearer "
    b'error="insufficient_user_authentication", acr_values="mfa", max_age="0"\r\n\r\n{}'
)


@pytest.mark.gen_test
async def test_an_api_that_is_never_satisfied_is_named_and_no_login_is_offered(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with raw_api(ALWAYS) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        first = problem_of(await call(world, browser, "/x"))
        assert first["code"] == "step_up_required"
        page = await browser.open(world.at(first["login_url"]))
        await confirm(world, browser, await world.fill_in(browser, page, "acme", "alice"))
        again = await call(world, browser, "/x")
        assert again.status == 401
        second = problem_of(again)
        assert second["code"] == "step_up_failed"
        assert "login_url" not in second
        assert "will not help" in second["detail"]


@pytest.mark.gen_test
async def test_a_scope_that_the_tenant_does_not_allow_is_not_offered(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    change_tenant(world, "acme", step_up_scopes=["delete:customers"])
    problem = problem_of(await call(world, browser, "/orders/A-1001", "DELETE"))
    assert problem["code"] == "step_up_failed"
    assert "login_url" not in problem
    assert "step_up_scopes" in problem["detail"]


# --- another account


@pytest.mark.gen_test
async def test_a_step_up_by_another_user_says_that_the_account_has_changed(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme.automatic_user, world.acme.automatic_acr = "bob", "mfa"
    page = await browser.open(world.at("/t/acme/login?acr_values=mfa&return_to=/t/acme/developer"))
    assert "You have changed your account" in page.text
    assert "Bob Baker" in page.text
    assert "Alice Archer" in page.text
    assert "/t/acme/developer" in page.links
    again = next(link for link in page.links if "prompt=select_account" in link)
    assert parse_qs(urlsplit(again).query)["return_to"] == ["/t/acme/developer"]
    session = json.loads((await browser.fetch(world.at("/session"))).body)
    assert [one["user"] for one in session["tenants"]] == ["Bob Baker"]


@pytest.mark.gen_test
async def test_a_step_up_without_a_current_login_is_a_sign_in(world: World) -> None:
    browser = world.browser()
    world.acme.automatic_user, world.acme.automatic_acr = "bob", "mfa"
    page = await browser.open(world.at("/t/acme/login?acr_values=mfa"))
    assert page.url == world.at("/t/acme/")


# --- challenges that are none, and bodies that cannot be repeated


@pytest.mark.gen_test
async def test_a_malformed_challenge_is_passed_on_after_one_repetition(world: World) -> None:
    body = ALWAYS.replace(b'"mfa"', b'"m f"a"')
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with raw_api(body) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await call(world, browser, "/x")
    assert (response.status, response.body) == (401, b"{}")
    assert "X-Portal-Problem" not in response.headers
    assert world.acme.requests["refresh"] == 1


@pytest.mark.gen_test
async def test_a_long_upload_gets_the_same_problem(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with raw_api(ALWAYS) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await browser.fetch(world.at("/t/acme/api/x"), "POST", body="x" * 200_000)
    assert problem_of(response)["code"] == "step_up_required"


# --- links


@pytest.mark.parametrize(
    "query",
    [
        *(
            "acr_values=",
            "acr_values=a++b",
            "acr_values=a%0ab",
            "acr_values=%22",
            "acr_values=a&acr_values=b",
        ),
        *("max_age=", "max_age=-1", "max_age=1.5", "max_age=9999999999", "max_age=1&max_age=2"),
        *("scope=", "scope=a%5c", "scope=openid&scope=openid", f"scope={'a' * 1_001}", "acr_values=%ff"),
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_step_up_link_is_refused(world: World, query: str) -> None:
    response = await world.browser().step(world.at(f"/t/acme/login?{query}"))
    assert response.status == 400
    assert "malformed" in response.text
    assert world.acme.requests["authorize"] == 0


@pytest.mark.gen_test
async def test_only_the_scopes_of_the_tenant_file_can_be_asked_for(world: World) -> None:
    browser = world.browser()
    for scope in ("admin", "delete:orders admin", "Delete:orders"):
        response = await browser.step(world.at(f"/t/acme/login?scope={scope.replace(' ', '+')}"))
        assert response.status == 400
        assert "The portal may not ask for this permission" in response.text
    for scope in ("delete:orders", "read:orders", "openid"):
        assert (await browser.step(world.at(f"/t/acme/login?scope={scope}"))).status == 303


# --- APIs that get access tokens of their own


FORMS: dict[str, dict[str, Any]] = {
    "refresh": {"key": "audience", "token": "refresh"},
    "refresh with resource": {"key": "resource", "token": "refresh"},
    "exchange": {"key": "audience", "token": "exchange"},
    "login": {"key": "audience", "token": "login"},
}


@asynccontextmanager
async def narrow_apis(
    world: World, *, key: str = "audience", token: str = "exchange", base_url: str | None = None
) -> AsyncIterator[tuple[RecordingApis, Browser]]:
    """Two APIs that get only `read:orders`; one of them needs `delete:orders`."""
    names = ("billing", "stock")
    allow_audiences(world.acme, *names)
    async with recording_apis() as apis:
        entries = {
            name: {
                "base_url": base_url or f"{apis.url}/{name}",
                key: audience(name),
                "scopes": ["read:orders"],
                "token": token,
                "step_up_scopes": ["delete:orders"] if name == "billing" else [],
            }
            for name in names
        }
        use_apis(world, entries)
        apis.needs["billing"] = "delete:orders"
        browser = world.browser()
        await world.sign_in(browser, "acme")
        yield apis, browser


async def call_api(world: World, browser: Browser, name: str) -> Response:
    """Call an API, after the login for it if it needs one."""
    response = await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))
    problem = json.loads(response.body)
    if problem.get("code") != "api_login_required":
        return response
    await world.fill_in(browser, await browser.open(world.at(problem["login_url"])), "acme", "alice")
    return await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.gen_test(timeout=30)
async def test_a_scope_reaches_the_access_token_of_the_api_that_needs_it_and_no_other(
    world: World, form: str
) -> None:
    async with narrow_apis(world, **FORMS[form]) as (apis, browser):
        assert (await call_api(world, browser, "stock")).status == 200
        problem = problem_of(await call_api(world, browser, "billing"))
        assert problem["code"] == "step_up_required"
        assert problem["login_url"].startswith("/t/acme/login?scope=delete%3Aorders&scope_api=billing&")
        assert "delete:orders" not in scopes_of(apis.of("billing")[-1].token)
        await step_up(world, browser, problem["login_url"])
        assert (await call_api(world, browser, "billing")).status == 200
        assert (await call_api(world, browser, "stock")).status == 200
        granted, other = (scopes_of(apis.of(name)[-1].token) for name in ("billing", "stock"))
        assert {"read:orders", "delete:orders"} <= set(granted)
        assert "delete:orders" not in other
        # the scope stays when the tokens are renewed
        requests = world.acme.requests["token"]
        await world.expire_access_token(browser, "acme")
        assert (await call(world, browser, "/orders")).status == 200
        if FORMS[form]["token"] != "login":
            world.clock.advance(301)
            assert (await call_api(world, browser, "billing")).status == 200
        assert world.acme.requests["token"] > requests


@pytest.mark.parametrize("form", ["refresh", "exchange"])
@pytest.mark.gen_test(timeout=30)
async def test_an_api_that_is_not_satisfied_by_the_scope_is_named_and_no_login_is_offered(
    world: World, form: str
) -> None:
    refusal = (
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nWWW-Authenticate: Bearer "
        b'error="insufficient_scope", scope="delete:orders"\r\n\r\n{}'
    )
    async with (
        raw_api(refusal) as api,
        narrow_apis(world, **FORMS[form], base_url=api.url) as (_, browser),
    ):
        problem = problem_of(await call_api(world, browser, "billing"))
        assert problem["code"] == "step_up_required"
        await step_up(world, browser, problem["login_url"])
        problem = problem_of(await call_api(world, browser, "billing"))
        assert (problem["code"], "login_url" in problem) == ("step_up_failed", False)


@pytest.mark.gen_test
async def test_a_link_for_an_api_that_the_tenant_does_not_have_is_refused(world: World) -> None:
    async with narrow_apis(world) as (_, browser):
        for query in ("scope_api=unknown", "scope_api=billing&scope_api=stock"):
            page = await browser.step(world.at(f"/t/acme/login?scope=delete:orders&{query}"))
            assert page.status == 400
        shared = await browser.step(world.at("/t/acme/login?scope=delete:orders&scope_api="))
        assert shared.status == 303


@pytest.mark.gen_test
async def test_an_api_that_asks_for_an_acr_that_the_tenant_does_not_list_is_named(world: World) -> None:
    browser = world.browser()
    world.acme.automatic_acr = "gold"
    change_tenant(world, "acme", acr_values=["gold"])
    await world.quick_sign_in(browser, "acme")
    refused = await call(world, browser, "/secrets")
    assert refused.status == 401
    problem = problem_of(refused)
    assert (problem["code"], "login_url" in problem) == ("step_up_failed", False)
    assert problem["title"] == "The portal may not ask for this kind of sign-in"
    assert "add it to acr_values" in problem["detail"]
    change_tenant(world, "acme", acr_values=["gold", "mfa"])
    offered = problem_of(await call(world, browser, "/secrets"))
    assert offered["login_url"].startswith("/t/acme/login?acr_values=mfa&")
