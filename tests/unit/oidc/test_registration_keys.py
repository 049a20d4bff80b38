"""Each provider registration has its own signing key: a signature for one is invalid for another."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jws
from jose.exceptions import JWSError

from portal.oidc import certificate_key
from portal.oidc.client_authentication import assertion_audience, credentials
from portal.oidc.client_keys import (
    PUBLISHED_FIRST,
    ClientKey,
    ClientKeys,
    ClientKeySet,
    registration_key,
)
from portal.oidc.jose.algorithms import public_key
from portal.oidc.jose.key_material import KeyUnusable, derived_key, private_key, public_members
from portal.oidc.provider import (
    REGISTRATION_ALGORITHMS,
    AssertionAudience,
    ClientAuth,
    Endpoints,
    Provider,
    ProviderMetadata,
)
from portal.oidc.provider_signature import sign_for
from portal.oidc.request_protection import TYPE, push, request_claims
from portal.oidc.revocation import revoke
from portal.oidc.token_endpoint import send_form
from portal.secret import Secret
from portal.web.registration import client_key_set
from tests.kit.rsa_keys import rsa_key
from tests.unit.oidc.sample_client_keys import make_client_keys, sample_jwk, sample_key
from tests.unit.oidc.signing import NOW, registration
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import calling, http_response, serving

CLAIMS = {"iss": "portal", "aud": "https://login.acme.example"}
PARENTS = {
    "ES256": {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    },
    "EdDSA": {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    },
}
"""Keys of RFC 7515 A.3 and RFC 8037 A.1."""
DERIVED = {
    "ES256": "stgMXdbnSrbrmgc-3g2158zsBJE0Pq2qxgjH-GeDFvs",
    "EdDSA": "nobhUMY1S6sabpLHJsBxWVtE7FkL9jFr-EnDxdT1j2g",
}
"""The keys derived from them. They must never change: providers have registered the public parts."""


def owning(tenant: str = "acme", **changes: Any) -> Provider:
    """Return a registration with its own signing key."""
    values = {"client_auth": ClientAuth.PRIVATE_KEY_JWT, "client_key": True, "client_signing_alg": "ES256"}
    return registration(tenant=tenant, **{**values, **changes})


def verified_by(token: str, members: Any) -> dict[str, Any] | None:
    """Return the claims of a token if one of these public JWKs, with any `kid`, verifies it."""
    alg = jws.get_unverified_header(token)["alg"]
    for member in members:
        if member.get("alg") == alg:
            try:
                return dict(json.loads(jws.verify(token, public_key(member, alg), [alg])))
            except JWSError:
                continue
    return None


def assertion_of(provider: Provider, keys: ClientKeys, **options: Any) -> str:
    return dict(credentials(provider, keys, clock=lambda: NOW, **options).fields)["client_assertion"]


@pytest.mark.parametrize("alg", REGISTRATION_ALGORITHMS)
def test_derived_keys_never_change(alg: str) -> None:
    key = derived_key(private_key(PARENTS[alg]), "acme/default")
    assert public_members(key)["x"] == DERIVED[alg]


def test_no_key_is_derived_from_an_rsa_key() -> None:
    with pytest.raises(KeyUnusable, match="RSA"):
        registration_key(sample_key("RS256"), "acme/default")


@pytest.mark.parametrize("alg", REGISTRATION_ALGORITHMS)
def test_processes_with_the_same_key_ring_derive_the_same_key_per_registration(
    alg: str,
) -> None:
    names = ["acme/default", "acme/staff", "globex/default", "acme/defaul", "acm/edefault"]
    one, other = make_client_keys(sample_key(alg)), make_client_keys(sample_key(alg))
    kids = {name: one.public_registration_keys(name, alg)[0]["kid"] for name in names}
    assert kids == {name: other.public_registration_keys(name, alg)[0]["kid"] for name in names}
    assert len({sample_key(alg).kid, *kids.values()}) == len(names) + 1
    assert (
        make_client_keys(sample_key(alg, 1)).public_registration_keys(names[0], alg)[0]["kid"]
        not in kids.values()
    )


@pytest.mark.parametrize("alg", REGISTRATION_ALGORITHMS)
def test_a_signature_of_a_registration_is_verified_only_by_its_published_key(alg: str) -> None:
    keys = make_client_keys()
    token = keys.sign(CLAIMS, alg=alg, registration="acme/default")
    (published,) = keys.public_registration_keys("acme/default", alg)
    assert jws.get_unverified_header(token) == {"alg": alg, "kid": published["kid"], "typ": "JWT"}
    assert verified_by(token, [published]) == CLAIMS
    assert verified_by(token, keys.public_registration_keys("globex/default", alg)) is None
    assert verified_by(token, keys.public_jwks()["keys"]) is None
    assert verified_by(keys.sign(CLAIMS, alg=alg), [published]) is None


def test_keys_are_derived_once_for_each_key_of_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may request the published keys repeatedly."""
    derived: list[str] = []

    def noted(parent: ClientKey, name: str) -> ClientKey:
        derived.append(name)
        return registration_key(parent, name)

    monkeypatch.setattr("portal.oidc.client_keys.registration_key", noted)
    keys = make_client_keys(sample_key("ES256"), sample_key("ES256", 1))
    providers = [owning(id=f"provider-{number}") for number in range(20)]
    published = client_key_set(keys, providers)
    token = keys.sign(CLAIMS, alg="ES256", registration=providers[0].key)
    assert client_key_set(keys, providers) == published
    assert verified_by(token, published["keys"]) == CLAIMS
    assert sorted(derived) == sorted(provider.key for provider in providers * 2)


