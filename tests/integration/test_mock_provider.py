"""The portal with the PyPI package `oidc-provider-mock`, which is based on Authlib.

It has fewer features than `oidc-provider`: opaque access tokens without an audience, no issuer in responses,
no revocation endpoint, no rotation, no ID token at a refresh, and a logout page without a session.
"""

from __future__ import annotations

import html
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.capabilities import documented_as_not_offered, offered
from tests.integration.conftest import MockWorld
from tests.integration.mock import ACCESS_TOKEN_SECONDS, NAME


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "login", "algorithms")
@pytest.mark.parametrize("mock", ["client_secret_basic", "client_secret_post"], indirect=True)
async def test_a_login_works_and_the_claims_of_the_id_token_are_shown(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    assert await mock.portal.signed_in_at(browser) == ["umbrella"]
    page = await browser.open(mock.portal.at("/t/umbrella/developer"))
    shown = html.unescape(page.text)
    for known in ("Umbrella Ltd", "Ada <Lovelace>", "ada@umbrella.example", "Engines", mock.provider.issuer):
        assert known in shown
    assert "<Lovelace>" not in page.text


@pytest.mark.gen_test
async def test_a_response_without_an_issuer_is_accepted_from_a_provider_that_never_sends_one(
    mock: MockWorld,
) -> None:
    home = await mock.sign_in(mock.portal.browser())
    (response,) = [step for step in home.trail if urlsplit(step).path == "/t/umbrella/callback"]
    assert sorted(parse_qs(urlsplit(response).query)) == ["code", "state"]


@pytest.mark.gen_test
@pytest.mark.parametrize("mock", [{"userinfo": True}], indirect=True)
async def test_userinfo_claims_of_the_same_user_are_shown(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    assert "Engines" in (await browser.open(mock.portal.at("/t/umbrella/developer"))).text


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("mock", "code"),
    [
        pytest.param({"par": True}, "metadata_rejected", id="pushed requests"),
        pytest.param({"dpop": True}, "token_not_bound", id="bound tokens"),
        pytest.param({"response_mode": "query.jwt"}, "signed_response_rejected", id="signed responses"),
        pytest.param(
            {"id_token_encryption": {"alg": "RSA-OAEP"}}, "id_token_rejected", id="encrypted ID tokens"
        ),
        pytest.param({"id_token_algs": ["ES256"]}, "id_token_rejected", id="another algorithm"),
        pytest.param(
            {"userinfo": True, "userinfo_algs": ["RS256"]}, "userinfo_rejected", id="signed UserInfo"
        ),
        pytest.param(
            {"requested_claims": {"id_token": {"acr": {"essential": True}}}}, "id_token_rejected", id="acr"
        ),
    ],
    indirect=["mock"],
)
async def test_a_provider_without_a_required_feature_signs_nobody_in(
    mock: MockWorld, code: str, log_lines: io.StringIO
) -> None:
    browser = mock.portal.browser()
    page = await mock.portal.begin(browser, "umbrella")
    if page.url.startswith(mock.provider.issuer):
        page = await mock.provider.complete_sign_in(browser, page)
    assert page.url.startswith(mock.portal.url)
    assert 400 <= page.status < 600
    assert page.headers["X-Request-Id"] in page.text
    (failed,) = [line for line in log_lines.getvalue().splitlines() if "request_failed" in line]
    assert json.loads(failed)["code"] == code
    assert await mock.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
async def test_the_granted_scopes_are_stored_not_the_requested_ones(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    assert (await mock.portal.tokens_of(browser, "umbrella")).scope == ("openid", "profile", "email")


@pytest.mark.gen_test
async def test_a_refusal_by_an_api_does_not_end_the_login(
    mock: MockWorld,
) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    before = await mock.portal.tokens_of(browser, "umbrella")
    refused = await mock.portal.call(browser, "umbrella")
    assert refused.status == 401
    assert json.loads(refused.body)["error"] == "invalid_token"
    # The portal retried with one new access token; the response contains neither.
    tried = {call.bearer for call in mock.api.received}
    assert len(tried) == len(mock.api.received) == 2
    after = await mock.portal.tokens_of(browser, "umbrella")
    assert after.access_token != before.access_token
    for token in (before.access_token, after.access_token):
        assert token.reveal() not in refused.text + str(refused.headers)
    assert await mock.portal.signed_in_at(browser) == ["umbrella"]


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "refresh with rotation", "client_secret_basic")
async def test_a_refresh_without_rotation_keeps_the_refresh_token_and_the_id_token(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    token_sets = [await mock.portal.tokens_of(browser, "umbrella")]
    for _ in range(2):
        mock.portal.clock.advance(ACCESS_TOKEN_SECONDS)
        assert (await browser.open(mock.portal.at("/t/umbrella/"))).status == 200
        await mock.portal.call(browser, "umbrella")
        token_sets.append(await mock.portal.tokens_of(browser, "umbrella"))
    assert len({tokens.access_token for tokens in token_sets}) == 3
    assert len({tokens.refresh_token for tokens in token_sets}) == 1
    assert len({tokens.id_token for tokens in token_sets}) == 1
    assert token_sets[-1].refresh_token is not None
    assert token_sets[-1].expires_at > token_sets[0].expires_at + ACCESS_TOKEN_SECONDS


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "client_secret_post")
@pytest.mark.parametrize("mock", ["client_secret_post"], indirect=True)
async def test_a_provider_that_refuses_the_client_at_a_refresh_does_not_end_the_login(
    mock: MockWorld, log_lines: io.StringIO
) -> None:
    # Authlib accepts client_secret_post at sign-in, but not at a refresh.
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    mock.portal.clock.advance(ACCESS_TOKEN_SECONDS)
    failed = await mock.portal.call(browser, "umbrella")
    assert failed.status == 503
    assert failed.headers["Retry-After"] == "60"
    problem = json.loads(failed.body)
    assert problem["code"] == "client_rejected"
    assert problem["title"] == "The sign-in service of this organisation does not accept the portal"
    assert "has corrected the portal's client settings" in problem["detail"]
    assert mock.api.calls.total() == 0
    assert await mock.portal.signed_in_at(browser) == ["umbrella"]
    (line,) = [line for line in log_lines.getvalue().splitlines() if "refresh_failed" in line]
    assert json.loads(line)["tenant"] == "umbrella"
    assert "error=invalid_client" in json.loads(line)["detail"]
    assert mock.client.client_secret not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_a_login_ends_when_the_provider_has_revoked_it(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    await mock.provider.revoke_tokens()
    mock.portal.clock.advance(ACCESS_TOKEN_SECONDS)
    ended = await mock.portal.call(browser, "umbrella")
    assert ended.status == 401
    assert json.loads(ended.body)["code"] == "login_ended"
    assert mock.api.calls.total() == 0
    assert await mock.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
async def test_an_error_without_a_state_is_refused_and_the_login_attempt_can_continue(
    mock: MockWorld,
) -> None:
    browser = mock.portal.browser()
    provider_page = await mock.portal.begin(browser, "umbrella")
    denied = await mock.provider.deny(browser, provider_page)
    # RFC 6749 4.1.2.1 requires the state, which this provider omits here.
    assert sorted(parse_qs(urlsplit(denied.url).query)) == ["error", "error_description"]
    assert denied.status == 400
    assert "no longer valid" in denied.text
    assert "/t/umbrella/" in denied.links

    await browser.open(provider_page.url)
    assert browser.page is not None
    home = await mock.provider.complete_sign_in(browser, browser.page)
    assert home.url == mock.portal.at("/t/umbrella/")


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "RP logout")
async def test_signing_out_includes_the_provider_and_returns_to_the_portal(
    mock: MockWorld, log_lines: io.StringIO
) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    tokens = await mock.portal.tokens_of(browser, "umbrella")
    provider_page = await mock.portal.sign_out(browser, "umbrella")
    assert provider_page.url.startswith(f"{mock.provider.issuer}/oauth2/end_session?")
    assert await mock.portal.signed_in_at(browser) == []
    assert tokens.id_token is not None
    assert parse_qs(urlsplit(provider_page.url).query)["id_token_hint"] == [tokens.id_token.reveal()]
    back = await browser.submit(provider_page.form("/oauth2/end_session/confirm"))
    assert back.url == mock.portal.at("/t/umbrella/signed-out")
    assert back.status == 200
    assert "Umbrella Ltd" in back.text
    assert (await mock.portal.call(browser, "umbrella")).status == 401
    assert "revocation_failed" not in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "prompt=none")
async def test_a_silent_sign_in_is_not_silent_and_works(mock: MockWorld) -> None:
    browser = mock.portal.browser()
    await mock.sign_in(browser)
    page = await mock.portal.begin(browser, "umbrella", "?prompt=none")
    home = await mock.provider.complete_sign_in(browser, page)
    assert home.url == mock.portal.at("/t/umbrella/")


@pytest.mark.gen_test
async def test_capabilities_documented_as_not_offered_are_not_in_the_metadata(mock: MockWorld) -> None:
    document = await mock.portal.browser().open(f"{mock.provider.issuer}/.well-known/openid-configuration")
    assert offered(json.loads(document.body), documented_as_not_offered(NAME)) == []
