"""The portal with the PyPI package `idpyoidc`, a certified library of Identity Python.

Its session ids have 304 characters, it requires the token endpoint as the audience of assertions, it refuses
offline access without `prompt=consent`, and responds to an invalid refresh token with `invalid_request`.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.ioloop import IOLoop

from portal.demo.compact import read
from portal.oidc.provider import TokenSet
from portal.sessions.refusals import RETRY_SECONDS
from tests.integration.capabilities import documented_as_not_offered, offered
from tests.integration.child import Child
from tests.integration.conftest import shared_world
from tests.integration.shared_provider import (
    Registration,
    SharedProvider,
    SharedProviderWorld,
    issuer_of,
    start_program,
)

NAME = "idpyoidc"
SCOPES = ("openid", "profile", "email")
BASIC = {"auth": "client_secret_basic"}
OFFLINE = {
    "scopes": [*SCOPES, "offline_access"],
    "authorize_params": {"prompt": "consent"},
    "userinfo": True,  # ID tokens have neither name nor e-mail address
}
FOR_THE_TOKEN_ENDPOINT = {"assertion_audience": "token_endpoint"}
AUTHENTICATION = {
    "client_secret_basic": BASIC,
    "client_secret_post": {"auth": "client_secret_post"},
    "client_secret_jwt": {"auth": "client_secret_jwt", **FOR_THE_TOKEN_ENDPOINT},
    "private_key_jwt": {"auth": "private_key_jwt", "signing_alg": "ES256", **FOR_THE_TOKEN_ENDPOINT},
}

shows = pytest.mark.shows
with_refresh = pytest.mark.parametrize(
    "world", [Registration(BASIC, OFFLINE)], indirect=True, ids=["offline access"]
)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The provider, shared by the tests of this file."""
    child = start_program("idpyoidc_provider", tmp_path_factory.mktemp("idpyoidc"), dpop=False)
    try:
        yield child
    finally:
        child.end()
        print(child.errors)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, child: Child, io_loop: IOLoop, tmp_path: Path
) -> Iterator[SharedProviderWorld]:
    """A portal with the registration in the parameter."""
    yield from shared_world(io_loop, _provider(io_loop, child), tmp_path, request.param)


