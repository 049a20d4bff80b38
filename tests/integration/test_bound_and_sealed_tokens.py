"""DPoP (RFC 9449), UserInfo, ID token algorithms and encryption, and FAPI 2.0 with `oidc-provider`."""

from __future__ import annotations

from typing import Any

import pytest

from portal.demo.compact import read
from tests.integration.certified import IDENTITY_SCOPES, NAME
from tests.integration.registrations import BASIC, PortalRegistration, RegisteredWorld

CLIENT_KEY = {"auth": "private_key_jwt", "signing_alg": "PS256"}


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "DPoP")
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(client, {"dpop": True, "par": par}, provider={"dpopNonces": nonces}), id=name
        )
        for name, client, par, nonces in [
            ("without nonces", BASIC, False, False),
            ("with nonces", BASIC, False, True),
            ("with nonces, pushed, private_key_jwt", CLIENT_KEY, True, True),
            ("public client with nonces", {"auth": "none"}, False, True),
        ]
    ],
    indirect=True,
)
async def test_tokens_are_bound_to_a_key(registered: RegisteredWorld) -> None:
    registered.api.proofs.nonce = "nonce-of-the-api"
    browser = registered.portal.browser()
    await registered.full_cycle(browser)
    used = await registered.provider.events("grant.success")
    assert [one["bound"] for one in used] == [True, True]
    refused = {str(one["error"]) for one in await registered.provider.events("grant.error")}
    assert refused <= {"use_dpop_nonce"}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        PortalRegistration(BASIC, metadata={"dpop_bound_access_tokens": True}),
    ],
    indirect=True,
)
async def test_a_provider_that_requires_bound_tokens_issues_none_without_a_proof(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.status == 502
    assert await registered.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@pytest.mark.parametrize("registered", [PortalRegistration(BASIC, {"dpop": True})], indirect=True)
async def test_an_access_token_contains_the_thumbprint_of_its_key(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    await registered.sign_in(browser)
    tokens = await registered.portal.tokens_of(browser, "acme")
    claims = read(tokens.access_token.reveal())[1]
    assert isinstance(claims["cnf"], dict)
    assert "jkt" in claims["cnf"]
    assert tokens.token_type == "DPoP"


CERTIFICATE_BOUND: dict[str, Any] = {"certificate": "signed", "bound": True}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration({"auth": "tls_client_auth"}, **CERTIFICATE_BOUND), id="tls_client_auth"
        ),
        pytest.param(PortalRegistration(BASIC, **CERTIFICATE_BOUND), id="client_secret_basic"),
        pytest.param(
            PortalRegistration(
                CLIENT_KEY,
                {"par": True, "id_token_algs": ["PS256"]},
                provider={"fapi": True, "requirePushed": True},
                **CERTIFICATE_BOUND,
            ),
            id="FAPI 2.0 with private_key_jwt",
        ),
        pytest.param(
            PortalRegistration(
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
async def test_tokens_are_bound_to_a_certificate_that_the_portal_presents_to_the_api(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    await registered.full_cycle(browser)
    await registered.sign_in(browser)
    claims = read((await registered.portal.tokens_of(browser, "acme")).access_token.reveal())[1]
    assert isinstance(claims["cnf"], dict)
    assert "x5t#S256" in claims["cnf"]


# The access token is for the provider: no resource is requested, and UserInfo is the API.
USERINFO = {
    "resources": [],
    "scopes": [*IDENTITY_SCOPES],
    "api": {"base_url": "{issuer}"},
    "userinfo": True,
}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(PortalRegistration(BASIC, USERINFO), id="JSON"),
        pytest.param(PortalRegistration(BASIC, {**USERINFO, "userinfo_algs": ["ES256"]}), id="signed"),
        pytest.param(
            PortalRegistration(BASIC, {**USERINFO, "dpop": True}, provider={"dpopNonces": True}), id="bound"
        ),
        pytest.param(
            PortalRegistration({"auth": "tls_client_auth"}, USERINFO, certificate="signed"),
            id="with a certificate",
        ),
    ],
    indirect=True,
)
async def test_claims_of_userinfo_are_shown(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    home = await registered.full_cycle(browser, "/me")
    assert "ada@acme.example" in home.text


@pytest.mark.gen_test
@pytest.mark.shows(NAME, "algorithms")
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(PortalRegistration(BASIC, {"id_token_algs": [alg]}), id=alg)
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
    ],
    indirect=True,
)
async def test_an_id_token_is_signed_with(registered: RegisteredWorld) -> None:
    browser = registered.portal.browser()
    await registered.full_cycle(browser)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [PortalRegistration(BASIC, metadata={"id_token_signed_response_alg": "ES256"})],
    indirect=True,
)
async def test_an_id_token_signed_with_an_algorithm_that_is_not_registered_is_refused(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.status in {400, 502}
    assert await registered.portal.signed_in_at(browser) == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(BASIC, {"id_token_encryption": {"alg": alg, "enc": enc}}), id=f"{alg} {enc}"
        )
        for alg, enc in [
            ("RSA-OAEP", "A128CBC-HS256"),
            ("RSA-OAEP-256", "A256GCM"),
            ("ECDH-ES", "A256CBC-HS512"),
            ("ECDH-ES", "A128GCM"),
        ]
    ],
    indirect=True,
)
async def test_an_encrypted_id_token_is_decrypted(registered: RegisteredWorld) -> None:
    await registered.full_cycle(registered.portal.browser())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(
                BASIC,
                {"request_object": "signed"},  # which publishes the portal's keys to the provider
                metadata={
                    "id_token_encrypted_response_alg": "RSA-OAEP",
                    "id_token_encrypted_response_enc": "A128GCM",
                },
            ),
            id="encrypted, though not requested",
        ),
        pytest.param(
            PortalRegistration(
                BASIC,
                {"id_token_encryption": {"alg": "RSA-OAEP"}},
                metadata={
                    "id_token_encrypted_response_alg": "ECDH-ES",
                    "id_token_encrypted_response_enc": "A128CBC-HS256",
                },
            ),
            id="another algorithm",
        ),
    ],
    indirect=True,
)
async def test_an_id_token_that_is_not_encrypted_as_registered_is_refused(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.status in {400, 502}
    assert await registered.portal.signed_in_at(browser) == []


FAPI = {"par": True, "dpop": True, "id_token_algs": ["PS256"]}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(
                CLIENT_KEY, FAPI, provider={"fapi": True, "dpopNonces": True, "requirePushed": True}
            ),
            id="private_key_jwt",
        ),
        pytest.param(
            PortalRegistration(
                {"auth": "tls_client_auth"},
                FAPI,
                provider={"fapi": True, "dpopNonces": True, "requirePushed": True},
                certificate="signed",
            ),
            id="tls_client_auth",
        ),
        pytest.param(
            PortalRegistration(
                CLIENT_KEY,
                {**FAPI, "request_object": "signed", "response_mode": "jwt", "response_algs": ["PS256"]},
                provider={"fapi": True, "requirePushed": True},
            ),
            id="with signed requests and responses",
        ),
    ],
    indirect=True,
)
async def test_a_login_conforms_to_fapi_2(registered: RegisteredWorld) -> None:
    await registered.full_cycle(registered.portal.browser())
