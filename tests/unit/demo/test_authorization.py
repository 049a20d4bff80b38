"""The development provider's authorization endpoint, sign-in and consent."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.kit.samples import ManualClock
from tests.unit.demo.parties import CALLBACK, PUBLIC, claims, document, returned, serving


@pytest.mark.gen_test
async def test_a_sign_in_returns_a_code_with_state_and_issuer(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        response = await party.sign_in()
        assert response.keys() == {"code", "state", "iss"}
        assert response["state"] == "the-state"
        assert response["iss"] == party.provider.issuer


@pytest.mark.gen_test
async def test_a_second_request_of_the_same_browser_needs_no_form(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        first = await party.sign_in()
        second = returned(await party.ask())
        assert second["code"] != first["code"]


@pytest.mark.gen_test
async def test_a_wrong_password_shows_the_form_again(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        page = await party.fill_in("alice", "pw-bob")
        assert page.status == 401
        assert "The user name or the password is wrong" in page.text
        assert "pw-bob" not in page.text
        assert party.browser.cookie("127.0.0.1", party.provider.session_cookie) is None
        assert "code" in returned(await party.send_form(page, username="ALICE ", password="pw-alice"))


@pytest.mark.gen_test
async def test_the_sign_in_form_needs_its_xsrf_token(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        page = await party.follow(await party.ask())
        response = await party.send_form(page, username="alice", password="pw-alice", _xsrf="")
        assert response.status == 403
        assert party.browser.cookie("127.0.0.1", party.provider.session_cookie) is None


@pytest.mark.gen_test
async def test_cancelling_returns_access_denied_to_the_client(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        page = await party.follow(await party.ask())
        response = returned(await party.send_form(page, "cancel", username="", password=""))
        assert response["error"] == "access_denied"
        assert response["state"] == "the-state"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown-client"},
        {"client_id": None},
        {"redirect_uri": CALLBACK + "/"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": "http://localhost:10/t/acme/callback"},
        {"redirect_uri": None},
        {"redirect_uri": [CALLBACK, CALLBACK]},
        {"client_id": ["the portal", "public"]},
        {"request": "eyJ"},
        {"request_uri": "https://x.example"},
    ],
)
@pytest.mark.gen_test
async def test_a_request_with_an_unknown_client_or_redirect_uri_is_never_redirected(
    signing_key: RSAPrivateKey, changes: dict[str, object]
) -> None:
    async with serving(signing_key) as party:
        response = await party.ask(**changes)
        assert response.status == 400
        assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "sometimes"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"nonce": ["a", "b"]}, "invalid_request"),
        ({"audience": "https://api.globex.example"}, "invalid_target"),
        ({"resource": "https://api.globex.example"}, "invalid_target"),
        ({"id_token_hint": "not.a.token"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_request_returns_an_error_to_the_client(
    signing_key: RSAPrivateKey, changes: dict[str, object], code: str
) -> None:
    async with serving(signing_key) as party:
        response = returned(await party.ask(**changes))
        assert response["error"] == code
        assert response["state"] == "the-state"
        assert response["iss"] == party.provider.issuer
        assert "code" not in response


@pytest.mark.gen_test
async def test_prompt_none_responds_silently_for_a_signed_in_user(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        assert "code" in returned(await party.ask(prompt="none"))


@pytest.mark.gen_test
async def test_prompt_login_asks_again_and_renews_auth_time(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        first = claims((await party.tokens())["id_token"])
        clock.advance(100)
        second = claims((await party.tokens(prompt="login"))["id_token"])
        assert second["auth_time"] == first["auth_time"] + 100
        assert second["sid"] == first["sid"]


@pytest.mark.gen_test
async def test_max_age_asks_again_only_when_the_sign_in_is_older(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        await party.sign_in()
        clock.advance(30)
        assert "code" in returned(await party.ask(max_age=30))
        clock.advance(1)
        assert returned(await party.ask(max_age=30, prompt="none"))["error"] == "login_required"
        assert "/sign-in/" in (await party.ask(max_age=30)).headers["Location"]


@pytest.mark.gen_test
async def test_a_hint_at_another_user_requires_a_login(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        hint = (await party.tokens())["id_token"]
        await party.sign_in("bob", "pw-bob", prompt="login")
        response = returned(await party.ask(prompt="none", id_token_hint=hint))
        assert response["error"] == "login_required"


@pytest.mark.gen_test
async def test_login_hint_fills_in_the_user_name(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, show_users=True) as party:
        page = await party.follow(await party.ask(login_hint='bob"><script>'))
        assert "<script>" not in page.text
        page = await party.follow(await party.ask(login_hint="bob"))
        assert ("username", "bob") in page.forms[0].fields


@pytest.mark.gen_test
async def test_passwords_are_shown_only_when_configured(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, show_users=True) as party:
        assert "pw-alice" in (await party.follow(await party.ask())).text
    async with serving(signing_key) as party:
        page = await party.browser.step(
            party.absolute((await party.ask()).headers["Location"]) + "?user=alice"
        )
        assert "pw-alice" not in page.text


@pytest.mark.gen_test
async def test_consent_is_requested_once_and_can_exclude_scopes(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, consent_required=True) as party:
        page = await party.follow(await party.fill_in("alice", "pw-alice"))
        assert "See the orders" in page.text
        without_writing = [pair for pair in page.forms[0].fields if pair[1] != "write:orders"]
        page.forms[0].fields[:] = without_writing
        code = returned(await party.send_form(page, "allow", scope="read:orders"))["code"]
        granted = document(await party.exchange(code))["scope"].split()
        assert "read:orders" in granted
        assert "write:orders" not in granted

        page = await party.follow(await party.ask())
        assert page.forms, "a scope was excluded, so the user is asked again"
        code = returned(await party.send_form(page, "allow"))["code"]
        assert "code" in returned(await party.ask(prompt="none"))
        assert (
            returned(await party.ask(prompt="none", client_id=PUBLIC.client_id))["error"]
            == "consent_required"
        )


@pytest.mark.gen_test
async def test_refused_consent_returns_access_denied_to_the_client(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, consent_required=True) as party:
        page = await party.follow(await party.fill_in("alice", "pw-alice"))
        response = returned(await party.send_form(page, "deny"))
        assert response["error"] == "access_denied"
        assert returned(await party.ask(prompt="none"))["error"] == "consent_required"


@pytest.mark.gen_test
async def test_consent_requires_a_session(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, consent_required=True) as party:
        response = await party.fill_in("alice", "pw-alice")
        party.browser.cookies.clear()
        assert (await party.follow(response)).status == 403


@pytest.mark.gen_test
async def test_prompt_consent_asks_even_where_consent_is_not_required(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        response = await party.fill_in("alice", "pw-alice", prompt="consent")
        assert "/consent/" in response.headers["Location"]


@pytest.mark.gen_test
async def test_a_user_gets_no_api_scope_beyond_their_own(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        granted = (await party.tokens("bob", "pw-bob"))["scope"].split()
        assert "openid" in granted
        assert "read:orders" not in granted


@pytest.mark.gen_test
async def test_an_interaction_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        response = await party.ask()
        clock.advance(600)
        assert (await party.follow(response)).status == 404


@pytest.mark.gen_test
async def test_a_session_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock, session_seconds=1000) as party:
        await party.sign_in()
        clock.advance(999)
        assert "code" in returned(await party.ask(prompt="none"))
        clock.advance(1)
        assert returned(await party.ask(prompt="none"))["error"] == "login_required"


@pytest.mark.gen_test
async def test_the_authorization_endpoint_accepts_a_post(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        url, _, query = party.authorize_url().partition("?")
        response = await party.browser.step(url, "POST", query, site="cross-site")
        assert "/sign-in/" in response.headers["Location"]


@pytest.mark.gen_test
async def test_pages_have_a_strict_policy_that_allows_the_redirect_after_the_form(
    signing_key: RSAPrivateKey,
) -> None:
    async with serving(signing_key) as party:
        page = await party.follow(await party.ask())
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "form-action 'self' http://localhost:9" in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert "<script" not in page.text


@pytest.mark.gen_test
async def test_two_providers_on_one_host_use_different_cookies(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as acme, serving(signing_key, id="globex") as globex:
        globex.browser.cookies = acme.browser.cookies
        await acme.sign_in()
        await globex.sign_in("bob", "pw-bob")
        assert (
            claims(document(await acme.exchange(returned(await acme.ask())["code"]))["id_token"])["sub"]
            == "sub-alice"
        )


@pytest.mark.gen_test
async def test_an_automatic_user_sees_no_page(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, consent_required=True) as party:
        party.provider.automatic_user = "bob"
        tokens = document(await party.exchange(returned(await party.ask(prompt="login"))["code"]))
        assert claims(tokens["id_token"])["sub"] == "sub-bob"
