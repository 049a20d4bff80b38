"""THREATS S14: forged, replayed, expired or foreign logout tokens end no login."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from portal.demo.compact import JsonObject, sign_rs256
from portal.demo.provider_keys import new_key
from portal.oidc.refetch_budget import BURST
from tests.kit.browser import Browser
from tests.kit.faulty.forged_tokens import public_pem, sign_hs256, unsigned
from tests.kit.faulty.parts import signing_key
from tests.kit.processes import world_outside
from tests.kit.provider_logout import Provider, refusal, set_claims, set_header, sid_of
from tests.kit.raw import change_tenant, stored
from tests.kit.world import World


async def both_signed_in(world: World) -> Browser:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    return browser


async def still_signed_in(world: World, browser: Browser, *tenants: str) -> None:
    for tenant in tenants or ("acme", "globex"):
        assert await world.login_of(browser, tenant) is not None, tenant


def good_claims(world: World, sid: str) -> JsonObject:
    now = int(world.clock())
    return {
        "iss": world.acme.issuer,
        "sub": "acme-001",
        "aud": "portal-at-acme",
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_urlsafe(16),
        "sid": sid,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }


Forge = Callable[[World, JsonObject, JsonObject], str]


def _by_another_key(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256(header, claims, new_key())


def _by_globex(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256(header, claims, signing_key("globex"))


def _unsigned(world: World, header: JsonObject, claims: JsonObject) -> str:
    return unsigned(header | {"alg": "none"}, claims)


def _with_the_public_key_as_secret(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_hs256(header | {"alg": "HS256"}, claims, public_pem(signing_key("acme").public_key()))


def _with_the_client_secret(world: World, header: JsonObject, claims: JsonObject) -> str:
    secret = world.acme.settings.clients[0].client_secret or ""
    return sign_hs256(header | {"alg": "HS256"}, claims, secret.encode())


def _with_claims_of_another(world: World, header: JsonObject, claims: JsonObject) -> str:
    good = sign_rs256(header, claims | {"sid": "another"}, signing_key("acme"))
    return ".".join([good.split(".")[0], unsigned(header, claims).split(".")[1], good.split(".")[2]])


def _without_signature(world: World, header: JsonObject, claims: JsonObject) -> str:
    return unsigned(header, claims)


@pytest.mark.parametrize(
    "forge",
    [
        _by_another_key,
        _by_globex,
        _unsigned,
        _with_the_public_key_as_secret,
        _with_the_client_secret,
        _with_claims_of_another,
        _without_signature,
    ],
)
@pytest.mark.gen_test
async def test_S14_a_forged_logout_token_ends_no_login(world: World, forge: Forge) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    claims = good_claims(world, await sid_of(world, browser))
    header: JsonObject = {"alg": "RS256", "kid": world.acme.keys.current.kid, "typ": "logout+jwt"}
    response = await provider.tell(forge(world, header, claims))
    assert response.status == 400
    assert refusal(response)["error"] == "invalid_request"
    await still_signed_in(world, browser)
    assert stored(world)["once"] == [], "the jti of a rejected token is not recorded as used"
    good = sign_rs256(header, claims, signing_key("acme"))
    assert (await provider.tell(good)).status == 200
    assert await world.login_of(browser, "acme") is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"exp": -61}, "exp"),
        ({"iat": -700}, "iat_too_old"),
        ({"iat": 90}, "iat_future"),
        ({"nbf": 90}, "nbf"),
    ],
)
@pytest.mark.gen_test
async def test_S14_an_expired_old_or_future_logout_token_ends_no_login(
    world: World, changes: dict[str, int], rule: str
) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    now = int(world.clock())
    change = set_claims(**{name: now + offset for name, offset in changes.items()})
    response = await provider.tell(provider.token(sid=await sid_of(world, browser), change=change))
    assert response.status == 400
    assert refusal(response)["error_description"].startswith(f"{rule}: ")
    await still_signed_in(world, browser)


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"aud": "another-client"}, "aud"),
        ({"aud": "portal-at-globex"}, "aud"),
        ({"aud": ["portal-at-acme", "another-client"]}, "aud_unknown"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://unknown.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"events": None}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"jti": None}, "jti"),
        ({"iat": None}, "iat"),
        ({"sid": None, "sub": None}, "sid_or_sub"),
    ],
)
@pytest.mark.gen_test
async def test_S14_a_logout_token_that_breaks_one_rule_ends_no_login(
    world: World, claims: dict[str, Any], rule: str
) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    token = provider.token(sid=await sid_of(world, browser), change=set_claims(**claims))
    response = await provider.tell(token)
    assert response.status == 400
    assert refusal(response)["error_description"].startswith(f"{rule}: ")
    await still_signed_in(world, browser)


@pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt"])
@pytest.mark.gen_test
async def test_S14_a_token_of_another_type_ends_no_login(world: World, typ: str) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    token = provider.token(sid=await sid_of(world, browser), change=set_header(typ=typ))
    assert (await provider.tell(token)).status == 400
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14_an_id_token_or_access_token_is_not_accepted_as_a_logout_token(world: World) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    login = await world.login_of(browser, "acme")
    assert login is not None
    tokens = world.running.tokens.open(login)
    assert tokens.id_token is not None
    for token in (tokens.id_token, tokens.access_token):
        assert (await provider.tell(token.reveal())).status == 400
    await still_signed_in(world, browser)


# --- replay


@pytest.mark.gen_test
async def test_S14_a_replayed_logout_token_ends_no_login(world: World) -> None:
    """Also a token without `sid`, after the user has signed in again."""
    browser, provider = await both_signed_in(world), Provider(world)
    token = provider.token(sid="-", change=set_claims(sid=None))
    assert (await provider.tell(token)).status == 200
    assert await world.login_of(browser, "acme") is None
    await world.quick_sign_in(browser, "acme")
    for seconds in (0.0, 30.0, 100.0):
        world.clock.advance(seconds)
        response = await provider.tell(token)
        assert response.status == 400
        assert refusal(response)["error_description"].startswith("jti_replayed: ")
    await still_signed_in(world, browser, "acme")
    world.clock.advance(60.0)
    await world.running.portal.store.purge()
    assert refusal(await provider.tell(token))["error_description"].startswith("exp: ")
    await still_signed_in(world, browser, "acme")


@pytest.mark.gen_test
async def test_S14_two_providers_may_use_the_same_jti(world: World) -> None:
    browser = await both_signed_in(world)
    for tenant in ("acme", "globex"):
        provider = Provider(world, tenant)
        token = provider.token(sid=await sid_of(world, browser, tenant), change=set_claims(jti="one"))
        assert (await provider.tell(token)).status == 200
        assert await world.login_of(browser, tenant) is None


@pytest.mark.gen_test(timeout=90)
async def test_S14_several_processes_accept_one_copy_of_a_token(tmp_path: Any) -> None:
    async with world_outside(tmp_path, processes=2) as (world, _):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        token = Provider(world).token(sid=await sid_of(world, browser))
        responses = await asyncio.gather(*(Provider(world).tell(token) for _ in range(24)))
        assert sorted(response.status for response in responses) == [200] + [400] * 23
        assert await world.login_of(browser, "acme") is None


# --- tenants


@pytest.mark.gen_test
async def test_S14_a_token_of_another_tenants_provider_ends_no_login(world: World) -> None:
    """With the sid of either tenant, at the endpoint of either tenant."""
    browser = await both_signed_in(world)
    globex = Provider(world, "globex")
    for sid in (await sid_of(world, browser, "acme"), await sid_of(world, browser, "globex")):
        for subject in ("acme-001", "globex-7f3a"):
            response = await globex.tell(globex.token(sid=sid, subject=subject), tenant="acme")
            assert response.status == 400
            assert refusal(response)["error_description"].startswith("iss: ")
            await still_signed_in(world, browser)
    token = globex.token(sid=await sid_of(world, browser, "acme"), subject="acme-001")
    assert (await globex.tell(token)).status == 200, "its own tenant accepts the token"
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14_a_provider_cannot_issue_tokens_for_another_issuer(world: World) -> None:
    browser, globex = await both_signed_in(world), Provider(world, "globex")
    sid = await sid_of(world, browser, "acme")
    change = set_claims(iss=world.acme.issuer, aud="portal-at-acme")
    for tenant in ("acme", "globex"):
        token = globex.token(sid=sid, subject="acme-001", change=change)
        assert (await globex.tell(token, tenant=tenant)).status == 400
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14_a_sid_of_another_tenant_with_the_same_issuer_ends_no_login(world: World) -> None:
    browser = await both_signed_in(world)
    sid = await sid_of(world, browser, "acme")
    login = await world.login_of(browser, "acme")
    change_tenant(world, "globex", issuer=world.acme.issuer, client={"id": "portal-at-globex"})
    provider = Provider(world)
    token = provider.token(sid=sid, change=set_claims(aud="portal-at-globex"))
    assert (await provider.tell(token, tenant="globex")).status == 200, "a valid token for that client"
    assert (await provider.frame(tenant="globex", iss=provider.issuer, sid=sid)).status == 200
    assert await world.login_of(browser, "acme") == login


@pytest.mark.gen_test
async def test_S14_a_token_of_a_removed_registration_is_refused(world: World) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    token = provider.token(sid=await sid_of(world, browser))
    change_tenant(world, "acme", client={"id": "a-new-client"})
    assert (await provider.tell(token)).status == 400


# --- the request around the token


@pytest.mark.parametrize("sid", ["'", '{"$ne": ""}', "%", "*", "' OR '1'='1"])
@pytest.mark.gen_test
async def test_S14_a_sid_that_looks_like_a_query_is_treated_as_text(world: World, sid: str) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    assert (await provider.tell(provider.token(sid=sid, subject=sid))).status == 200
    assert (await provider.frame(iss=provider.issuer, sid=sid)).status == 200
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14_several_tokens_in_one_request_end_no_login(world: World) -> None:
    browser, provider = await both_signed_in(world), Provider(world)
    token = provider.token(sid=await sid_of(world, browser))
    for values in (("x", token), (token, "x"), (token, token)):
        body = urlencode([("logout_token", value) for value in values])
        assert (await provider.send(body, world.at("/t/acme/backchannel-logout"))).status == 400
    url = world.at(f"/t/acme/backchannel-logout?{urlencode({'logout_token': token})}")
    assert (await provider.send("", url)).status == 400, "a token in the URL is ignored"
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14_forged_tokens_cannot_cause_unlimited_key_requests(world: World) -> None:
    await both_signed_in(world)
    provider = Provider(world)
    before = world.acme.requests["jwks"]
    for number in range(20):
        token = provider.token(sid="s", change=set_header(kid=f"unknown-{number}"))
        assert (await provider.tell(token)).status == 400
    assert world.acme.requests["jwks"] - before <= BURST
    world.acme.rotate_keys()  # logins have a separate budget
    await world.quick_sign_in(world.browser(), "acme")
