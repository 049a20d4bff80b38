"""A login that another site initiates (OIDC Core 4), on real sockets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.raw import add_second_provider, stored
from tests.kit.world import World


async def tenants(world: World, browser: Browser) -> list[str]:
    info = json.loads((await browser.fetch(world.at("/session"))).body)
    return [tenant["slug"] for tenant in info["tenants"]]


@pytest.mark.gen_test
async def test_a_login_initiated_by_get_goes_to_the_provider_and_ends_at_its_target(
    world: World,
) -> None:
    browser = world.browser()
    given = {
        "iss": world.acme.issuer,
        "login_hint": "alice",
        "target_link_uri": world.at("/t/acme/?tab=claims"),
    }
    page = await browser.open(world.at(f"/t/acme/initiate-login?{urlencode(given)}"))
    assert page.url.startswith(f"{world.acme.issuer}/sign-in/")
    requested = next(one for one in world.acme.received if one.endpoint == "authorize")
    assert requested.parameters["login_hint"] == ["alice"]
    done = await world.fill_in(browser, page, "acme", "alice")
    assert done.url == world.at("/t/acme/?tab=claims")


@pytest.mark.gen_test
async def test_a_login_initiated_by_post_keeps_the_session(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    other_site = Response("https://elsewhere.example/", 200, browser.page.headers, b"", [])  # type: ignore[union-attr]
    fields = f'<input name="iss" value="{world.acme.issuer}"><input name="login_hint" value="alice">'
    other_site.body = (
        f'<form method="post" action="{world.at("/t/acme/initiate-login")}">{fields}</form>'.encode()
    )
    browser.page = other_site
    page = await browser.submit(other_site.forms[0])
    assert page.url.startswith(f"{world.acme.issuer}/sign-in/")
    await world.fill_in(browser, page, "acme", "alice")
    assert await tenants(world, browser) == ["acme", "globex"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.gen_test
async def test_an_initiated_login_without_an_issuer_of_the_tenant_is_refused_with_a_clear_message(
    world: World, method: str, log_lines: io.StringIO
) -> None:
    browser = world.browser()
    own, other = world.acme.issuer, world.globex.issuer
    incomplete, elsewhere = (
        "This sign-in link is incomplete",
        "This organisation does not use that sign-in service",
    )
    for case, title in (
        ("", incomplete),
        ("iss=", incomplete),
        (f"iss={own}&iss={other}", incomplete),
        (f"iss={own}&iss={own}", incomplete),
        (f"iss={other}", elsewhere),
        (f"iss={own}/", elsewhere),
    ):
        if method == "GET":
            response = await browser.step(world.at(f"/t/acme/initiate-login?{case}"), site="cross-site")
        else:
            response = await browser.step(world.at("/t/acme/initiate-login"), "POST", case, site="cross-site")
        assert response.status == 400, case
        assert "Location" not in response.headers
        assert f'<h1 dir="auto">{title}</h1>' in response.text, case
        assert '<a class="button" href="/t/acme/">Sign in from the organisation’s page</a>' in response.text
    assert stored(world)["attempts"] == []
    details = [
        line["detail"] for line in map(json.loads, log_lines.getvalue().splitlines()) if "rule" in line
    ]
    assert details[0] == f"iss is missing, empty, repeated or not UTF-8; expected exactly: {own}"
    assert details[-2:] == [
        f"iss is '{received}'; expected exactly: {own}" for received in (other, f"{own}/")
    ]


@pytest.mark.gen_test
async def test_a_hostile_issuer_is_logged_as_short_plain_text(world: World, log_lines: io.StringIO) -> None:
    query = urlencode({"iss": "https://evil.example/\r\n\u202e" + "x" * 5000})
    response = await world.browser().step(world.at(f"/t/acme/initiate-login?{query}"), site="cross-site")
    assert "does not use that sign-in service" in response.text
    (line,) = (one for one in log_lines.getvalue().splitlines() if "issuer_unknown" in one)
    assert len(json.loads(line)["detail"]) < 400
    assert "\u202e" not in json.loads(line)["detail"]


@pytest.mark.gen_test
async def test_an_initiated_login_selects_the_provider_by_issuer(world: World) -> None:
    add_second_provider(world)
    for issuer in (world.acme.issuer, world.globex.issuer):
        redirect = await world.browser().step(
            world.at(f"/t/acme/initiate-login?{urlencode({'iss': issuer})}")
        )
        assert redirect.headers["Location"].startswith(f"{issuer}/authorize?")


HOSTILE_TARGETS: list[Callable[[World], str]] = [
    lambda world: "https://evil.example/",
    lambda world: "//evil.example/",
    lambda world: f"{world.url}.evil.example/t/acme/",
    lambda world: f"{world.url}@evil.example/",
    lambda world: f"{world.url}//evil.example/",
    lambda world: f"{world.url}/\\evil.example/",
    lambda world: f"{world.url}/t/globex/",
    lambda world: f"{world.url}/t/acme/logout",
    lambda world: f"{world.url}/t/acme/initiate-login?iss=x",
    lambda world: world.url.replace("localhost", "127.0.0.1") + "/account",
    lambda world: world.url.upper() + "/account",
    lambda world: world.url,
    lambda world: "javascript:alert(1)",
    lambda world: f"{world.url}/account\r\nSet-Cookie: a=b",
]


@pytest.mark.parametrize("number", range(len(HOSTILE_TARGETS)))
@pytest.mark.gen_test
async def test_L5_target_link_uri_is_checked_like_return_to(world: World, number: int) -> None:
    browser = world.browser()
    target = HOSTILE_TARGETS[number](world)
    given = {"iss": world.acme.issuer, "target_link_uri": target}
    world.acme.automatic_user = "alice"
    for method in ("GET", "POST"):
        url = world.at("/t/acme/initiate-login")
        if method == "GET":
            done = await browser.open(f"{url}?{urlencode(given)}")
        else:
            step = await browser.step(url, "POST", urlencode(given), site="cross-site")
            done = await browser.open(world.at(step.headers["Location"]))
        assert done.url == world.at("/t/acme/"), method
