"""THREATS S14a and S14b: requests of Global Token Revocation end the logins of their user, and no others."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from portal.demo.compact import JsonObject, sign_rs256
from portal.demo.provider_keys import new_key
from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.forged_tokens import public_pem, sign_hs256, unsigned
from tests.kit.faulty.parts import signing_key
from tests.kit.provider_logout import Provider, calls
from tests.kit.raw import add_second_provider, change_tenant, stored, until
from tests.kit.world import World

ACME, GLOBEX = "/t/acme/global-token-revocation", "/t/globex/global-token-revocation"
Forge = Callable[[World, JsonObject, JsonObject], str]


def good_header(world: World) -> JsonObject:
    return {"alg": "RS256", "kid": world.acme.keys.current.kid, "typ": "global-token-revocation+jwt"}


def good_claims(world: World, **changes: Any) -> JsonObject:
    now = int(world.clock())
    claims = {
        "iss": world.acme.issuer,
        "aud": world.at(ACME),
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_urlsafe(16),
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def token(world: World, **changes: Any) -> str:
    return sign_rs256(good_header(world), good_claims(world, **changes), signing_key("acme"))


def alice(world: World) -> JsonObject:
    return {"sub_id": {"format": "iss_sub", "iss": world.acme.issuer, "sub": "acme-001"}}


async def ask(world: World, bearer: str | None, body: object, *, path: str = ACME) -> Response:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    return await Provider(world).send(text, world.at(path), **headers)


async def signed_in(world: World) -> Browser:
    for tenant in ("acme", "globex"):
        change_tenant(world, tenant, global_token_revocation=True)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    return browser


async def still_signed_in(world: World, browser: Browser) -> None:
    for tenant in ("acme", "globex"):
        assert await world.login_of(browser, tenant) is not None, tenant


def refused(response: Response) -> None:
    """Every failed authentication has the same response, but for the request id."""
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert response.headers["Cache-Control"] == "no-store"
    problem = json.loads(response.body)
    problem.pop("request_id")
    assert problem.pop("code") == "revocation_token_rejected"
    assert set(problem) == {"type", "title", "status", "detail"}
    assert "acme-001" not in response.text


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


def _without_type(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256({"alg": "RS256", "kid": header["kid"]}, claims, signing_key("acme"))


def _as_logout_token(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256(header | {"typ": "logout+jwt"}, claims, signing_key("acme"))


def _as_id_token(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256(header | {"typ": "JWT"}, claims, signing_key("acme"))


def _of_another_type(world: World, header: JsonObject, claims: JsonObject) -> str:
    return sign_rs256(header | {"typ": "x-global-token-revocation+jwt"}, claims, signing_key("acme"))


@pytest.mark.parametrize(
    "forge",
    [
        _by_another_key,
        _by_globex,
        _unsigned,
        _with_the_public_key_as_secret,
        _with_the_client_secret,
        _without_type,
        _as_logout_token,
        _as_id_token,
        _of_another_type,
    ],
)
@pytest.mark.gen_test
async def test_S14a_a_forged_revocation_request_ends_no_login(world: World, forge: Forge) -> None:
    browser, claims = await signed_in(world), good_claims(world)
    refused(await ask(world, forge(world, good_header(world), claims), alice(world)))
    await still_signed_in(world, browser)
    assert stored(world)["once"] == [], "the jti of a rejected token is not recorded as used"
    good = sign_rs256(good_header(world), claims, signing_key("acme"))
    assert (await ask(world, good, alice(world))).status == 204
    assert await world.login_of(browser, "acme") is None
    assert await world.login_of(browser, "globex") is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None},
        {"aud": "portal-at-acme"},
        {"aud": "https://another.example/t/acme/global-token-revocation"},
        {"aud": [ACME]},
        {"iss": None},
        {"iss": "https://unknown.example"},
        {"jti": None},
        {"jti": ""},
        {"iat": None},
        {"exp": None},
        {"exp": 1},
        {"iat": 1},
        {"iat": 9e10},
        {"nbf": 9e10},
    ],
)
@pytest.mark.gen_test
async def test_S14a_a_revocation_token_that_breaks_one_rule_ends_no_login(
    world: World, changes: dict[str, Any]
) -> None:
    browser = await signed_in(world)
    refused(await ask(world, token(world, **changes), alice(world)))
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_a_revocation_token_for_several_audiences_ends_no_login(world: World) -> None:
    browser = await signed_in(world)
    refused(await ask(world, token(world, aud=[world.at(ACME), world.at(GLOBEX)]), alice(world)))
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_a_revocation_token_is_accepted_once(world: World) -> None:
    browser, used = await signed_in(world), token(world)
    assert (await ask(world, used, alice(world))).status == 204
    await world.quick_sign_in(browser, "acme")
    refused(await ask(world, used, alice(world)))
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_of_copies_of_a_request_that_arrive_together_one_succeeds(world: World) -> None:
    """An HTTP client or a proxy may send a request again while the first waits for the provider."""
    browser, used = await signed_in(world), token(world)
    world.acme.faults.endpoints["revocation"] = EndpointFault(hold=(released := asyncio.Event()))
    first = asyncio.ensure_future(ask(world, used, alice(world)))
    await until(lambda: world.acme.requests["revocation"], "the first request revokes no token")
    assert (await ask(world, used, alice(world))).status == 404, "the login has ended already"
    released.set()
    assert (await first).status == 204
    refused(await ask(world, used, alice(world)))
    assert await world.login_of(browser, "acme") is None


@pytest.mark.gen_test
async def test_S14a_a_revocation_token_of_another_tenants_provider_ends_no_login(world: World) -> None:
    browser = await signed_in(world)
    refused(await ask(world, token(world), alice(world), path=GLOBEX))
    refused(await ask(world, token(world, aud=world.at(GLOBEX)), alice(world), path=GLOBEX))
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_a_provider_ends_only_logins_of_its_own_issuer(world: World) -> None:
    browser = await signed_in(world)
    foreign = {"sub_id": {"format": "iss_sub", "iss": world.globex.issuer, "sub": "acme-001"}}
    response = await ask(world, token(world), foreign)
    assert (response.status, json.loads(response.body)["code"]) == (400, "revocation_request_rejected")
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_a_tenant_that_did_not_enable_revocation_has_no_such_address(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    assert (await ask(world, token(world), alice(world))).status == 404
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_S14a_each_provider_of_a_tenant_is_enabled_by_itself(world: World) -> None:
    """Acme has two providers: its own may revoke, Globex's may not."""
    add_second_provider(world)
    path = world.parts.tenants_folder / "acme.yaml"
    document = yaml.safe_load(path.read_text())
    document["providers"]["staff"]["global_token_revocation"] = True
    path.write_text(yaml.safe_dump(document))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    nobody = {"sub_id": {"format": "opaque", "id": "nobody"}}
    header = good_header(world) | {"kid": world.globex.keys.current.kid}
    claims = good_claims(world, iss=world.globex.issuer)
    refused(await ask(world, sign_rs256(header, claims, signing_key("globex")), nobody))
    assert (await ask(world, token(world), nobody)).status == 404