def test_D5_the_keys_of_a_tenant_with_many_registrations_evict_none_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portal.oidc.client_keys._MAX_DERIVED_BYTES", 34_000)  # of 10 keys
    keys = make_client_keys(sample_key("ES256"))
    (held,) = keys.public_registration_keys("globex/default", "ES256")
    for number in range(20):
        keys.public_registration_keys(f"acme/provider-{number}", "ES256")
    assert keys.public_registration_keys("globex/default", "ES256")[0] is held


def test_only_public_parts_are_published() -> None:
    for alg in REGISTRATION_ALGORITHMS:
        (member,) = make_client_keys().public_registration_keys("acme/default", alg)
        assert member.keys() <= {"kid", "use", "alg", "kty", "crv", "x", "y"}
        assert sample_jwk(alg)["d"] not in str(member)


def test_a_new_key_is_published_before_it_signs_and_the_older_one_stays_published() -> None:
    clock = [NOW]
    keys = ClientKeySet([sample_key("ES256"), sample_key("ES256", 1, created_at=NOW)], clock=lambda: clock[0])
    new, old = (key["kid"] for key in keys.public_registration_keys("acme/default", "ES256"))

    def signs() -> str:
        token = keys.sign(CLAIMS, alg="ES256", registration="acme/default")
        return str(jws.get_unverified_header(token)["kid"])

    assert signs() == old
    clock[0] += PUBLISHED_FIRST
    assert signs() == new != old


# --- a hostile tenant


@pytest.mark.parametrize(
    "endpoints",
    [Endpoints(), Endpoints(token="https://login.evil.example/token")],
    ids=["the provider's endpoints", "a token endpoint of the attacker"],
)
def test_a_tenant_with_the_issuer_and_client_of_another_gets_nothing_valid_there(
    endpoints: Endpoints,
) -> None:
    keys = make_client_keys()
    victim = owning("victim")
    known_there = keys.public_registration_keys(victim.key, "ES256")
    assert verified_by(assertion_of(victim, keys), known_there) is not None
    for evil in (
        owning("evil", endpoints=endpoints),
        owning("evil", endpoints=endpoints, assertion_audience=AssertionAudience.TOKEN_ENDPOINT),
        owning("evil", endpoints=endpoints, id="victim/default"),
    ):
        assert (evil.issuer, evil.client_id) == (victim.issuer, victim.client_id)
        for audience in (victim.issuer, "https://login.acme.example/token"):
            assert verified_by(assertion_of(evil, keys, audience=audience), known_there) is None
    shared = registration(tenant="evil", client_auth=ClientAuth.PRIVATE_KEY_JWT, client_signing_alg="ES256")
    assert verified_by(assertion_of(shared, keys), known_there) is None


def test_a_hostile_tenant_cannot_sign_a_request_for_the_victim() -> None:
    keys = make_client_keys()
    victim, evil = (owning(name, signed_request=True) for name in ("victim", "evil"))
    requested = request_claims(victim, [("client_id", victim.client_id)], now=NOW)
    known_there = keys.public_registration_keys(victim.key, "ES256")
    claims = verified_by(sign_for(victim, requested, keys, typ=TYPE), known_there)
    assert claims is not None
    assert (claims["client_id"], claims["aud"]) == (victim.client_id, victim.issuer)
    assert verified_by(sign_for(evil, requested, keys, typ=TYPE), known_there) is None


