"""All client authentication methods with `oidc-provider` (OIDC Core 9, RFC 7523, RFC 8705).

The client metadata are the output of `portal key show`. Each test signs in, calls the API, refreshes, and
signs out with revocation; the portal authenticates each time.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.certified import NAME
from tests.integration.registrations import BASIC, CLIENT_ID, SECRET, PortalRegistration, RegisteredWorld

REGISTRATIONS = {
    "client_secret_basic": (PortalRegistration(BASIC), "header"),
    "client_secret_post": (PortalRegistration({"auth": "client_secret_post", "secret": SECRET}), "body"),
    "client_secret_jwt": (PortalRegistration({"auth": "client_secret_jwt", "secret": SECRET}), "HS256"),
    **{
        f"private_key_jwt {alg}": (PortalRegistration({"auth": "private_key_jwt", "signing_alg": alg}), alg)
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
    },
    **{
        f"private_key_jwt with an own key {audience}": (
            PortalRegistration(
                {"auth": "private_key_jwt", "signing_key": "own", "assertion_audience": audience}
            ),
            "ES256",
        )
        for audience in ("token_endpoint", "endpoint")
    },
    "private_key_jwt with an own key EdDSA": (
        PortalRegistration({"auth": "private_key_jwt", "signing_key": "own", "signing_alg": "EdDSA"}),
        "EdDSA",
    ),
    "private_key_jwt with the key of a certificate": (
        PortalRegistration(
            {"auth": "private_key_jwt", "signing_key": "certificate"}, certificate="self_signed"
        ),
        "ES256",
    ),
    "client_secret_jwt token_endpoint": (
        PortalRegistration(
            {"auth": "client_secret_jwt", "secret": SECRET, "assertion_audience": "token_endpoint"}
        ),
        "HS256",
    ),
    "tls_client_auth": (PortalRegistration({"auth": "tls_client_auth"}, certificate="signed"), "certificate"),
    "self_signed_tls_client_auth": (
        PortalRegistration({"auth": "self_signed_tls_client_auth"}, certificate="self_signed"),
        "certificate",
    ),
    "none": (PortalRegistration({"auth": "none"}), "none"),
}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("registered", "proof"),
    [
        pytest.param(
            registration,
            proof,
            id=name,
            marks=pytest.mark.shows(NAME, "mTLS" if registration.certificate else name.partition(" ")[0]),
        )
        for name, (registration, proof) in REGISTRATIONS.items()
    ],
    indirect=["registered"],
)
async def test_login_api_call_refresh_and_logout_with(registered: RegisteredWorld, proof: str) -> None:
    await registered.full_cycle(registered.portal.browser())
    used = await registered.provider.events(client=CLIENT_ID)
    authenticated = [one for one in used if one["event"] in {"grant.success", "grant.revoked"}]
    assert [one["event"] for one in authenticated] == ["grant.success"] * 2 + ["grant.revoked"]
    assert [one["proof"] for one in authenticated] == [proof] * 3


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("registered", "proof"),
    [
        pytest.param(replace(chosen, file={"par": True}), proof, id=name)
        for name, (chosen, proof) in REGISTRATIONS.items()
    ],
    indirect=["registered"],
)
async def test_a_request_is_pushed_with(registered: RegisteredWorld, proof: str) -> None:
    await registered.sign_in(registered.portal.browser())
    (pushed,) = await registered.provider.events("pushed_authorization_request.success")
    assert (pushed["client"], pushed["proof"]) == (CLIENT_ID, proof)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(
            PortalRegistration(BASIC, metadata={"token_endpoint_auth_method": "client_secret_jwt"}),
            id="a method that is not registered",
        ),
        pytest.param(
            replace(
                REGISTRATIONS["private_key_jwt RS256"][0],
                metadata={"token_endpoint_auth_signing_alg": "PS256"},
            ),
            id="an algorithm that is not registered",
        ),
        pytest.param(
            replace(
                REGISTRATIONS["private_key_jwt with an own key EdDSA"][0],
                metadata={"jwks_uri": "{portal}/.well-known/jwks.json"},
            ),
            id="the keys that all registrations share",
        ),
        pytest.param(
            replace(
                REGISTRATIONS["tls_client_auth"][0],
                metadata={"tls_client_auth_subject_dn": "CN=another.example"},
            ),
            id="a certificate of another name",
        ),
        pytest.param(
            replace(REGISTRATIONS["tls_client_auth"][0], certificate="self_signed"),
            id="a certificate of no authority",
        ),
    ],
    indirect=True,
)
async def test_a_rejected_client_authentication_is_reported_and_no_login_is_created(
    registered: RegisteredWorld,
) -> None:
    browser = registered.portal.browser()
    page = await registered.complete_sign_in(browser, await registered.portal.begin(browser, "acme"))
    assert page.status == 502
    assert "did not accept the portal" in page.text
    (refusal,) = await registered.provider.events("grant.error")
    assert refusal["error"] == "invalid_client"
    assert await registered.portal.signed_in_at(browser) == []
