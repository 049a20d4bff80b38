"""Step-up: what the challenge of an API, and a link to the login, make the portal do (S4, L1, L6, T3, L5)."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal.web.return_to import safe_return_to
from tests.kit.raw import change_tenant, raw_api
from tests.kit.world import World

HOSTILE_VALUES = (
    "mfa&return_to=//evil.example",
    "mfa&prompt=none&scope=delete:orders",
    "mfa#/../logout",
    "mfa?provider=other",
    "%0d%0aSet-Cookie:x=1",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "//evil.example/",
    "'||1==1",
)


def challenge(value: str) -> bytes:
    return (
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer "
        f'error="insufficient_user_authentication", acr_values="{value}"\r\n\r\n'
    ).encode()


@pytest.mark.parametrize("value", HOSTILE_VALUES)
@pytest.mark.gen_test
async def test_S4_values_of_a_challenge_are_one_parameter_of_the_tenants_own_login(
    world: World, value: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with raw_api(challenge(value)) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await browser.fetch(world.at("/t/acme/api/x"))
    problem = json.loads(response.body)
    assert "<script" not in response.text or response.headers["Content-Type"] == "application/problem+json"
    url = urlsplit(problem["login_url"])
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("", "", "/t/acme/login", "")
    assert parse_qsl(url.query, strict_parsing=True) == [("acr_values", value), ("return_to", "/t/acme/")]
    begun = await browser.step(world.at(problem["login_url"]))
    assert begun.headers["Location"].startswith(f"{world.acme.issuer}/authorize?")
    sent = dict(parse_qsl(urlsplit(begun.headers["Location"]).query, strict_parsing=True))
    assert json.loads(sent["claims"])["id_token"]["acr"]["values"] == [value]
    assert "prompt" not in sent
    assert "delete:orders" not in sent["scope"]


@pytest.mark.gen_test
async def test_L1_another_site_can_ask_for_no_scope_that_the_tenant_file_does_not_have(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    before = await world.login_of(browser, "acme")
    for query in ("scope=admin", "scope=openid+offline_access+admin", "scope=%00", "acr_values=%00"):
        refused = await browser.step(world.at(f"/t/acme/login?{query}"), site="cross-site")
        assert refused.status == 400
    for destination in ("image", "iframe", "empty"):
        headers = {"Sec-Fetch-Dest": destination, "Accept": "text/html"}
        url = world.at("/t/acme/login?acr_values=mfa")
        assert (await browser.fetch(url, headers=headers, site="cross-site")).status == 403
    assert world.acme.requests["authorize"] == 1
    assert await world.login_of(browser, "acme") == before


@pytest.mark.gen_test
async def test_L6_a_step_up_replaces_the_secret_of_the_session(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    old = browser.cookie("localhost", "portal")
    world.acme.automatic_user, world.acme.automatic_acr = "alice", "mfa"
    await browser.open(world.at("/t/acme/login?acr_values=mfa"))
    assert browser.cookie("localhost", "portal") != old
    assert (await browser.fetch(world.at("/t/acme/api/secrets"))).status == 200
    browser.cookies["localhost"]["portal"] = str(old)
    assert (await browser.fetch(world.at("/t/acme/api/secrets"))).status == 401


@pytest.mark.gen_test
async def test_T3_the_step_up_of_one_tenant_does_not_raise_the_login_at_another(world: World) -> None:
    browser = world.browser()
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
    world.acme.automatic_user, world.acme.automatic_acr = "alice", "mfa"
    await browser.open(world.at("/t/acme/login?acr_values=mfa"))
    assert (await browser.fetch(world.at("/t/acme/api/secrets"))).status == 200
    refused = await browser.fetch(world.at("/t/globex/api/secrets"))
    assert refused.status == 401
    assert json.loads(refused.body)["login_url"].startswith("/t/globex/login?acr_values=mfa&")


def test_L5_a_step_up_is_no_page_to_return_to() -> None:
    for path in ("/t/acme/login?acr_values=mfa", "/t/acme/login?scope=a&return_to=/t/acme/login"):
        assert safe_return_to(path, "acme") == "/t/acme/"


@pytest.mark.gen_test
async def test_L1_a_link_cannot_ask_for_less_than_the_registration_does(world: World) -> None:
    change_tenant(world, "acme", acr_values=["mfa", "gold"])
    refused = await world.browser().step(world.at("/t/acme/login?acr_values=pwd"), site="cross-site")
    assert refused.status == 400
    begun = await world.browser().step(world.at("/t/acme/login?acr_values=gold"), site="cross-site")
    assert begun.status == 303