@pytest.fixture
def world_with_dpop(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[SharedProviderWorld]:
    """A portal with DPoP-bound tokens, which the provider requires for all clients."""
    child = start_program("idpyoidc_provider", tmp_path, dpop=True)
    try:
        registration = Registration(BASIC, {"dpop": True})
        yield from shared_world(io_loop, _provider(io_loop, child), tmp_path, registration)
    finally:
        child.end()
        print(child.errors)


def _provider(io_loop: IOLoop, child: Child) -> SharedProvider:
    issuer = io_loop.run_sync(lambda: issuer_of(child), timeout=60)
    return SharedProvider(issuer, "/userinfo", SCOPES, "logout")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            Registration(client, OFFLINE),
            id=method,
            marks=shows(NAME, method, "login", "refresh with rotation", "RP logout"),
        )
        for method, client in AUTHENTICATION.items()
    ],
    indirect=True,
)
async def test_login_api_call_refresh_and_logout_with(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    home = await world.sign_in(browser)
    for known in ("Ada <Lovelace>", "ada@acme.example"):
        assert known in html.unescape(home.text)
    token_sets = [await world.portal.tokens_of(browser, "acme")]
    for _ in range(2):
        token_sets.append(await world.renew(browser))
    assert len({tokens.refresh_token for tokens in token_sets}) == 3
    await world.sign_out(browser)
    assert (await world.call(browser)).status == 401


@pytest.mark.gen_test
@shows(NAME, "algorithms")
@pytest.mark.parametrize(
    "world",
    [
        pytest.param(Registration(BASIC, {**OFFLINE, "id_token_algs": [alg]}), id=alg)
        for alg in ("RS256", "ES256")
    ],
    indirect=True,
)
async def test_id_tokens_are_signed_as_registered(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    await world.renew(browser)


@pytest.mark.gen_test
@with_refresh
async def test_a_session_id_may_be_long(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    tokens = await world.portal.tokens_of(browser, "acme")
    assert tokens.id_token is not None
    assert len(str(read(tokens.id_token.reveal())[1]["sid"])) > 255


@pytest.mark.gen_test
@shows(NAME, "refresh after a key change")
@pytest.mark.parametrize("keep", [True, False], ids=["the old keys stay published", "the old keys are gone"])
@with_refresh
async def test_logins_and_refreshes_work_after_a_key_change(world: SharedProviderWorld, keep: bool) -> None:
    before, after = world.portal.browser(), world.portal.browser()
    await world.sign_in(before)
    first = await world.portal.tokens_of(before, "acme")
    await world.provider.change_keys(keep=keep)
    renewed = await world.renew(before)
    await world.sign_in(after, 1)
    assert _key_id(renewed) == _key_id(await world.portal.tokens_of(after, "acme"))
    assert _key_id(renewed) != _key_id(first)
    assert await world.portal.signed_in_at(before) == ["acme"]


@pytest.mark.gen_test
@with_refresh
async def test_a_reused_refresh_token_ends_the_login(world: SharedProviderWorld) -> None:
    # RFC 6749 5.2 requires invalid_grant; this provider responds with invalid_request.
    browser = world.portal.browser()
    await world.sign_in(browser)
    spent = await world.portal.tokens_of(browser, "acme")
    await world.renew(browser)
    await world.portal.replace_tokens(browser, "acme", replace(spent, expires_at=world.portal.clock() - 1))
    ended = await world.call(browser)
    if ended.status != 401:
        world.portal.clock.advance(RETRY_SECONDS)
        ended = await world.call(browser)
    assert ended.status == 401, ended.text
    problem = json.loads(ended.body)
    assert problem["code"] == "login_ended"
    assert problem["login_url"].startswith("/t/acme/login")
    assert await world.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@shows(NAME, "form_post")
@pytest.mark.parametrize(
    "world",
    [Registration(BASIC, {**OFFLINE, "response_mode": "form_post"})],
    indirect=True,
    ids=["offline access"],
)
async def test_a_response_is_posted_as_a_form(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    home = await world.sign_in(browser)
    assert world.portal.at("/t/acme/callback") in home.trail
    await world.renew(browser)


@pytest.mark.gen_test
@shows(NAME, "PAR")
@pytest.mark.parametrize(
    "world", [Registration(BASIC, {**OFFLINE, "par": True})], indirect=True, ids=["offline access"]
)
async def test_the_provider_requires_the_parameters_of_a_pushed_request_again(
    world: SharedProviderWorld,
) -> None:
    # RFC 9126 4 and RFC 9101 5 require only client_id and request_uri.
    page = await world.portal.begin(world.portal.browser(), "acme")
    assert urlsplit(page.url).path == "/authorization"
    assert sorted(parse_qs(urlsplit(page.url).query)) == ["client_id", "request_uri"]
    assert "Missing required attribute 'response_type'" in page.text


@pytest.mark.gen_test
@shows(NAME, "DPoP")
async def test_tokens_are_bound_and_userinfo_refuses_them(world_with_dpop: SharedProviderWorld) -> None:
    # RFC 9449 4.2 encodes `ath` in base64url; this provider compares it with hexadecimal digits.
    browser = world_with_dpop.portal.browser()
    await world_with_dpop.sign_in(browser)
    assert (await world_with_dpop.portal.tokens_of(browser, "acme")).token_type == "DPoP"
    refused = await world_with_dpop.call(browser)
    assert refused.status == 400
    assert "'ath' in DPoP does not match the token hash" in refused.text


@pytest.mark.gen_test
@shows(NAME, "prompt=none")
@pytest.mark.parametrize("world", [Registration(BASIC)], indirect=True, ids=["without offline access"])
async def test_a_silent_sign_in_becomes_interactive_only_without_a_provider_session(
    world: SharedProviderWorld,
) -> None:
    browser = world.portal.browser()
    page = await world.portal.begin(browser, "acme", "?prompt=none")
    assert any("error=login_required" in step for step in page.trail)
    await world.provider.complete_sign_in(browser, page, world.users[0])
    home = await world.portal.begin(browser, "acme", "?prompt=none")
    assert urlsplit(home.url).path == "/t/acme/"


@pytest.mark.gen_test
@shows(NAME, "back-channel logout")
@with_refresh
async def test_a_sign_out_at_the_provider_ends_the_login_of_that_browser_only(
    world: SharedProviderWorld,
) -> None:
    browser, elsewhere = world.portal.browser(), world.portal.browser()
    await world.sign_in(browser)
    await world.sign_in(elsewhere, 1)
    page = await browser.open(f"{world.provider.issuer}/session")
    await world.provider.confirm_sign_out(browser, page)
    assert await world.portal.signed_in_at(browser) == []
    assert await world.portal.signed_in_at(elsewhere) == ["acme"]


@pytest.mark.gen_test
@shows(NAME, "front-channel logout")
@pytest.mark.parametrize(
    "world",
    [Registration(BASIC, OFFLINE, metadata={"backchannel_logout_uri": None})],
    indirect=True,
    ids=["without back-channel logout"],
)
async def test_the_frame_of_the_sign_out_page_ends_the_login(world: SharedProviderWorld) -> None:
    browser = world.portal.browser()
    await world.sign_in(browser)
    page = await browser.open(f"{world.provider.issuer}/session")
    page = await world.provider.confirm_sign_out(browser, page)
    (frame,) = [html.unescape(source) for source in re.findall(r'<iframe src="([^"]+)"', page.text)]
    assert (await browser.step(frame, site="cross-site")).status == 200
    assert await world.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@with_refresh
async def test_capabilities_documented_as_not_offered_are_not_in_the_metadata(
    world: SharedProviderWorld,
) -> None:
    assert offered(await world.provider.metadata(), documented_as_not_offered(NAME)) == []


def _key_id(tokens: TokenSet) -> object:
    assert tokens.id_token is not None
    return read(tokens.id_token.reveal())[0]["kid"]
