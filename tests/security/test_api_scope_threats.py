"""THREATS T10: an API of a tenant gets neither the permissions nor the audience of another."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from portal.demo.compact import JsonObject
from tests.kit.browser import Browser, Response
from tests.kit.several_apis import (
    RecordingApis,
    allow_audiences,
    audience,
    recording_apis,
    scopes_of,
    use_apis,
)
from tests.kit.world import World

OWN_TOKENS = ["exchange", "refresh", "login"]
DEFAULT_API = "https://api.acme.example"
"""`audience` of the default API."""


@asynccontextmanager
async def two_apis(world: World, **options: Any) -> AsyncIterator[tuple[RecordingApis, Browser]]:
    """The APIs billing and stock with `read:orders`. Parameters: options, of both in the tenant file."""
    allow_audiences(world.acme, "billing", "stock")
    async with recording_apis() as apis:
        entries = {
            name: {"base_url": f"{apis.url}/{name}", "audience": audience(name), "scopes": ["read:orders"]}
            | options
            for name in ("billing", "stock")
        }
        use_apis(world, {name: _stated(entry) for name, entry in entries.items()})
        browser = world.browser()
        await world.sign_in(browser, "acme")
        world.acme.automatic_user = "alice"
        yield apis, browser


async def call_api(world: World, browser: Browser, name: str) -> Response:
    """Call an API, after the login for it if it needs one."""
    response = await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))
    problem = json.loads(response.body)
    if problem.get("code") != "api_login_required":
        return response
    page = await browser.open(world.at(problem["login_url"]))
    return page if page.status >= 400 else await browser.fetch(world.at(f"/t/acme/apis/{name}/x"))


@pytest.mark.parametrize("token", OWN_TOKENS)
@pytest.mark.gen_test(timeout=30)
async def test_T10_an_api_cannot_ask_for_a_scope_of_the_default_api(world: World, token: str) -> None:
    """`delete:orders` is in step_up_scopes of the provider, and in nothing of this API."""
    async with two_apis(world, token=token) as (apis, browser):
        apis.needs["billing"] = "delete:orders"
        problem = json.loads((await call_api(world, browser, "billing")).body)
        assert (problem["code"], "login_url" in problem) == ("step_up_failed", False)
        assert "step_up_scopes" in problem["detail"]
        requests = world.acme.requests["authorize"]
        link = world.at("/t/acme/login?scope=delete:orders&scope_api=billing")
        refused = await browser.step(link, site="cross-site")
        assert refused.status == 400
        assert "The portal may not ask for this permission" in refused.text
        assert world.acme.requests["authorize"] == requests
        # a step-up for the default API is possible, and gives this API nothing
        await browser.open(world.at("/t/acme/login?scope=delete:orders"))
        await call_api(world, browser, "billing")
        assert {scope for call in apis.calls for scope in scopes_of(call.token)} - {"openid"} == {
            "read:orders"
        }


@pytest.mark.parametrize("other", [DEFAULT_API, audience("stock")])
@pytest.mark.parametrize("token", OWN_TOKENS)
@pytest.mark.gen_test(timeout=30)
async def test_T10_a_token_that_another_api_accepts_as_well_reaches_no_api(
    world: World, token: str, other: str
) -> None:
    """As when a scope has an audience mapper in Keycloak."""

    def add_audience(claims: JsonObject) -> None:
        if claims["aud"] == audience("billing"):
            claims["aud"] = [audience("billing"), other, "account"]

    async with two_apis(world, token=token) as (apis, browser):
        world.acme.faults.mutate_access_token = add_audience
        refused = await call_api(world, browser, "billing")
        assert refused.status == 502
        assert "The sign-in service gave access to another API" in refused.text
        assert not apis.calls
        assert (await call_api(world, browser, "stock")).status == 200
        login = await world.login_of(browser, "acme")
        assert login is not None
        assert len(world.running.tokens.open(login).api_tokens) == 1


@pytest.mark.gen_test(timeout=30)
async def test_T10_a_client_token_that_another_api_accepts_as_well_reaches_no_api(world: World) -> None:
    world.acme.faults.mutate_access_token = lambda claims: claims.update(aud=[claims["aud"], DEFAULT_API])
    async with two_apis(world, access="client") as (apis, browser):
        assert (await call_api(world, browser, "billing")).status == 502
        assert not apis.calls


@pytest.mark.parametrize("token", ["refresh", "login"])
@pytest.mark.gen_test(timeout=30)
async def test_T10_a_scope_for_one_of_two_apis_that_differ_in_their_names_only_is_not_for_the_other(
    world: World, token: str
) -> None:
    """They state no audience, and the same scopes."""
    options = {"audience": None, "token": token, "step_up_scopes": ["delete:orders"]}
    async with two_apis(world, **options) as (apis, browser):
        await browser.open(world.at("/t/acme/login?scope=delete:orders&scope_api=billing"))
        for name in ("billing", "stock"):
            assert (await call_api(world, browser, name)).status == 200
        granted, other = (scopes_of(apis.of(name)[-1].token) for name in ("billing", "stock"))
        assert "delete:orders" in granted
        assert "delete:orders" not in other


def _stated(entry: dict[str, Any]) -> dict[str, Any]:
    """The keys that have a value, copied: YAML would write a shared list as an alias."""
    return {key: copy.deepcopy(value) for key, value in entry.items() if value is not None}
