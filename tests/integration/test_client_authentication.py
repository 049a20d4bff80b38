"""Every method of client authentication at npm's certified provider (OIDC Core 9, RFC 7523, RFC 8705).

The provider is told exactly what `portal key show` prints. A story is a login, an API call, a refresh and a
logout with revocation; the portal proves itself at each of them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.certified import NAME
from tests.integration.ways import BASIC, CLIENT_ID, SECRET, Way, WayWorld

WAYS = {
    "client_secret_basic": (Way(BASIC), "header"),
    "client_secret_post": (Way({"auth": "client_secret_post", "secret": SECRET}), "body"),
    "client_secret_jwt": (Way({"auth": "client_secret_jwt", "secret": SECRET}), "HS256"),
    **{
        f"private_key_jwt {alg}": (Way({"auth": "private_key_jwt", "signing_alg": alg}), alg)
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
    },
    **{
        f"private_key_jwt with a key of its own {audience}": (
            Way({"auth": "private_key_jwt", "signing_key": "own", "assertion_audience": audience}),
            "ES256",
        )
        for audience in ("token_endpoint", "endpoint")
    },
    "private_key_jwt with a key of its own EdDSA": (
        Way({"auth": "private_key_jwt", "signing_key": "own", "signing_alg": "EdDSA"}),
        "EdDSA",
    ),
    "private_key_jwt with the key of a certificate": (
        Way({"auth": "private_key_jwt", "signing_key": "certificate"}, certificate="self_signed"),
        "ES256",
    ),
    "client_secret_jwt token_endpoint": (
        Way({"auth": "client_secret_jwt", "secret": SECRET, "assertion_audience": "token_endpoint"}),
        "HS256",
    ),
    "tls_client_auth": (Way({"auth": "tls_client_auth"}, certificate="signed"), "certificate"),
    "self_signed_tls_client_auth": (
        Way({"auth": "self_signed_tls_client_auth"}, certificate="self_signed"),
        "certificate",
    ),
    "none": (Way({"auth": "none"}), "none"),
}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("way", "proof"),
    [
        pytest.param(
            way,
            proof,
            id=name,
            marks=pytest.mark.shows(NAME, "mTLS" if way.certificate else name.partition(" ")[0]),
        )
        for name, (way, proof) in WAYS.items()
    ],
    indirect=["way"],
)
async def test_login_api_call_refresh_and_logout_with(way: WayWorld, proof: str) -> None:
    await way.story(way.portal.browser())
    used = await way.provider.events(client=CLIENT_ID)
    proved = [one for one in used if one["event"] in {"grant.success", "grant.revoked"}]
    assert [one["event"] for one in proved] == ["grant.success"] * 2 + ["grant.revoked"]
    assert [one["proof"] for one in proved] == [proof] * 3


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("way", "proof"),
    [
        pytest.param(replace(chosen, file={"par": True}), proof, id=name)
        for name, (chosen, proof) in WAYS.items()
    ],
    indirect=["way"],
)
async def test_a_request_is_pushed_with(way: WayWorld, proof: str) -> None:
    await way.sign_in(way.portal.browser())
    (pushed,) = await way.provider.events("pushed_authorization_request.success")
    assert (pushed["client"], pushed["proof"]) == (CLIENT_ID, proof)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            Way(BASIC, told={"token_endpoint_auth_method": "client_secret_jwt"}),
            id="a method that is not registered",
        ),
        pytest.param(
            replace(WAYS["private_key_jwt RS256"][0], told={"token_endpoint_auth_signing_alg": "PS256"}),
            id="an algorithm that is not registered",
        ),
        pytest.param(
            replace(
                WAYS["private_key_jwt with a key of its own EdDSA"][0],
                told={"jwks_uri": "{portal}/.well-known/jwks.json"},
            ),
            id="the keys that all registrations share",
        ),
        pytest.param(
            replace(WAYS["tls_client_auth"][0], told={"tls_client_auth_subject_dn": "CN=another.example"}),
            id="a certificate of another name",
        ),
        pytest.param(
            replace(WAYS["tls_client_auth"][0], certificate="self_signed"), id="a certificate of no authority"
        ),
    ],
    indirect=True,
)
async def test_a_provider_that_does_not_accept_the_portal_is_said_so_and_nobody_is_signed_in(
    way: WayWorld,
) -> None:
    browser = way.portal.browser()
    page = await way.let_in(browser, await way.portal.begin(browser, "acme"))
    assert page.status == 502
    assert "did not accept the portal" in page.text
    (refusal,) = await way.provider.events("grant.error")
    assert refusal["error"] == "invalid_client"
    assert await way.portal.signed_in_at(browser) == []
