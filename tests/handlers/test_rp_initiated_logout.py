"""Sign-out in the portal, then at the provider (OpenID Connect RP-Initiated Logout 1.0)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.errors import OutboundRefused
from portal.outbound.url_rules import check_url
from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import stored, until
from tests.kit.world import World, world


async def sign_out(world: World, browser: Browser, path: str = "/t/acme/logout") -> Response:
    """Post the portal's sign-out form. Follows no redirect."""
    response = await browser.step(world.at(path), "POST", "", site="same-origin")
    assert response.status == 303
    return response


@pytest.mark.gen_test
async def test_the_logout_request_has_hint_client_redirect_uri_and_state(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    hint = world.running.tokens.open(login).id_token
    assert hint is not None
    response = await sign_out(world, browser)
    address = urlsplit(response.headers["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{world.acme.issuer}/logout"
    sent = parse_qs(address.query)
    assert set(sent) == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
    assert sent["id_token_hint"] == [hint.reveal()]
    assert sent["client_id"] == ["portal-at-acme"]
    assert sent["post_logout_redirect_uri"] == [world.at("/t/acme/signed-out")]
    assert len(sent["state"][0]) >= 43, "256 bits"


@pytest.mark.gen_test
async def test_the_login_is_deleted_before_the_provider_is_called(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    hold = asyncio.Event()
    world.acme.faults.endpoints["revocation"] = EndpointFault(hold=hold)
    leaving = asyncio.ensure_future(sign_out(world, browser))
    await until(lambda: world.acme.requests["revocation"], "nothing was revoked")
    assert stored(world)["logins"] == []
    assert world.acme.requests["end_session"] == 0
    hold.set()
    await leaving


@pytest.mark.gen_test
async def test_the_refresh_token_is_revoked(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    token = world.running.tokens.open(login).refresh_token
    assert token is not None
    await sign_out(world, browser)
    (request,) = [one for one in world.acme.received if one.endpoint == "revocation"]
    assert request.parameters["token"] == [token.reveal()]
    assert request.parameters["token_type_hint"] == ["refresh_token"]
    known = world.acme.state.refresh_token(token.reveal())
    assert known is not None
    assert known.grant.revoked


@pytest.mark.gen_test
async def test_the_browser_returns_with_its_state_to_the_signed_out_page(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    home = await browser.open(world.at("/t/acme/"))
    left = await browser.submit(home.form("/t/acme/logout"))
    assert left.url == world.at("/t/acme/signed-out")
    assert any("state=" in step for step in left.trail if "/signed-out" in step)
    assert stored(world)["logouts"] == []
    assert world.acme.requests["end_session"] == 1


@pytest.mark.parametrize("state", ["", "unknown", "x" * 5000, "%00", "%ff", "a&state=b"])
@pytest.mark.gen_test
async def test_an_unknown_state_changes_nothing(world: World, state: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await sign_out(world, browser, "/t/globex/logout")
    steps = stored(world)["logouts"]
    response = await browser.step(world.at(f"/t/globex/signed-out?state={state}"))
    assert response.status in {200, 303, 400}
    assert stored(world)["logouts"] == steps
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.gen_test
async def test_a_state_of_another_browser_does_not_continue_its_logout(world: World) -> None:
    browser, thief = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    first = await sign_out(world, browser, "/logout")
    (state,) = parse_qs(urlsplit(first.headers["Location"]).query)["state"]
    back = f"/t/acme/signed-out?state={state}"
    stolen = await thief.step(world.at(back))
    assert world.globex.issuer not in stolen.headers.get("Location", "")
    onward = await browser.step(world.at(back), site="cross-site")
    assert onward.headers["Location"].startswith(f"{world.globex.issuer}/logout?")


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.gen_test
async def test_form_action_covers_every_url_that_a_provider_may_have(tmp_path: Path, private: bool) -> None:
    """Chromium applies `form-action` to redirects after a form; a scheme-source covers all hosts."""
    hosts = (
        "id.example",
        "id.example:8443",
        "localhost:1",
        "keycloak.localhost:8080",
        "127.0.0.2",
        "[::1]:8080",
    )
    async with world(tmp_path, allow_private_networks=private) as made:
        policy = (await made.browser().open(made.at("/"))).headers["Content-Security-Policy"]
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    sources = directives["form-action"].split()
    assert "'self'" in sources
    for scheme in ("https", "http"):
        for host in hosts:
            with contextlib.suppress(OutboundRefused):
                check_url(f"{scheme}://{host}/logout", allow_private_networks=private)
                assert f"{scheme}:" in sources, host
    assert ("http:" in sources) is private
