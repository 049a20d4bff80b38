"""A login that another site begins (OIDC Core 4), on real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import yaml

from tests.kit.browser import Answer, Browser
from tests.kit.raw import stored
from tests.kit.world import World


async def tenants(world: World, browser: Browser) -> list[str]:
    info = json.loads((await browser.fetch(world.at("/session"))).body)
    return [tenant["slug"] for tenant in info["tenants"]]


@pytest.mark.gen_test
async def test_a_login_begun_elsewhere_by_get_goes_to_the_provider_and_ends_at_its_target(
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
    asked = next(one for one in world.acme.received if one.endpoint == "authorize")
    assert asked.parameters["login_hint"] == ["alice"]
    done = await world.fill_in(browser, page, "acme", "alice")
    assert done.url == world.at("/t/acme/?tab=claims")


@pytest.mark.gen_test
async def test_a_login_begun_elsewhere_by_post_keeps_the_session(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    stranger = Answer("https://elsewhere.example/", 200, browser.page.headers, b"", [])  # type: ignore[union-attr]
    fields = f'<input name="iss" value="{world.acme.issuer}"><input name="login_hint" value="alice">'
    stranger.body = (
        f'<form method="post" action="{world.at("/t/acme/initiate-login")}">{fields}</form>'.encode()
    )
    browser.page = stranger
    page = await browser.submit(stranger.forms[0])
    assert page.url.startswith(f"{world.acme.issuer}/sign-in/")
    await world.fill_in(browser, page, "acme", "alice")
    assert await tenants(world, browser) == ["acme", "globex"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.gen_test
async def test_a_login_begun_elsewhere_for_an_unknown_issuer_is_refused_with_clear_words(
    world: World, method: str
) -> None:
    browser = world.browser()
    other = world.globex.issuer
    cases = ["", "iss=", f"iss={other}", f"iss={world.acme.issuer}/", f"iss={world.acme.issuer}&iss={other}"]
    for case in cases:
        if method == "GET":
            answer = await browser.step(world.at(f"/t/acme/initiate-login?{case}"), site="cross-site")
        else:
            answer = await browser.step(world.at("/t/acme/initiate-login"), "POST", case, site="cross-site")
        assert answer.status == 400, case
        assert "Location" not in answer.headers
    assert (
        "does not sign in there"
        in (await browser.step(world.at(f"/t/acme/initiate-login?iss={other}"), site="cross-site")).text
    )
    assert stored(world)["attempts"] == []


@pytest.mark.gen_test
async def test_a_login_begun_elsewhere_chooses_among_several_providers_by_issuer(world: World) -> None:
    path = world.parts.tenants_folder / "acme.yaml"
    flat = yaml.safe_load(path.read_text())
    own = {key: flat.pop(key) for key in ("issuer", "client", "audience", "scopes")}
    other = {"issuer": world.globex.issuer, "client": dict(own["client"])}
    path.write_text(yaml.safe_dump({**flat, "providers": {"staff": own, "partners": other}}))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    for issuer in (world.acme.issuer, world.globex.issuer):
        begun = await world.browser().step(world.at(f"/t/acme/initiate-login?{urlencode({'iss': issuer})}"))
        assert begun.headers["Location"].startswith(f"{issuer}/authorize?")


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
async def test_L5_target_link_uri_is_checked_as_return_to_is(world: World, number: int) -> None:
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