@pytest.mark.gen_test
async def test_S14a_nobody_without_a_token_learns_who_is_signed_in(world: World) -> None:
    browser = await signed_in(world)
    nobody = {"sub_id": {"format": "opaque", "id": "nobody"}}
    for bearer in (None, "", "x", "a.b.c", "x" * 20_000):
        for body in (alice(world), nobody, "{", b"\xff"):
            refused_or_bare = await ask(world, bearer, body)
            assert refused_or_bare.status in {401, 431}, (bearer, body)
            if refused_or_bare.status == 401:
                refused(refused_or_bare)
    await still_signed_in(world, browser)


@pytest.mark.gen_test
async def test_S14a_a_huge_revocation_request_is_refused_before_it_is_read(world: World) -> None:
    browser = await signed_in(world)
    assert (await ask(world, token(world), "x" * 17_000)).status == 413
    padded = json.dumps(alice(world) | {"padding": ""})
    padded = padded.replace('""', f'"{"x" * (16_384 - len(padded))}"')
    assert len(padded) == 16_384
    await still_signed_in(world, browser)
    assert (await ask(world, token(world), padded)).status == 204


@pytest.mark.parametrize(
    "subject",
    [
        {},
        {"sub_id": "acme-001"},
        {"sub_id": {"format": "opaque"}},
        {"sub_id": {"format": "opaque", "id": {"$ne": None}}},
        {"sub_id": {"format": "opaque", "id": ["acme-001"]}},
        {"sub_id": {"format": "email", "email": "alice"}},
        {"sub_id": {"format": "email", "email": {"$ne": ""}}},
        {"sub_id": {"format": "account", "uri": "acct:alice@acme.example"}},
        {"sub_id": {"format": ["opaque"], "id": "acme-001"}},
        {"sub_id": {"format": "opaque", "id": "acme-001"}, "subject": {"format": "opaque", "id": "acme-001"}},
    ],
)
@pytest.mark.gen_test
async def test_S14a_a_revocation_request_with_an_unknown_subject_form_ends_no_login(
    world: World, subject: JsonObject
) -> None:
    browser = await signed_in(world)
    response = await ask(world, token(world), subject)
    assert (response.status, json.loads(response.body)["code"]) == (400, "revocation_request_rejected")
    await still_signed_in(world, browser)


