"""The portal with two realms of a real Keycloak: login, API, refresh, logout from both sides, options."""

from __future__ import annotations

import html
import io
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from portal.oidc.provider import TokenSet
from tests.keycloak.clients import (
    AUTHENTICATION,
    BOUND,
    FAPI,
    FRAMED,
    NAME,
    OPTIONS,
    POSTED,
    PUSHED,
    SEALED,
    SIGNED_REQUEST,
    SIGNED_RESPONSE,
)
from tests.keycloak.conftest import USERINFO, KeycloakWorld
from tests.keycloak.server import shows_sign_in_form
from tests.kit.browser import Browser, Response

SHOWN = {
    "acme": ("login", "algorithms", "refresh with rotation", "RP logout", "client_secret_basic"),
    PUSHED.slug: ("PAR",),
    POSTED.slug: ("form_post",),
    BOUND.slug: ("DPoP",),
    SEALED.slug: ("algorithms",),
    FAPI.slug: ("algorithms",),
    **{
        client.slug: ("mTLS" if client.client["auth"] == "tls_client_auth" else str(client.client["auth"]),)
        for client in AUTHENTICATION
    },
}
SLUGS = [
    pytest.param(slug, marks=pytest.mark.shows(NAME, *SHOWN.get(slug, ())))
    for slug in ("acme", *(client.slug for client in (*AUTHENTICATION, *OPTIONS)))
]


@pytest.mark.gen_test
async def test_one_browser_is_signed_in_at_two_realms_and_each_api_call_has_its_own_token(
    realms: KeycloakWorld,
) -> None:
    browser = realms.portal.browser()
    await realms.sign_in(browser, "acme")
    shown = html.unescape((await browser.open(realms.portal.at("/t/acme/developer"))).text)
    for known in ("Alice Archer", "alice@acme.example", "sales", realms.keycloak.issuer("acme")):
        assert known in shown
    page = await realms.portal.begin(browser, "globex")
    assert shows_sign_in_form(page)
    await realms.complete_sign_in(browser, page, "globex")
    assert await realms.portal.signed_in_at(browser) == ["acme", "globex"]
    assert (await realms.userinfo(browser, "acme"))["email"] == "alice@acme.example"
    assert (await realms.userinfo(browser, "globex"))["email"] == "gina@globex.example"


@pytest.mark.gen_test
@pytest.mark.parametrize("slug", SLUGS)
async def test_login_api_call_refresh_and_logout(realms: KeycloakWorld, slug: str) -> None:
    browser = realms.portal.browser()
    await realms.sign_in(browser, slug)
    first = await realms.portal.tokens_of(browser, slug)
    await _call(realms, browser, slug)
    await realms.portal.expire_access_token(browser, slug)
    await _call(realms, browser, slug)
    second = await realms.portal.tokens_of(browser, slug)
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token

    back = await realms.portal.sign_out(browser, slug)
    assert back.url == realms.portal.at(f"/t/{slug}/signed-out"), back.text[:2000]
    sent = next(step for step in back.trail if "/protocol/openid-connect/logout" in step)
    assert "id_token_hint" in parse_qs(urlsplit(sent).query)
    assert await realms.portal.signed_in_at(browser) == []
    assert shows_sign_in_form(await realms.portal.begin(browser, slug))


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "back-channel logout")
async def test_a_logout_by_the_administrator_ends_the_login_and_no_other(realms: KeycloakWorld) -> None:
    browser, elsewhere = realms.portal.browser(), realms.portal.browser()
    for tenant in ("acme", "globex"):
        await _join(realms, browser, tenant)
    await realms.sign_in(elsewhere, "acme")
    await realms.keycloak.end_sessions("acme", "alice")
    assert await realms.portal.signed_in_at(browser) == ["globex"]
    assert await realms.portal.signed_in_at(elsewhere) == []
    assert (await realms.portal.call(browser, "acme", USERINFO)).status == 401
    assert (await realms.userinfo(browser, "globex"))["email"] == "gina@globex.example"


@pytest.mark.gen_test
async def test_signing_out_at_one_tenant_ends_the_logins_of_the_same_session_at_keycloak(
    realms: KeycloakWorld, log_lines: io.StringIO
) -> None:
    browser, elsewhere = realms.portal.browser(), realms.portal.browser()
    for tenant in ("acme", PUSHED.slug, SEALED.slug, "globex"):
        await _join(realms, browser, tenant)
    await realms.sign_in(elsewhere, "acme")
    back = await realms.portal.sign_out(browser, "acme")
    assert back.url == realms.portal.at("/t/acme/signed-out")
    assert await realms.portal.signed_in_at(browser) == ["globex"]
    assert await realms.portal.signed_in_at(elsewhere) == ["acme"]
    assert "provider_logout_rejected" not in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "front-channel logout")
