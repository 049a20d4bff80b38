"""Sign-in with the certified npm package `oidc-provider`."""

from __future__ import annotations

import html
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from portal.oidc.provider import TokenSet
from portal.sessions.refusals import RETRY_SECONDS
from tests.integration.capabilities import documented_as_not_offered, offered
from tests.integration.certified import (
    ACCOUNTS,
    ACME,
    GLOBEX,
    INITECH,
    NAME,
    WITH_WRONG_SECRET,
    WRONG_SECRET,
    Client,
    shows_sign_in_form,
)
from tests.integration.conftest import CertifiedWorld


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "login")
@pytest.mark.parametrize(
    ("client", "proof"),
    [(ACME, "header"), (GLOBEX, "body"), (INITECH, "none")],
    ids=["client_secret_basic", "client_secret_post", "none"],
)
async def test_a_login_works_with_each_client_authentication_method(
    certified: CertifiedWorld, client: Client, proof: str
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, client)
    assert await certified.portal.signed_in_at(browser) == [client.tenant]
    page = await browser.open(certified.portal.at(f"/t/{client.tenant}/developer"))
    shown = html.unescape(page.text)
    for known in ("Ada <Lovelace>", "ada@acme.example", "user-1815", "analyst", certified.provider.issuer):
        assert known in shown
    assert ACCOUNTS["ada"]["name"] not in page.text
    assert "not granted" not in page.text
    (exchange,) = await certified.provider.events("grant.success")
    assert exchange["client"] == client.id
    assert exchange["grant"] == "authorization_code"
    assert exchange["proof"] == proof
    assert exchange["verifier"] is True


@pytest.mark.gen_test
async def test_a_second_tenant_at_the_same_provider_needs_no_password_and_is_a_separate_login(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, ACME)
    page = await certified.portal.begin(browser, "globex")
    assert not shows_sign_in_form(page)
    await certified.provider.complete_sign_in(browser, page)
    assert await certified.portal.signed_in_at(browser) == ["acme", "globex"]
    first, second = [await certified.portal.tokens_of(browser, slug) for slug in ("acme", "globex")]
    assert first.access_token != second.access_token
    assert first.refresh_token != second.refresh_token


@pytest.mark.gen_test
async def test_the_issuer_in_the_response_is_required_and_compared(certified: CertifiedWorld) -> None:
    browser = certified.portal.browser()
    for changed in ("", "&iss=https%3A%2F%2Fanother.example"):
        page = await certified.portal.begin(browser, "acme")
        response = await certified.provider.response_to(browser, page)
        issuer = parse_qs(urlsplit(response).query)["iss"]
        assert issuer == [certified.provider.issuer]
        before, _, _ = response.partition("&iss=")
        refused = await browser.open(before + changed)
        assert refused.status == 400
        assert "could not be signed in" in refused.text
        browser.cookies["127.0.0.1"].clear()
    assert await certified.provider.events("grant.success") == []
    assert await certified.provider.events("grant.error") == []
    assert await certified.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
async def test_the_provider_requires_a_code_challenge(certified: CertifiedWorld) -> None:
    browser = certified.portal.browser()
    begun = await browser.step(certified.portal.at("/t/acme/login"))
    page = await browser.open(_without(begun.headers["Location"], "code_challenge"))
    assert page.url.startswith(certified.portal.at("/t/acme/callback?"))
    assert page.status == 502
    assert "not set up correctly at the sign-in service" in page.text
    (refusal,) = await certified.provider.events("authorization.error")
    assert refusal["error"] == "invalid_request"


