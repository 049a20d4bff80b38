"""Client keys: which are published, which one signs, and that private parts never appear."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from portal.oidc.client_keys import ENCRYPTION_KEYS, PUBLISHED_FIRST, SIGNING_ALGORITHMS
from portal.oidc.errors import ClientKeyMissing
from portal.oidc.jose.algorithms import public_key
from portal.oidc.jose.jws import read_header, verified_claims
from portal.oidc.jose.key_material import RSA_BITS, KeyUnusable, new_private_jwk, private_key
from portal.oidc.keys import parse_key_set
from tests.unit.oidc.sample_client_keys import make_client_keys, sample_jwk, sample_key
from tests.unit.oidc.signing import NOW, b64

PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
CLAIMS = {"iss": "portal", "n": 7, "list": ["ü"]}


def published(keys: Any) -> list[dict[str, Any]]:
    return list(keys.public_jwks()["keys"])


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_what_the_portal_signs_is_verified_with_its_published_key(alg: str) -> None:
    keys = make_client_keys()
    token = keys.sign(CLAIMS, alg=alg, typ="oauth-authz-req+jwt")
    found = parse_key_set(json.dumps(keys.public_jwks()).encode())
    header = json.loads(b64decode(token.partition(".")[0]))
    assert header == {"alg": alg, "kid": sample_key(alg).kid, "typ": "oauth-authz-req+jwt"}
    ((key, _),) = found.candidates(alg, header["kid"])
    assert verified_claims(token, alg, [key]) == CLAIMS
    assert read_header(keys.sign(CLAIMS, alg=alg), {alg}).kid == sample_key(alg).kid


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_a_key_signs_with_one_algorithm_only(alg: str) -> None:
    keys = make_client_keys(sample_key(alg))
    for other in {*SIGNING_ALGORITHMS, "RS512", "none", "HS256"} - {alg}:
        with pytest.raises(ClientKeyMissing):
            keys.sign(CLAIMS, alg=other)


def test_only_public_parts_are_published() -> None:
    members = published(make_client_keys())
    assert {member["kty"] for member in members if member["use"] == "enc"} == set(ENCRYPTION_KEYS)
    for member in members:
        assert PRIVATE_PARTS.isdisjoint(member)
        assert member["use"] in {"sig", "enc"}
        assert (member["alg"] in SIGNING_ALGORITHMS) is (member["use"] == "sig")
    text = json.dumps(members)
    for kind in (*SIGNING_ALGORITHMS, *ENCRYPTION_KEYS):
        assert not any(
            str(sample_jwk(kind)[part]) in text for part in PRIVATE_PARTS & sample_jwk(kind).keys()
        )


@pytest.mark.parametrize("kind", [*SIGNING_ALGORITHMS, *ENCRYPTION_KEYS])
def test_a_kid_is_the_thumbprint_of_its_key(kind: str) -> None:
    names = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
    member = sample_jwk(kind)
    # RFC 7638 3
    text = "{" + ",".join(f'"{name}":"{member[name]}"' for name in names[member["kty"]]) + "}"
    assert sample_key(kind).kid == b64(hashlib.sha256(text.encode()).digest())


def test_rsa_keys_have_2048_bits_or_more() -> None:
    modulus = b64decode(str(new_private_jwk("RS256")["n"]))
    assert int.from_bytes(modulus, "big").bit_length() >= RSA_BITS >= 2048


def test_a_new_key_is_published_before_it_signs() -> None:
    old, new = sample_key("ES256"), sample_key("ES256", which=1, created_at=NOW)
    for time, signer in ((NOW, old), (NOW + PUBLISHED_FIRST - 1, old), (NOW + PUBLISHED_FIRST, new)):
        keys = make_client_keys(new, old, now=time)
        assert [member["kid"] for member in published(keys)] == [new.kid, old.kid]
        assert keys.signing("ES256") is signer


def test_a_first_key_signs_at_once() -> None:
    only = sample_key("ES256", created_at=NOW)
    assert make_client_keys(only).signing("ES256") is only


def test_an_older_key_stays_published_for_verification() -> None:
    keys = make_client_keys(
        sample_key("ES256"), sample_key("ES256", which=1, created_at=NOW - PUBLISHED_FIRST)
    )
    assert keys.signing("ES256").kid == sample_key("ES256", which=1).kid
    assert {member["kid"] for member in published(keys)} == {
        sample_key("ES256").kid,
        sample_key("ES256", which=1).kid,
    }


def test_the_newest_encryption_key_is_published_and_all_decrypt() -> None:
    old, new = sample_key("RSA"), sample_key("RSA", which=1, created_at=NOW)
    keys = make_client_keys(old, new, sample_key("EC"))
    assert [(member["kid"], member["alg"]) for member in published(keys)] == [
        (f"{key.kid}.{alg}", alg)
        for key, algs in [
            (new, ["RSA-OAEP", "RSA-OAEP-256"]),
            (sample_key("EC"), ["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"]),
        ]
        for alg in algs
    ]
    for member in published(keys):
        assert len(keys.decryption_keys(member["kty"], member["kid"])) == 1
    assert keys.decryption_keys("RSA", None) == [new.private, old.private]
    assert keys.decryption_keys("RSA", old.kid) == [old.private]
    assert keys.decryption_keys("EC", old.kid) == []


def test_signing_keys_decrypt_nothing_and_encryption_keys_sign_nothing() -> None:
    assert make_client_keys(sample_key("RS256"), sample_key("ES256")).decryption_keys("RSA", None) == []
    with pytest.raises(ClientKeyMissing):
        make_client_keys(sample_key("RSA"), sample_key("EC")).sign(CLAIMS, alg="RS256")


def test_no_repr_shows_a_private_key() -> None:
    key = sample_key("ES256")
    shown = f"{key!r} {make_client_keys()!r} {key}"
    assert str(sample_jwk("ES256")["d"]) not in shown
    assert "private" not in shown


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_is_read_as_it_was_written(kind: str) -> None:
    alg = kind
    signed = make_client_keys(sample_key(kind)).sign(CLAIMS, alg=alg)
    member = {name: value for name, value in sample_jwk(kind).items() if name not in PRIVATE_PARTS}
    assert verified_claims(signed, alg, [public_key(member, alg)]) == CLAIMS


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        *(("RS256", part) for part in ("n", "e", "d", "p", "q", "dp", "dq", "qi")),
        *(("ES256", part) for part in ("x", "y", "d")),
        *(("EdDSA", part) for part in ("x", "d")),
    ],
)
def test_a_private_key_with_an_inconsistent_or_missing_part_is_rejected(kind: str, part: str) -> None:
    other = sample_jwk(kind, 1)[part] if part != "e" else "AQ"
    for changed in (
        {**sample_jwk(kind), part: other},
        {name: value for name, value in sample_jwk(kind).items() if name != part},
        {**sample_jwk(kind), part: 7},
        {**sample_jwk(kind), part: "é"},
    ):
        with pytest.raises(KeyUnusable) as refusal:
            private_key(changed)
        assert str(sample_jwk(kind)[part]) not in str(refusal.value)


@pytest.mark.parametrize("prime", ["p", "q"])
def test_the_exponent_of_a_private_rsa_key_fits_both_primes(prime: str) -> None:
    # RFC 8017 3.2; a signature with one wrong half would reveal the private key
    member = sample_jwk("RS256")
    d, p, q = (int.from_bytes(b64decode(str(member[part]))) for part in ("d", "p", "q"))
    fitting = p if prime == "q" else q
    d += fitting - 1
    changed = {"d": d, "dp": d % (p - 1), "dq": d % (q - 1)}
    with pytest.raises(KeyUnusable):
        private_key({**member, **{part: b64(value.to_bytes(256)) for part, value in changed.items()}})


@pytest.mark.parametrize(("one", "other"), [("p", "q"), ("q", "p")])
def test_one_is_not_a_prime_of_a_private_rsa_key(one: str, other: str) -> None:
    member = sample_jwk("RS256")
    with pytest.raises(KeyUnusable):
        private_key({**member, one: "AQ", other: member["n"]})


@pytest.mark.parametrize("member", [{}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "crv": "P-384"}])
def test_a_key_of_an_unsupported_type_is_rejected(member: dict[str, Any]) -> None:
    with pytest.raises(KeyUnusable):
        private_key(member)


@pytest.mark.parametrize("alg", ["PS256", "PS384", "PS512"])
def test_a_short_rsa_key_verifies_no_pss_signature(alg: str) -> None:
    # RFC 7518 3.5
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    n = b64(bytes(128) + numbers.n.to_bytes(128))
    with pytest.raises(KeyUnusable):
        public_key({"kty": "RSA", "n": n, "e": "AQAB"}, alg)


def test_padding_of_an_edwards_key_is_ignored() -> None:
    token = make_client_keys(sample_key("EdDSA")).sign(CLAIMS, alg="EdDSA")
    member = {"kty": "OKP", "crv": "Ed25519", "x": f"{sample_jwk('EdDSA')['x']}="}
    assert verified_claims(token, "EdDSA", [public_key(member, "EdDSA")]) == CLAIMS


def test_keys_of_an_unsupported_kind_cannot_be_generated() -> None:
    with pytest.raises(KeyUnusable):
        new_private_jwk("HS256")


def b64decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