async def test_the_frames_of_a_sign_out_page_end_the_login_of_this_session_only(
    realms: KeycloakWorld,
) -> None:
    browser, elsewhere = realms.portal.browser(), realms.portal.browser()
    for tenant in (FRAMED.slug, "acme"):
        await _join(realms, browser, tenant)
    await realms.sign_in(elsewhere, FRAMED.slug)
    page = await realms.portal.sign_out(browser, "acme")
    assert page.url.startswith(realms.keycloak.issuer("acme"))
    assert await realms.portal.signed_in_at(browser) == [FRAMED.slug]
    (frame,) = [html.unescape(source) for source in re.findall(r'<iframe src="([^"]+)"', page.text)]
    ended = await browser.step(frame, site="cross-site")
    assert ended.status == 200
    assert f"frame-ancestors {realms.keycloak.url}" in ended.headers["Content-Security-Policy"]
    assert await realms.portal.signed_in_at(browser) == []
    assert await realms.portal.signed_in_at(elsewhere) == [FRAMED.slug]


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "refresh after a key change")
async def test_logins_and_refreshes_work_after_a_key_change(realms: KeycloakWorld) -> None:
    before, after = realms.portal.browser(), realms.portal.browser()
    await realms.sign_in(before, "acme")
    first = await realms.portal.tokens_of(before, "acme")
    await realms.keycloak.change_keys("acme")
    await realms.portal.expire_access_token(before, "acme")
    await _call(realms, before, "acme")
    renewed = await realms.portal.tokens_of(before, "acme")
    await realms.sign_in(after, "acme")
    assert _key_id(renewed) == _key_id(await realms.portal.tokens_of(after, "acme"))
    assert _key_id(renewed) != _key_id(first)
    assert await realms.portal.signed_in_at(before) == ["acme"]


@pytest.mark.gen_test
async def test_a_refresh_token_used_by_a_thief_ends_the_login_and_no_other(realms: KeycloakWorld) -> None:
    browser = realms.portal.browser()
    for tenant in ("acme", "globex"):
        await _join(realms, browser, tenant)
    tokens = await realms.portal.tokens_of(browser, "acme")
    assert tokens.refresh_token is not None
    await realms.keycloak.use_refresh_token("acme", "tenant-portal", tokens.refresh_token.reveal())
    await realms.portal.expire_access_token(browser, "acme")
    ended = await realms.portal.call(browser, "acme", USERINFO)
    assert ended.status == 401
    assert json.loads(ended.body)["code"] == "login_ended"
    assert await realms.portal.signed_in_at(browser) == ["globex"]


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "prompt=none")
async def test_a_silent_sign_in_becomes_interactive_only_without_a_keycloak_session(
    realms: KeycloakWorld,
) -> None:
    browser = realms.portal.browser()
    page = await realms.portal.begin(browser, "acme", "?prompt=none")
    assert any("error=login_required" in step for step in page.trail)
    assert shows_sign_in_form(page)
    await realms.complete_sign_in(browser, page, "acme")
    home = await realms.portal.begin(browser, "acme", "?prompt=none")
    assert home.url == realms.portal.at("/t/acme/")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("slug", "requested", "responded"),
    [
        (PUSHED.slug, {"client_id", "request_uri"}, {"code", "iss", "session_state", "state"}),
        (FAPI.slug, {"client_id", "request_uri"}, {"code", "iss", "session_state", "state"}),
        (SIGNED_RESPONSE.slug, None, {"response"}),
        (POSTED.slug, None, set()),
    ],
)
async def test_requests_and_responses_have_the_form_in_the_tenant_file(
    realms: KeycloakWorld, slug: str, requested: set[str] | None, responded: set[str]
) -> None:
    browser = realms.portal.browser()
    page = await realms.portal.begin(browser, slug)
    if requested is not None:
        assert _sent(page, "/protocol/openid-connect/auth") == requested
    home = await realms.complete_sign_in(browser, page, slug)
    assert _sent(home, f"/t/{slug}/callback") == responded


@pytest.mark.gen_test
async def test_a_signed_request_contains_all_parameters(realms: KeycloakWorld) -> None:
    page = await realms.portal.begin(realms.portal.browser(), SIGNED_REQUEST.slug)
    requested = _sent(page, "/protocol/openid-connect/auth")
    assert "request" in requested
    assert requested.isdisjoint({"state", "nonce", "code_challenge", "redirect_uri"})


@pytest.mark.gen_test
@pytest.mark.parametrize("slug", [BOUND.slug, FAPI.slug])
async def test_the_access_token_is_bound_to_a_key(realms: KeycloakWorld, slug: str) -> None:
    browser = realms.portal.browser()
    await realms.sign_in(browser, slug)
    tokens = await realms.portal.tokens_of(browser, slug)
    assert tokens.token_type == "DPoP"
    confirmation = read(tokens.access_token.reveal())[1]["cnf"]
    assert isinstance(confirmation, dict)
    assert "jkt" in confirmation


async def _join(realms: KeycloakWorld, browser: Browser, slug: str) -> None:
    """Sign in; Keycloak may already have a session of the user."""
    page = await realms.complete_sign_in(browser, await realms.portal.begin(browser, slug), slug)
    assert page.url == realms.portal.at(f"/t/{slug}/"), page.text[:3000]


def _key_id(tokens: TokenSet) -> object:
    assert tokens.id_token is not None
    return read(tokens.id_token.reveal())[0]["kid"]


async def _call(realms: KeycloakWorld, browser: Browser, slug: str) -> None:
    response = await realms.portal.call(browser, slug, USERINFO)
    assert response.status == 200, response.text


def _sent(page: Response, ending: str) -> set[str]:
    """Return the query parameter names of the first URL whose path ends with `ending`."""
    step = next(step for step in page.trail if urlsplit(step).path.endswith(ending))
    return set(parse_qs(urlsplit(step).query))
