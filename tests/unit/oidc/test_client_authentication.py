from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from jose import jws

from portal.oidc.client_authentication import credentials
from portal.oidc.client_keys import SIGNING_ALGORITHMS, ClientKeys
from portal.oidc.errors import ClientKeyMissing, TokenRequestRejected
from portal.oidc.jose.algorithms import public_key
from portal.oidc.jose.key_material import KeyUnusable
from portal.oidc.provider import ClientAuth, Endpoints, Provider, ProviderMetadata
from portal.oidc.request_protection import push
from portal.oidc.revocation import revoke
from portal.oidc.signed_client_secret import SecretSigner, load_signing_key
from portal.oidc.token_endpoint import send_form
from portal.secret import Secret
from tests.unit.oidc.party import acme
from tests.unit.oidc.sample_client_keys import make_client_keys, sample_key
from tests.unit.oidc.signing import CLIENT_ID, CLIENT_SECRET, ISSUER, NOW, registration
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import Received, calling, http_response, serving

CERTIFIED = {ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_basic_form_encodes_id_and_secret_before_base64() -> None:
    proof = credentials(registration(client_id="a:b c", client_secret=Secret("p%:+ &ü")))
    name, value = proof.headers[0]
    assert name == "Authorization"
    assert base64.b64decode(value.removeprefix("Basic ")) == b"a%3Ab+c:p%25%3A%2B+%26%C3%BC"
    assert proof.fields == ()


@given(TEXT, TEXT)
def test_any_id_and_secret_can_be_decoded_from_a_basic_header(client_id: str, secret: str) -> None:
    proof = credentials(registration(client_id=client_id, client_secret=Secret(secret)))
    pair = base64.b64decode(proof.headers[0][1].removeprefix("Basic ")).decode()
    assert pair.count(":") == 1
    assert [unquote_plus(part) for part in pair.split(":")] == [client_id, secret]


def test_post_puts_id_and_secret_into_the_form() -> None:
    proof = credentials(registration(client_auth=ClientAuth.CLIENT_SECRET_POST))
    assert (proof.headers, dict(proof.fields)) == (
        (),
        {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    )


def test_a_public_client_sends_only_its_client_id() -> None:
    proof = credentials(registration(client_auth=ClientAuth.NONE))
    assert (proof.headers, dict(proof.fields)) == ((), {"client_id": CLIENT_ID})


@pytest.mark.parametrize("method", [ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST])
def test_a_missing_secret_is_an_error_before_anything_is_sent(method: ClientAuth) -> None:
    with pytest.raises(
        TokenRequestRejected, match=f"^{method.value} needs a client secret, and none is"
    ) as rejection:
        credentials(registration(client_auth=method, client_secret=None))
    assert rejection.value.error == "invalid_client"


@pytest.mark.parametrize("method", ClientAuth)
def test_the_repr_of_credentials_has_no_secret(method: ClientAuth) -> None:
    provider = registration(client_auth=method, client_certificate=issue("acme").of_client)
    proof = credentials(provider, make_client_keys())
    shown = f"{proof!r} {proof}"
    assert CLIENT_SECRET not in shown
    assert not any(value in shown for name, value in proof.fields if name != "client_id")
    assert "BEGIN" not in shown


@pytest.mark.parametrize("method", ClientAuth)
def test_every_secret_part_of_credentials_is_kept_out_of_errors(method: ClientAuth) -> None:
    provider = registration(client_auth=method, client_certificate=issue("acme").of_client)
    proof = credentials(provider, make_client_keys())
    sent = [value.removeprefix("Basic ") for _, value in proof.headers]
    sent += [value for name, value in proof.fields if name not in {"client_id", "client_assertion_type"}]
    assert list(proof.secrets()) == sent


# --- assertions: client_secret_jwt and private_key_jwt

LONG_SECRET = Secret("0123456789abcdef0123456789abcdef")
BY_ASSERTION = (ClientAuth.CLIENT_SECRET_JWT, ClientAuth.PRIVATE_KEY_JWT)


def assertion_of(provider: Provider, keys: ClientKeys | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of the assertion in a provider's credentials; verify its signature."""
    proof = credentials(provider, keys or make_client_keys(), clock=lambda: NOW + 0.75)
    fields = dict(proof.fields)
    assert proof.headers == ()
    assert fields.keys() == {"client_id", "client_assertion_type", "client_assertion"}
    assert fields["client_id"] == provider.client_id
    # RFC 7523 2.2
    assert fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    header = jws.get_unverified_header(fields["client_assertion"])
    if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT:
        key: Any = LONG_SECRET.reveal()
    else:
        members: Any = make_client_keys().public_jwks()["keys"]
        (key,) = [public_key(member, header["alg"]) for member in members if member["kid"] == header["kid"]]
    claims = json.loads(jws.verify(fields["client_assertion"], key, [header["alg"]]))
    return header, claims


def asserting(method: ClientAuth, **changes: Any) -> Provider:
    return registration(client_auth=method, client_secret=LONG_SECRET, **changes)


@pytest.mark.parametrize("method", BY_ASSERTION)
def test_an_assertion_has_issuer_audience_and_a_lifetime_of_at_most_a_minute(method: ClientAuth) -> None:
    provider = asserting(method)
    _, claims = assertion_of(provider)
    assert claims["iss"] == claims["sub"] == provider.client_id
    assert claims["aud"] == provider.issuer
    assert claims["iat"] == int(NOW)
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert claims.keys() == {"iss", "sub", "aud", "jti", "iat", "exp"}


@pytest.mark.parametrize("method", BY_ASSERTION)
def test_every_assertion_has_a_unique_jti(method: ClientAuth) -> None:
    made = [assertion_of(asserting(method))[1]["jti"] for _ in range(50)]
    assert len(set(made)) == 50
    assert min(map(len, made)) >= 22


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_private_key_jwt_is_signed_with_the_algorithm_of_the_tenant_file(alg: str) -> None:
    header, _ = assertion_of(asserting(ClientAuth.PRIVATE_KEY_JWT, client_signing_alg=alg))
    assert header == {"alg": alg, "kid": sample_key(alg).kid, "typ": "JWT"}


def test_client_secret_jwt_is_always_an_hmac_with_the_client_secret() -> None:
    header, _ = assertion_of(asserting(ClientAuth.CLIENT_SECRET_JWT, client_signing_alg="ES256"))
    assert header == {"alg": "HS256", "typ": "JWT"}


def test_private_key_jwt_needs_no_secret_and_sends_none() -> None:
    provider = registration(client_auth=ClientAuth.PRIVATE_KEY_JWT, client_secret=None)
    assert assertion_of(provider)[1]["sub"] == provider.client_id
    secret = "an old secret that is still in the tenant file"
    proof = credentials(replace(provider, client_secret=Secret(secret)), make_client_keys())
    assert secret not in str(proof.fields)


@pytest.mark.parametrize("method", BY_ASSERTION)
def test_parameters_of_a_tenant_file_do_not_change_the_audience_of_an_assertion(method: ClientAuth) -> None:
    other = "https://login.globex.example/"
    provider = asserting(
        method, audience=other, resources=(other,), authorize_params=(("aud", other), ("iss", other))
    )
    assert assertion_of(provider)[1]["aud"] == ISSUER


@pytest.mark.parametrize("endpoint", ["token", "revocation", "pushed_authorization_request"])
@pytest.mark.parametrize(
    "url", ["https://login.evil.example/", "https://login.acme.example:8443/", "http://login.acme.example/"]
)
def test_a_hostile_tenant_gets_no_assertion_for_the_provider_of_another(endpoint: str, url: str) -> None:
    """Its file has the other tenant's issuer and client, and an endpoint of the attacker."""
    provider = asserting(ClientAuth.PRIVATE_KEY_JWT, endpoints=Endpoints(**{endpoint: url}))
    with pytest.raises(TokenRequestRejected, match="is not at the issuer") as rejection:
        credentials(provider, make_client_keys())
    assert rejection.value.error == "invalid_client"
    at_issuer = Endpoints(**{endpoint: "https://LOGIN.acme.example:443/elsewhere"})
    assert assertion_of(replace(provider, endpoints=at_issuer))[1]["aud"] == ISSUER


@pytest.mark.gen_test
@pytest.mark.parametrize("method", BY_ASSERTION)
async def test_the_audience_is_the_configured_issuer_regardless_of_the_metadata(method: ClientAuth) -> None:
    async with acme(client_keys=make_client_keys()) as party:
        elsewhere = party.wire.url("/token", host="localhost")
        party.metadata = {"token_endpoint": elsewhere, "token_endpoint_auth_signing_alg_values_supported": []}
        await party.finish(client_auth=method, client_secret=LONG_SECRET)
        (request,) = [request for request in party.wire.received if request.method == "POST"]
        assert request.header("Host") == f"localhost:{party.wire.port}"
        claims = jws.get_unverified_claims(dict(parse_qsl(request.body.decode()))["client_assertion"])
        assert json.loads(claims)["aud"] == party.wire.url("")


def test_private_key_jwt_without_client_keys_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises(ClientKeyMissing):
        credentials(asserting(ClientAuth.PRIVATE_KEY_JWT))
    with pytest.raises(ClientKeyMissing):
        credentials(asserting(ClientAuth.PRIVATE_KEY_JWT), make_client_keys(sample_key("ES256")))


def test_a_secret_too_short_for_an_hmac_is_an_error_before_anything_is_sent() -> None:
    provider = registration(client_auth=ClientAuth.CLIENT_SECRET_JWT, client_secret=Secret("x" * 31))
    with pytest.raises(TokenRequestRejected) as rejection:
        credentials(provider)
    assert rejection.value.error == "invalid_client"


@pytest.mark.parametrize("method", [ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH])
def test_a_missing_certificate_is_an_error_before_anything_is_sent(method: ClientAuth) -> None:
    with pytest.raises(
        TokenRequestRejected, match=f"^{method.value} needs a client certificate, and none is"
    ) as rejection:
        credentials(registration(client_auth=method))
    assert rejection.value.error == "invalid_client"


@pytest.mark.gen_test
@pytest.mark.parametrize("method", sorted(set(ClientAuth) - CERTIFIED))
async def test_every_endpoint_gets_the_same_kind_of_credentials_and_each_field_once(
    method: ClientAuth,
) -> None:
    provider = asserting(method)
    authenticate_client = partial(credentials, client_keys=make_client_keys())
    response = http_response(200, json.dumps({"request_uri": "urn:x", "expires_in": 60}))
    async with serving(lambda _: response) as wire, calling() as client:
        metadata = ProviderMetadata(
            issuer=provider.issuer,
            authorization_endpoint=wire.url("/authorize"),
            token_endpoint=wire.url("/token"),
            jwks_uri=wire.url("/jwks"),
            revocation_endpoint=wire.url("/revoke"),
            pushed_authorization_request_endpoint=wire.url("/par"),
        )
        url = metadata.token_endpoint
        await send_form(
            client, provider, url, [], token_endpoint=url, secrets=(), authenticate_client=authenticate_client
        )
        await revoke(
            client,
            provider,
            metadata,
            Secret("rt"),
            hint="refresh_token",
            authenticate_client=authenticate_client,
        )
        parameters = [("client_id", provider.client_id), ("state", "s")]
        await push(client, provider, metadata, parameters, authenticate_client=authenticate_client)
    assert wire.targets() == ["/token", "/revoke", "/par"]
    expected = {name for name, _ in authenticate_client(provider, audience=ISSUER).fields}
    for request in wire.received:
        names = [name for name, _ in parse_qsl(request.body.decode(), keep_blank_values=True)]
        assert len(names) == len(set(names))
        assert expected <= set(names)
        assert (request.header("Authorization") is not None) is (method is ClientAuth.CLIENT_SECRET_BASIC)
    assertions = [dict(parse_qsl(request.body.decode())).get("client_assertion") for request in wire.received]
    assert method not in BY_ASSERTION or len(set(assertions)) == 3


@pytest.mark.gen_test
@pytest.mark.parametrize("method", sorted(set(ClientAuth) - CERTIFIED - {ClientAuth.NONE}))
async def test_errors_do_not_contain_the_credentials(method: ClientAuth) -> None:
    provider = asserting(method)

    def script(request: Received) -> bytes:
        sent = request.body.decode() + " " + (request.header("Authorization") or "")
        body = {"error": "invalid_client", "error_description": unquote_plus(sent)}
        return http_response(401, json.dumps(body))

    async with serving(script) as wire, calling() as client:
        authenticate_client, url = partial(credentials, client_keys=make_client_keys()), wire.url("/token")
        with pytest.raises(TokenRequestRejected) as rejection:
            await send_form(
                client,
                provider,
                url,
                [],
                token_endpoint=url,
                secrets=(),
                authenticate_client=authenticate_client,
            )
    sent = dict(parse_qsl(wire.received[0].body.decode()))
    header = wire.received[0].header("Authorization") or ""
    shown = f"{rejection.value} {rejection.value.detail} {rejection.value!r}"
    for secret in (LONG_SECRET.reveal(), sent.get("client_assertion"), header.removeprefix("Basic ")):
        assert not secret or secret not in shown


# --- signed client secrets


def secret_signer() -> tuple[SecretSigner, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return SecretSigner("TEAM123456", "KEY1234567", Secret(pem)), key


def test_a_signed_client_secret_is_valid_for_five_minutes_at_the_issuer() -> None:
    signer, key = secret_signer()
    provider = registration(
        client_secret=None, secret_signer=signer, client_auth=ClientAuth.CLIENT_SECRET_POST
    )
    fields = dict(credentials(provider, clock=lambda: NOW).fields)
    assert fields["client_id"] == CLIENT_ID
    secret = fields["client_secret"]
    assert jws.get_unverified_header(secret) == {"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert json.loads(jws.verify(secret, public, "ES256")) == {
        "iss": "TEAM123456",
        "sub": CLIENT_ID,
        "aud": ISSUER,
        "iat": int(NOW),
        "exp": int(NOW) + 300,
    }


def test_each_request_has_its_own_signed_client_secret() -> None:
    signer, _ = secret_signer()
    provider = registration(
        client_secret=None, secret_signer=signer, client_auth=ClientAuth.CLIENT_SECRET_POST
    )
    first = credentials(provider, clock=lambda: NOW)
    second = credentials(provider, clock=lambda: NOW + 1)
    assert first.secrets() != second.secrets()


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), Ed25519PrivateKey.generate(), None],
    ids=["P-384", "Ed25519", "no key"],
)
def test_only_a_key_on_p256_signs_client_secrets(key: Any) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    if key is not None:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(KeyUnusable):
        load_signing_key(Secret(pem))