def test_a_registration_key_signs_for_configured_endpoints_with_another_origin() -> None:
    provider = owning(endpoints=Endpoints(token="https://tokens.acme.example/"))
    assert assertion_of(provider, make_client_keys())


# --- the audience


@pytest.mark.gen_test
@pytest.mark.parametrize("method", [ClientAuth.PRIVATE_KEY_JWT, ClientAuth.CLIENT_SECRET_JWT])
@pytest.mark.parametrize(
    ("named", "audiences"),
    [
        (AssertionAudience.ISSUER, ["issuer", "issuer", "issuer"]),
        (AssertionAudience.TOKEN_ENDPOINT, ["/token", "/token", "/token"]),
        (AssertionAudience.ENDPOINT, ["/token", "/revoke", "/par"]),
    ],
)
async def test_the_audience_at_each_endpoint(
    method: ClientAuth, named: AssertionAudience, audiences: list[str]
) -> None:
    secret = Secret("0123456789abcdef0123456789abcdef")
    provider = owning(client_auth=method, assertion_audience=named, client_secret=secret)
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
        token = metadata.token_endpoint
        await send_form(
            client,
            provider,
            token,
            [],
            token_endpoint=token,
            secrets=(),
            authenticate_client=authenticate_client,
        )
        await revoke(
            client,
            provider,
            metadata,
            Secret("rt"),
            hint="refresh_token",
            authenticate_client=authenticate_client,
        )
        await push(
            client,
            provider,
            metadata,
            [("client_id", provider.client_id)],
            authenticate_client=authenticate_client,
        )
        expected = [provider.issuer if name == "issuer" else wire.url(name) for name in audiences]
    assert [_audience(request.body) for request in wire.received] == expected


def _audience(body: bytes) -> object:
    assertion = dict(parse_qsl(body.decode()))["client_assertion"]
    return json.loads(jws.get_unverified_claims(assertion))["aud"]


def test_an_assertion_is_sent_only_to_the_server_of_its_audience() -> None:
    """Metadata may contain the token endpoint of another provider and a PAR endpoint of the attacker."""
    provider = owning(assertion_audience=AssertionAudience.TOKEN_ENDPOINT)
    victims = "https://login.victim.example/token"
    for url in ("https://login.evil.example/par", "http://login.victim.example/par"):
        assert assertion_audience(provider, url, victims) == url
    assert assertion_audience(provider, "https://login.victim.example/par", victims) == victims


# --- the key of an uploaded certificate


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_the_key_of_a_certificate_signs_and_the_certificate_is_identified_and_published(alg: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if alg == "ES256" else rsa_key(0)
    held = issue("portal", key=key).of_client
    provider = owning(client_signing_alg=alg, signing_certificate=held)
    token = assertion_of(provider, make_client_keys(), audience="https://login.acme.example/token")
    named = {"alg": alg, "typ": "JWT", "kid": held.thumbprint, "x5t#S256": held.thumbprint}
    assert jws.get_unverified_header(token) == named
    published = client_key_set(make_client_keys(), [provider])["keys"]
    assert isinstance(published, list)
    (member,) = published
    assert (member["kid"], member["x5t#S256"], member["use"]) == (held.thumbprint, held.thumbprint, "sig")
    assert {"d", "p", "q"}.isdisjoint(member)
    claims = verified_by(token, published)
    assert claims is not None
    assert claims["aud"] == "https://login.acme.example/token"


def test_the_key_of_a_certificate_is_not_validated_at_each_signature() -> None:
    """That takes 60 ms of the event loop. This key has a wrong exponent, which only a validation notices."""
    issued = issue("portal", key=rsa_key(0))
    numbers = rsa_key(0).private_numbers()
    parts = (numbers.p, numbers.q, numbers.d, numbers.dmp1 + 2, numbers.dmq1, numbers.iqmp)
    wrong = rsa.RSAPrivateNumbers(*parts, numbers.public_numbers)
    key = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    held = replace(issued, key=key).of_client
    assert certificate_key.algorithms(held) == ("PS256", "RS256")