@pytest.mark.gen_test
async def test_the_provider_refuses_a_code_with_another_code_challenge(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    begun = await browser.step(certified.portal.at("/t/acme/login"))
    forged = _without(begun.headers["Location"], "code_challenge") + "&code_challenge=" + "A" * 43
    page = await certified.provider.complete_sign_in(browser, await browser.open(forged))
    assert page.status == 502
    assert "did not accept the portal" in page.text
    (refusal,) = await certified.provider.events("grant.error")
    assert refusal["error"] == "invalid_grant"
    assert refusal["verifier"] is True
    assert await certified.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("signed_in_first", [False, True], ids=["at sign-in", "at consent"])
async def test_a_user_who_denies_consent_sees_how_to_continue(
    certified: CertifiedWorld, signed_in_first: bool
) -> None:
    browser = certified.portal.browser()
    page = await certified.portal.begin(browser, "acme")
    if signed_in_first:
        page = await browser.submit(page.form("/interaction/"), {"username": "ada"}, button="allow")
        assert not shows_sign_in_form(page)
    denied = await certified.provider.deny(browser, page)
    assert denied.url.startswith(certified.portal.at("/t/acme/callback?"))
    assert denied.status == 403
    assert "Access was denied" in denied.text
    assert "The user <b>said</b> no." in html.unescape(denied.text)
    assert "<b>said" not in denied.text
    assert await certified.portal.signed_in_at(browser) == []

    start = await browser.click(next(link for link in denied.links if link == "/t/acme/"))
    page = await browser.click(next(link for link in start.links if link.startswith("/t/acme/login")))
    assert (await certified.provider.complete_sign_in(browser, page)).url == certified.portal.at("/t/acme/")
    assert await certified.portal.signed_in_at(browser) == ["acme"]


@pytest.mark.gen_test
async def test_a_wrong_client_secret_shows_a_clear_error_and_no_secret_is_logged(
    certified: CertifiedWorld, log_lines: io.StringIO
) -> None:
    browser = certified.portal.browser()
    page = await certified.provider.complete_sign_in(
        browser, await certified.portal.begin(browser, "mistaken")
    )
    assert page.status == 502
    assert "did not accept the portal" in page.text
    assert "check the client settings of the provider" in page.text
    assert page.headers["X-Request-Id"] in page.text
    (refusal,) = await certified.provider.events("grant.error")
    assert (refusal["client"], refusal["error"]) == (WITH_WRONG_SECRET.id, "invalid_client")
    assert await certified.portal.signed_in_at(browser) == []

    logged = log_lines.getvalue()
    (line,) = [line for line in logged.splitlines() if "token_request_rejected" in line]
    assert "/t/mistaken/callback" in line
    assert "invalid_client" in line
    (code,) = parse_qs(urlsplit(page.trail[-1]).query)["code"]
    for hidden in (WRONG_SECRET, "a mistyped secret", code):
        assert hidden not in logged
        assert hidden not in page.text


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "refresh after a key change")
async def test_logins_and_refreshes_work_after_a_key_change(certified: CertifiedWorld) -> None:
    before, after = certified.portal.browser(), certified.portal.browser()
    await certified.sign_in(before, ACME)
    first = await certified.portal.tokens_of(before, "acme")
    await certified.provider.change_keys()
    await certified.portal.expire_access_token(before, "acme")
    certified.api_clock.advance(10)  # the API fetches keys at most every five seconds
    assert (await certified.portal.call(before, "acme")).status == 200
    renewed = await certified.portal.tokens_of(before, "acme")
    await certified.sign_in(after, ACME, "grace")
    assert _key_id(renewed) == _key_id(await certified.portal.tokens_of(after, "acme"))
    assert _key_id(renewed) != _key_id(first)
    assert await certified.portal.signed_in_at(before) == ["acme"]


@pytest.mark.gen_test
async def test_a_login_works_after_the_provider_restarts_with_new_keys(certified: CertifiedWorld) -> None:
    before, after = certified.portal.browser(), certified.portal.browser()
    await certified.sign_in(before, ACME)
    assert (await certified.portal.call(before, "acme")).status == 200
    await certified.provider.restart()

    await certified.sign_in(after, ACME, "grace")
    certified.api_clock.advance(10)  # the API fetches keys at most every five seconds
    assert (await certified.portal.call(after, "acme")).status == 200

    # The key of the access token is no longer published, and the provider has lost the refresh token. While
    # the access token is valid, the first refusal of the refresh token does not end the login: retry later.
    refused = await certified.portal.call(before, "acme")
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "login_ended" not in refused.text
    assert await certified.portal.signed_in_at(before) == ["acme"]
    certified.portal.clock.advance(RETRY_SECONDS)
    ended = await certified.portal.call(before, "acme")
    assert ended.status == 401
    assert "login_ended" in ended.text
    assert await certified.portal.signed_in_at(before) == []
    assert await certified.portal.signed_in_at(after) == ["acme"]


@pytest.mark.gen_test
async def test_capabilities_documented_as_not_offered_are_not_in_the_metadata(
    certified: CertifiedWorld,
) -> None:
    url = f"{certified.provider.issuer}/.well-known/openid-configuration"
    document = await certified.portal.browser().open(url)
    assert offered(json.loads(document.body), documented_as_not_offered(NAME)) == []


def _key_id(tokens: TokenSet) -> object:
    assert tokens.id_token is not None
    return read(tokens.id_token.reveal())[0]["kid"]


def _without(url: str, parameter: str) -> str:
    """Return a URL without one query parameter."""
    address, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if not pair.startswith(f"{parameter}=")]
    return f"{address}?{'&'.join(kept)}"
