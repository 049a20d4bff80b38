"""DPoP (RFC 9449), UserInfo, ID tokens of every algorithm, encrypted ones, FAPI 2.0, at npm's provider."""

from __future__ import annotations

from typing import Any

import pytest

from portal.demo.compact import read
from tests.integration.certified import IDENTITY_SCOPES, NAME
from tests.integration.ways import BASIC, Way, WayWorld

CLIENT_KEY = {"auth": "private_key_jwt", "signing_alg": "PS256"}


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "DPoP")
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(client, {"dpop": True, "par": par}, provider={"dpopNonces": nonces}), id=name)
        for name, client, par, nonces in [
            ("without nonces", BASIC, False, False),
            ("with nonces", BASIC, False, True),
            ("with nonces, pushed, private_key_jwt", CLIENT_KEY, True, True),
            ("public client with nonces", {"auth": "none"}, False, True),
        ]
    ],
    indirect=True,
)
async def test_tokens_are_bound_to_a_key(way: WayWorld) -> None:
    way.api.proofs.nonce = "nonce-of-the-api"
    browser = way.portal.browser()
    await way.story(browser)
    used = await way.provider.events("grant.success")
    assert [one["bound"] for one in used] == [True, True]
    refused = {str(one["error"]) for one in await way.provider.events("grant.error")}
    assert refused <= {"use_dpop_nonce"}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        Way(BASIC, told={"dpop_bound_access_tokens": True}),
    ],
    indirect=True,
)
async def test_a_provider_that_insists_on_bound_tokens_gives_none_without_a_proof(way: WayWorld) -> None:
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.status == 502
    assert await way.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC, {"dpop": True})], indirect=True)
async def test_a_bound_token_is_of_no_use_to_who_has_only_the_token(way: WayWorld) -> None:
    browser = way.portal.browser()
    await way.sign_in(browser)
    tokens = await way.portal.tokens_of(browser, "acme")
    claims = read(tokens.access_token.reveal())[1]
    assert isinstance(claims["cnf"], dict)
    assert "jkt" in claims["cnf"]
    assert tokens.token_type == "DPoP"


CERTIFICATE_BOUND: dict[str, Any] = {"certificate": "signed", "bound": True}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way({"auth": "tls_client_auth"}, **CERTIFICATE_BOUND), id="tls_client_auth"),
        pytest.param(Way(BASIC, **CERTIFICATE_BOUND), id="client_secret_basic"),
        pytest.param(
            Way(
                CLIENT_KEY,
                {"par": True, "id_token_algs": ["PS256"]},
                provider={"fapi": True, "requirePushed": True},
                **CERTIFICATE_BOUND,
            ),
            id="FAPI 2.0 with private_key_jwt",
        ),
        pytest.param(
            Way(
                {"auth": "tls_client_auth"},
                {"par": True, "id_token_algs": ["PS256"]},
                provider={"fapi": True, "requirePushed": True},
                **CERTIFICATE_BOUND,
            ),
            id="FAPI 2.0 with tls_client_auth",
        ),
    ],
    indirect=True,
)
async def test_tokens_are_bound_to_a_certificate_that_the_api_is_shown(way: WayWorld) -> None:
    browser = way.portal.browser()
    await way.story(browser)
    await way.sign_in(browser)
    claims = read((await way.portal.tokens_of(browser, "acme")).access_token.reveal())[1]
    assert isinstance(claims["cnf"], dict)
    assert "x5t#S256" in claims["cnf"]


# UserInfo. The access token is for the provider itself: no resource is asked for, and its API is UserInfo.
USERINFO = {
    "resources": [],
    "scopes": [*IDENTITY_SCOPES],
    "api": {"base_url": "{issuer}"},
    "userinfo": True,
}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC, USERINFO), id="JSON"),
        pytest.param(Way(BASIC, {**USERINFO, "userinfo_algs": ["ES256"]}), id="signed"),
        pytest.param(Way(BASIC, {**USERINFO, "dpop": True}, provider={"dpopNonces": True}), id="bound"),
        pytest.param(
            Way({"auth": "tls_client_auth"}, USERINFO, certificate="signed"), id="with a certificate"
        ),
    ],
    indirect=True,
)
async def test_claims_of_userinfo_are_shown(way: WayWorld) -> None:
    browser = way.portal.browser()
    home = await way.story(browser, "/me")
    assert "ada@acme.example" in home.text


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "algorithms")
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC, {"id_token_algs": [alg]}), id=alg)
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
    ],
    indirect=True,
)
async def test_an_id_token_is_signed_with(way: WayWorld) -> None:
    browser = way.portal.browser()
    await way.story(browser)


@pytest.mark.gen_test
@pytest.mark.parametrize("way", [Way(BASIC, told={"id_token_signed_response_alg": "ES256"})], indirect=True)
async def test_an_id_token_signed_with_an_algorithm_that_is_not_registered_is_refused(way: WayWorld) -> None:
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.status in {400, 502}
    assert await way.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(BASIC, {"id_token_encryption": {"alg": alg, "enc": enc}}), id=f"{alg} {enc}")
        for alg, enc in [
            ("RSA-OAEP", "A128CBC-HS256"),
            ("RSA-OAEP-256", "A256GCM"),
            ("ECDH-ES", "A256CBC-HS512"),
            ("ECDH-ES", "A128GCM"),
        ]
    ],
    indirect=True,
)
async def test_an_encrypted_id_token_is_opened(way: WayWorld) -> None:
    await way.story(way.portal.browser())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            Way(
                BASIC,
                {"request_object": "signed"},  # so that the provider knows the portal's keys
                told={
                    "id_token_encrypted_response_alg": "RSA-OAEP",
                    "id_token_encrypted_response_enc": "A128GCM",
                },
            ),
            id="encrypted, though not asked for",
        ),
        pytest.param(
            Way(
                BASIC,
                {"id_token_encryption": {"alg": "RSA-OAEP"}},
                told={
                    "id_token_encrypted_response_alg": "ECDH-ES",
                    "id_token_encrypted_response_enc": "A128CBC-HS256",
                },
            ),
            id="another algorithm",
        ),
    ],
    indirect=True,
)
async def test_an_id_token_that_is_not_encrypted_as_registered_is_refused(way: WayWorld) -> None:
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.status in {400, 502}
    assert await way.portal.signed_in_at(browser) == []


FAPI = {"par": True, "dpop": True, "id_token_algs": ["PS256"]}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            Way(CLIENT_KEY, FAPI, provider={"fapi": True, "dpopNonces": True, "requirePushed": True}),
            id="private_key_jwt",
        ),
        pytest.param(
            Way(
                {"auth": "tls_client_auth"},
                FAPI,
                provider={"fapi": True, "dpopNonces": True, "requirePushed": True},
                certificate="signed",
            ),
            id="tls_client_auth",
        ),
        pytest.param(
            Way(
                CLIENT_KEY,
                {**FAPI, "request_object": "signed", "response_mode": "jwt", "response_algs": ["PS256"]},
                provider={"fapi": True, "requirePushed": True},
            ),
            id="with signed requests and responds",
        ),
    ],
    indirect=True,
)
async def test_a_login_keeps_to_fapi_2(way: WayWorld) -> None:
    await way.story(way.portal.browser())
