"""The portal and a real Keycloak with two realms: login, API, refresh, logout from both sides, every option."""

from __future__ import annotations

import html
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from tests.keycloak.clients import AUTHENTICATION, OPTIONS, PUSHED, SEALED, SIGNED_ANSWER, Client
from tests.keycloak.conftest import USERINFO, KeycloakWorld
from tests.keycloak.server import asks_who

SLUGS = ["acme", *(client.slug for client in (*AUTHENTICATION, *OPTIONS))]


@pytest.mark.gen_test
async def test_one_browser_is_signed_in_at_two_realms_and_each_api_call_has_its_own_token(
    realms: KeycloakWorld,
) -> None:
    browser = realms.portal.browser()
    shown = html.unescape((await realms.sign_in(browser, "acme")).text)
    for known in ("Alice Archer", "alice@acme.example", "sales", realms.keycloak.issuer("acme")):
        assert known in shown
    page = await realms.portal.begin(browser, "globex")
    assert asks_who(page)
    await realms.let_in(browser, page, "globex")
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
    assert asks_who(await realms.portal.begin(browser, slug))


async def _call(realms, browser, slug):
    answer = await realms.portal.call(browser, slug, USERINFO)
    assert answer.status == 200, answer.text
