"""API calls, refreshes, revocation and logout with the certified npm package `oidc-provider`."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.demo.compact import read
from portal.secret import Secret
from tests.integration.certified import (
    ACCESS_TOKEN_SECONDS,
    ACCOUNTS,
    ACME,
    AUDIENCE,
    CLIENTS,
    GLOBEX,
    INITECH,
    NAME,
    Client,
    shows_sign_in_form,
)
from tests.integration.conftest import CertifiedWorld
from tests.kit.browser import Browser, Response


@pytest.mark.gen_test
async def test_the_api_gets_an_access_token_that_it_can_verify(certified: CertifiedWorld) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, ACME)
    orders = await certified.portal.call(browser, "acme")
    assert orders.status == 200, orders.text
    assert len(json.loads(orders.body)["orders"]) == 3

    tokens = await certified.portal.tokens_of(browser, "acme")
    header, claims = read(tokens.access_token.reveal())
    assert header["typ"] == "at+jwt"
    assert claims["iss"] == certified.provider.issuer
    assert claims["aud"] == AUDIENCE
    assert claims["sub"] == ACCOUNTS["ada"]["sub"]
    assert tokens.scope == ("read:orders", "write:orders")
    assert [call.bearer for call in certified.api.received] == [_fingerprint(tokens.access_token)]
    assert await certified.provider.events("grant.success", grant="refresh_token") == []

    created = await browser.fetch(
        certified.portal.at("/t/acme/api/orders"),
        "POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps({"item": "Rocket skates"}),
    )
    assert created.status == 201, created.text
    assert json.loads(created.body)["created_by"] == ACCOUNTS["ada"]["sub"]


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "refresh with rotation")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.auth)
async def test_an_expired_access_token_is_renewed_once_for_many_calls_and_the_refresh_token_rotates(
    certified: CertifiedWorld, client: Client
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, client)
    token_sets = [await certified.portal.tokens_of(browser, client.tenant)]
    for renewals in (1, 2):
        certified.portal.clock.advance(
            ACCESS_TOKEN_SECONDS + 1
        )  # a call waits for a refresh only after the token has expired
        responses = await asyncio.gather(*(certified.portal.call(browser, client.tenant) for _ in range(20)))
        assert [response.status for response in responses] == [200] * 20
        assert await certified.provider.count("grant.success", grant="refresh_token") == renewals
        token_sets.append(await certified.portal.tokens_of(browser, client.tenant))
        assert {call.bearer for call in list(certified.api.received)[-20:]} == {
            _fingerprint(token_sets[-1].access_token)
        }
    assert len({tokens.access_token for tokens in token_sets}) == 3
    assert len({tokens.refresh_token for tokens in token_sets}) == 3
    assert await certified.provider.events("grant.error") == []


@pytest.mark.gen_test
async def test_an_access_token_that_the_api_refuses_is_renewed_without_an_error_for_the_user(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, ACME)
    certified.api.refuse_next = 1
    assert (await certified.portal.call(browser, "acme")).status == 200
    assert await certified.provider.count("grant.success", grant="refresh_token") == 1
    refused, accepted = list(certified.api.received)[-2:]
    assert refused.bearer != accepted.bearer


@pytest.mark.gen_test
async def test_a_refresh_token_used_by_a_thief_ends_the_login_and_no_other(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, ACME)
    await _complete_sign_in(certified, browser, GLOBEX)
    tokens = await certified.portal.tokens_of(browser, "acme")
    assert tokens.refresh_token is not None
    status, stolen = await certified.provider.use_refresh_token(ACME, tokens.refresh_token)
    assert status == 200

    certified.portal.clock.advance(ACCESS_TOKEN_SECONDS + 1)
    ended = await certified.portal.call(browser, "acme")
    assert ended.status == 401
    problem = json.loads(ended.body)
    assert problem["code"] == "login_ended"
    assert "Your other organisations are not affected" in problem["detail"]
    assert problem["login_url"].startswith("/t/acme/login")
    (refusal,) = await certified.provider.events("grant.error")
    assert (refusal["client"], refusal["error"]) == (ACME.id, "invalid_grant")

    assert not await certified.provider.is_active(ACME, Secret(str(stolen["refresh_token"])))
    assert await certified.portal.signed_in_at(browser) == ["globex"]
    assert (await certified.portal.call(browser, "globex")).status == 200
    await _complete_sign_in(certified, browser, ACME)
    assert (await certified.portal.call(browser, "acme")).status == 200


@pytest.mark.gen_test
async def test_signing_out_revokes_the_refresh_token_before_the_redirect_to_the_provider(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    for client in CLIENTS:
        home = await _complete_sign_in(certified, browser, client)
        tokens = await certified.portal.tokens_of(browser, client.tenant)
        assert tokens.refresh_token is not None
        assert await certified.provider.is_active(client, tokens.refresh_token)

        (xsrf,) = dict(home.form(f"/t/{client.tenant}/logout").fields).values()
        left = await browser.step(
            certified.portal.at(f"/t/{client.tenant}/logout"), "POST", f"_xsrf={xsrf}", site="same-origin"
        )
        assert left.status == 303
        assert left.headers["Location"].startswith(f"{certified.provider.issuer}/session/end?")
        assert client.tenant not in await certified.portal.signed_in_at(browser)
        assert not await certified.provider.is_active(client, tokens.refresh_token)
        status, response = await certified.provider.use_refresh_token(client, tokens.refresh_token)
        assert (status, response["error"]) == (400, "invalid_grant")
    assert await certified.provider.count("grant.revoked") == len(CLIENTS)
    assert await certified.provider.events("end_session.success") == []
    assert await certified.provider.events("revocation.error") == []


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "RP logout")
async def test_signing_out_ends_the_session_at_the_provider_and_returns_to_the_portal(
    certified: CertifiedWorld,
) -> None:
    browser = certified.portal.browser()
    await certified.sign_in(browser, ACME)
    provider_page = await certified.portal.sign_out(browser, "acme")
    sent = parse_qs(urlsplit(provider_page.url).query)
    assert sent["client_id"] == [ACME.id]
    assert sent["post_logout_redirect_uri"] == [certified.portal.at("/t/acme/signed-out")]
    assert "id_token_hint" in sent

    back = await certified.provider.confirm_sign_out(browser, provider_page)
    assert back.url == certified.portal.at("/t/acme/signed-out")
    assert back.status == 200
    assert "Acme Inc." in back.text
    assert certified.portal.at(f"/t/acme/signed-out?state={sent['state'][0]}") in back.trail
    assert await certified.provider.count("end_session.success") == 1
    assert (await certified.portal.call(browser, "acme")).status == 401
    for client in (ACME, INITECH):
        assert shows_sign_in_form(await certified.portal.begin(browser, client.tenant))


@pytest.mark.gen_test
async def test_signing_out_everywhere_includes_the_provider_logout_of_each_tenant(
    certified: CertifiedWorld, log_lines: io.StringIO
) -> None:
    browser = certified.portal.browser()
    token_sets = []
    for client in CLIENTS:
        page = await _complete_sign_in(certified, browser, client)
        token_sets.append(await certified.portal.tokens_of(browser, client.tenant))
    page = await browser.submit(next(form for form in page.forms if form.action == "/logout"))
    page = await certified.provider.confirm_sign_out(browser, page)
    for _ in CLIENTS[1:]:
        # The session has ended, so only a form that submits itself is left.
        assert page.url.startswith(f"{certified.provider.issuer}/session/end?")
        page = await browser.submit(page.form("/session/end/confirm"))
    assert page.url == certified.portal.at("/signed-out")
    assert await certified.provider.count("end_session.success") == len(CLIENTS)
    assert await certified.portal.signed_in_at(browser) == []

    logged = log_lines.getvalue()
    assert logged.count('"logged_out"') == len(CLIENTS)
    for tokens in token_sets:
        for token in (tokens.access_token, tokens.refresh_token, tokens.id_token):
            assert token is not None
            assert token.reveal() not in logged
    for client in CLIENTS:
        assert client.secret is None or client.secret not in logged


async def _complete_sign_in(certified: CertifiedWorld, browser: Browser, client: Client) -> Response:
    page = await certified.provider.complete_sign_in(
        browser, await certified.portal.begin(browser, client.tenant)
    )
    assert page.url == certified.portal.at(f"/t/{client.tenant}/"), page.text[:3000]
    return page


def _fingerprint(token: Secret) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()