@pytest.mark.parametrize("identifier", ["ACME-001", "acme-00", "acme-001 ", "acme-0011", "%"])
@pytest.mark.gen_test
async def test_S14a_subjects_are_compared_exactly(world: World, identifier: str) -> None:
    browser = await signed_in(world)
    response = await ask(world, token(world), {"sub_id": {"format": "opaque", "id": identifier}})
    assert (response.status, json.loads(response.body)["code"]) == (404, "revocation_subject_unknown")
    await still_signed_in(world, browser)


# --- S14b: logins that are being made


@pytest.mark.parametrize("elsewhere", [False, True], ids=["new session", "session with another login"])
@pytest.mark.parametrize(
    "sub_id",
    [{"format": "opaque", "id": "acme-001"}, {"format": "email", "email": "alice@acme.example"}],
    ids=["subject", "email"],
)
@pytest.mark.gen_test
async def test_S14b_a_login_that_is_being_made_does_not_survive_a_revocation(
    world: World, sub_id: JsonObject, elsewhere: bool
) -> None:
    """The provider has issued the tokens, and the portal waits for UserInfo."""
    change_tenant(world, "acme", global_token_revocation=True, userinfo=True)
    browser = world.browser()
    if elsewhere:
        await world.quick_sign_in(browser, "globex")
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.endpoints["userinfo"] = EndpointFault(hold=(released := asyncio.Event()))
    finishing = asyncio.ensure_future(browser.step(callback, site="cross-site"))
    await until(lambda: world.acme.requests["userinfo"], "the portal did not ask for UserInfo")
    assert (await ask(world, token(world), {"sub_id": sub_id})).status == 404, "nobody is signed in yet"
    released.set()
    response = await finishing
    assert response.status == 403
    assert "Your sign-in was ended" in response.text
    assert world.acme.requests["revocation"] == 1, "its tokens are revoked"
    assert len(stored(world)["logins"]) == int(elsewhere)
    if elsewhere:
        assert await world.login_of(browser, "acme") is None
        assert await calls(world, browser, "globex") == 200
    world.acme.faults.endpoints.clear()
    await world.quick_sign_in(browser, "acme")
    assert await calls(world, browser) == 200


@pytest.mark.gen_test
async def test_S14b_a_revocation_of_another_user_or_before_a_sign_in_does_not_count(world: World) -> None:
    change_tenant(world, "acme", global_token_revocation=True)
    for body in (alice(world), {"sub_id": {"format": "email", "email": "alice@acme.example"}}):
        assert (await ask(world, token(world), body)).status == 404
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    world.acme.faults.endpoints["token"] = EndpointFault(hold=(released := asyncio.Event()))
    finishing = asyncio.ensure_future(browser.step(callback, site="cross-site"))
    before = world.acme.requests["token"]
    await until(lambda: world.acme.requests["token"] > before, "the portal did not send the code")
    other = {"sub_id": {"format": "opaque", "id": "acme-002"}}
    assert (await ask(world, token(world), other)).status == 404
    released.set()
    assert (await finishing).status == 303
    assert await calls(world, browser) == 200
