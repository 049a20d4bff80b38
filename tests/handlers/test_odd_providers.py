"""Unusual providers: logins last as long as possible, and errors state the cause."""

from __future__ import annotations

import hashlib
import io
import json
import re

import pytest

from portal.demo.compact import JsonObject
from tests.handlers.test_authorization_modes import query, tenants
from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as EndpointResponse
from tests.kit.provider_logout import Provider, calls, refusal, set_claims
from tests.kit.raw import change_tenant
from tests.kit.world import World


def lines_of(log_lines: io.StringIO, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


async def call(world: World, browser: Browser) -> Response:
    return await browser.fetch(world.at("/t/acme/api/orders"))


# --- refreshes that are refused


@pytest.mark.parametrize(
    "error",
    ["invalid_request", "unauthorized_client", "invalid_scope", "urn:acme:expired", "gone away"],
)
@pytest.mark.gen_test
async def test_any_definite_refusal_of_a_refresh_ends_the_login_with_a_login_url(
    world: World, log_lines: io.StringIO, error: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = error  # Dex sends invalid_request for an expired refresh token
    refused = await call(world, browser)
    problem = json.loads(refused.body)
    assert (refused.status, problem["code"]) == (401, "login_ended")
    assert problem["login_url"].startswith("/t/acme/login?")
    assert await tenants(world, browser) == []
    (line,) = lines_of(log_lines, "login_ended")
    assert line["reason"].startswith("the provider refused the refresh token: ")
    assert f"error={error}" in line["reason"]
    world.acme.faults.clear()
    await world.quick_sign_in(browser, "acme")
    assert (await call(world, browser)).status == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [(b"", 401, "login_ended"), (b"<html>Bad Request</html>", 503, "provider_unavailable")],
    ids=["empty, as Glewlwyd refuses a refresh token", "a page, as proxies write it"],
)
@pytest.mark.gen_test
async def test_a_400_without_an_error_code_refuses_the_refresh_token_only_when_it_is_empty(
    world: World, body: bytes, status: int, code: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.endpoints["refresh"] = EndpointFault(response=EndpointResponse(400, body, {}))
    refused = await call(world, browser)
    assert (refused.status, json.loads(refused.body)["code"]) == (status, code)
    assert await tenants(world, browser) == ([] if code == "login_ended" else ["acme"])


@pytest.mark.parametrize("error", ["invalid_client", "invalid_dpop_proof"])
@pytest.mark.gen_test
async def test_a_mistake_in_the_client_settings_ends_no_login_and_names_the_cause(
    world: World, error: str
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = error
    refused = await call(world, browser)
    problem = json.loads(refused.body)
    assert (refused.status, problem["code"]) == (503, "client_rejected")
    assert int(refused.headers["Retry-After"]) == 60
    assert "client settings" in problem["detail"]
    assert await tenants(world, browser) == ["acme"]
    world.acme.faults.clear()
    assert (await call(world, browser)).status == 200


@pytest.mark.gen_test
async def test_a_401_of_the_api_ends_no_login_while_the_provider_is_unavailable(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.refuse_next = 1
    world.acme.faults.endpoints["refresh"] = EndpointFault(response=None, drop_response=True)
    response = await call(world, browser)
    assert (response.status, json.loads(response.body)["code"]) == (503, "provider_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["X-Portal-Problem"] == "1"
    world.acme.faults.clear()
    assert (await call(world, browser)).status == 200


@pytest.mark.gen_test
async def test_an_access_token_with_a_space_is_sent_unchanged(world: World) -> None:
    browser = world.browser()
    token = "a token  with spaces"
    world.acme.faults.mutate_token_response = lambda response: response.update(access_token=token)
    world.acme.faults.missing_claims = {"at_hash"}
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert world.running.tokens.open(login).access_token.reveal() == token
    await call(world, browser)
    assert world.acme_api.received[0].bearer == hashlib.sha256(token.encode()).hexdigest()


# --- long session ids, logout tokens without exp


@pytest.mark.parametrize("length", [304, 2048])
@pytest.mark.gen_test
async def test_a_long_session_id_signs_in_and_is_signed_out(world: World, length: int) -> None:
    sid, provider = "s" * length, Provider(world)
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(sid=sid)
    for front_channel in (False, True):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        assert await calls(world, browser) == 200
        if front_channel:
            assert (await provider.frame(iss=provider.issuer, sid=sid)).status == 200
        else:
            assert (await provider.tell(provider.token(sid=sid))).status == 200
        assert await calls(world, browser) == 401


@pytest.mark.gen_test
async def test_a_user_id_of_2048_characters_signs_in_and_is_signed_out(world: World) -> None:
    browser, provider, sub = world.browser(), Provider(world), "u" * 2048
    world.acme.faults.mutate_id_token = lambda header, claims: claims.update(sub=sub)
    await world.quick_sign_in(browser, "acme")
    assert await tenants(world, browser) == ["acme"]
    token = provider.token(sid="-", subject=sub, change=set_claims(sid=None))
    assert (await provider.tell(token)).status == 200
    assert await tenants(world, browser) == []


@pytest.mark.gen_test
async def test_a_logout_token_without_exp_is_accepted_once_and_logged_once(
    world: World, log_lines: io.StringIO
) -> None:
    browser, provider = world.browser(), Provider(world)
    for number in range(2):
        await world.quick_sign_in(browser, "acme")
        token = provider.token(sid="-", change=set_claims(sid=None, exp=None, jti=f"j{number}"))
        assert (await provider.tell(token)).status == 200
        assert await calls(world, browser) == 401
        world.clock.advance(600)
        again = await provider.tell(token)
        assert (again.status, refusal(again)["error_description"][:12]) == (400, "jti_replayed")
        world.clock.advance(61)
        assert refusal(await provider.tell(token))["error_description"].startswith(("exp: ", "iat_too_old: "))
    refusals = lines_of(log_lines, "provider_logout_rejected")
    assert [(line["rule"], line["provider"]) for line in refusals] == [
        ("jti_replayed", "default"),
        ("exp", "default"),
    ] * 2
    (line,) = lines_of(log_lines, "logout_token_without_exp")
    assert (line["level"], line["tenant"], line["provider"]) == ("warning", "acme", "default")


# --- prompt and max_age


def signed_in_an_hour_ago(world: World) -> None:
    def change(header: JsonObject, claims: JsonObject) -> None:
        claims["auth_time"] = int(world.clock()) - 3600

    world.acme.faults.mutate_id_token = change


@pytest.mark.parametrize("requested", ["prompt=login", "max_age"])
@pytest.mark.gen_test
async def test_a_provider_that_does_not_reauthenticate_the_user_is_reported_on_a_page(
    world: World, log_lines: io.StringIO, requested: str
) -> None:
    if requested == "max_age":
        change_tenant(world, "acme", max_age="10m")
    signed_in_an_hour_ago(world)
    browser = world.browser()
    search = "?prompt=login" if requested == "prompt=login" else ""
    page = await browser.step(await world.stop_before_callback(browser, "acme", search), site="cross-site")
    assert page.status == 400
    assert "The sign-in service did not ask you to sign in again" in page.text
    text = re.sub(r"<[^>]+>", "", page.text)
    assert re.search(r"says that you signed in there on \d+ \w+ 20\d\d, \d\d:\d\d UTC\.", text)
    assert "Location" not in page.headers
    (line,) = lines_of(log_lines, "request_failed")
    assert (line["code"], line["rule"]) == ("not_signed_in_anew", "auth_time_too_old")
    assert line["detail"].count("Z") == 2
    assert await tenants(world, browser) == []


@pytest.mark.gen_test
async def test_a_missing_auth_time_is_reported_when_max_age_is_set(
    world: World,
) -> None:
    world.acme.faults.missing_claims = {"auth_time"}
    browser = world.browser()
    done = await browser.step(
        await world.stop_before_callback(browser, "acme", "?prompt=login"), site="cross-site"
    )
    assert done.status == 303, "OIDC Core requires auth_time only with max_age"
    change_tenant(world, "acme", max_age="10m")
    page = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    assert page.status == 400
    assert "does not say when you signed in there" in page.text


@pytest.mark.parametrize(
    "error", ["invalid_request", "account_selection_required", "unmet_authentication_requirements"]
)
@pytest.mark.parametrize("registered", ["", "select_account", "none"])
@pytest.mark.gen_test
async def test_a_refused_account_selection_falls_back_to_one_plain_request(
    world: World, log_lines: io.StringIO, error: str, registered: str
) -> None:
    if registered:
        change_tenant(world, "acme", authorize_params={"prompt": registered})
    world.acme.faults.authorization_error = (error, "prompt is not supported")
    browser = world.browser()
    search = "" if registered == "select_account" else "?prompt=select_account&login_hint=alice"
    callback = await world.stop_before_callback(browser, "acme", search)
    again = await browser.step(callback, site="cross-site")
    assert again.status == 303
    requested = query(again.headers["Location"])
    assert again.headers["Location"].startswith(world.acme.issuer)
    assert "prompt" not in requested
    assert requested.get("login_hint") == (["alice"] if search else None)
    assert [line["error"] for line in lines_of(log_lines, "account_selection_refused")] == [error]
    world.acme.automatic_user = "alice"
    refused = await browser.step(again.headers["Location"], site="cross-site")
    last = await browser.step(refused.headers["Location"], site="cross-site")
    assert last.status in {401, 403, 502}
    assert "Location" not in last.headers
    assert [line["provider"] for line in lines_of(log_lines, "request_failed")] == ["default"]


@pytest.mark.gen_test
async def test_another_error_of_an_account_selection_is_a_page(world: World) -> None:
    world.acme.faults.authorization_error = ("access_denied", "no")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme", "?prompt=select_account")
    assert (await browser.step(callback, site="cross-site")).status == 403


# --- tokens that are too large


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token"])
@pytest.mark.gen_test
async def test_D5_a_single_token_that_is_too_large_is_reported(
    world: World, log_lines: io.StringIO, name: str
) -> None:
    world.acme.faults.mutate_token_response = lambda response: response.update({name: "x" * 65_537})
    browser = world.browser()
    page = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    assert "Your account has too much data for the portal" in page.text
    (line,) = lines_of(log_lines, "request_failed")
    assert line["detail"] == f"{name} has 65537 characters, at most 65536 are stored"
