"""THREATS L3 and L4: PKCE, nonce, and every known way to forge an ID token."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from portal.oidc.authorization import code_challenge
from portal.oidc.errors import IdTokenRejected, TokenRequestRejected
from portal.oidc.id_token import LoginExpectations, validate_at_login
from portal.oidc.keys import KeySet, parse_key_set
from portal.oidc.provider import Provider, ProviderMetadata
from portal.secret import Secret
from tests.kit.authorization import build_request
from tests.unit.oidc.party import acme
from tests.unit.oidc.signing import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    CODE,
    NONCE,
    NOW,
    b64,
    key_set,
    login_claims,
    private_key,
    public_jwk,
    registration,
    signed,
)
from tests.unit.outbound.wire import http_response

METADATA = ProviderMetadata(
    "https://login.acme.example/", "https://a.example/auth", "https://a.example/t", "x"
)


def rule_of(
    token: Secret,
    *,
    provider: Provider | None = None,
    keys: KeySet | None = None,
    nonce: str = NONCE,
) -> str | None:
    """The name of the rule that rejects a token at login; None when it is accepted."""
    expected = LoginExpectations(nonce=nonce, code=CODE, access_token=ACCESS_TOKEN)
    try:
        validate_at_login(token, provider or registration(), keys or key_set(), expected, now=NOW)
    except IdTokenRejected as error:
        return error.rule
    return None


def test_the_unmodified_token_is_accepted() -> None:
    assert rule_of(signed(login_claims())) is None


# --- L3


def test_L3_pkce_is_sent_with_s256_and_cannot_be_downgraded_by_a_tenant_file() -> None:
    options = (("code_challenge_method", "plain"), ("code_challenge", "x"), ("code_verifier", "x"))
    request = build_request(
        registration(authorize_params=options),
        METADATA,
        redirect_uri="https://portal.example/t/acme/callback",
    )
    assert request.url.count("code_challenge=") == 1
    assert f"code_challenge={code_challenge(request.code_verifier.reveal())}" in request.url
    assert "code_challenge_method=S256" in request.url
    assert "plain" not in request.url
    assert "code_verifier" not in request.url


def test_L3_a_missing_nonce_is_rejected() -> None:
    assert rule_of(signed(login_claims(nonce=None))) == "nonce"


@pytest.mark.parametrize("nonce", ["nonce-of-another-attempt", "", NONCE + "x", 1, [NONCE]])
def test_L3_a_nonce_of_another_attempt_is_rejected(nonce: object) -> None:
    assert rule_of(signed(login_claims(nonce=nonce))) == "nonce"


@pytest.mark.gen_test
async def test_L3_a_code_verifier_that_the_provider_refuses_fails_the_login() -> None:
    refusal = http_response(
        400, '{"error": "invalid_grant", "error_description": "PKCE verification failed"}'
    )
    async with acme(failing={"/token": refusal}) as party:
        with pytest.raises(TokenRequestRejected) as rejection:
            await party.finish()
        assert rejection.value.error == "invalid_grant"
        assert party.calls("/token") == 1


# --- L4: the header


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
def test_L4_alg_none_is_rejected(alg: str) -> None:
    header = json.dumps({"alg": alg, "kid": "key-1"}).encode()
    token = Secret(f"{b64(header)}.{b64(json.dumps(login_claims()).encode())}.")
    assert rule_of(token) == "alg"
    listed = registration(id_token_algs=("none", alg, "RS256"))
    assert rule_of(token, provider=listed) == "alg"


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n"])
@pytest.mark.parametrize("listed", [("RS256",), ("RS256", "HS256")])
def test_L4_hs256_with_the_rsa_public_key_is_rejected(form: str, listed: tuple[str, ...]) -> None:
    public, member = private_key("RSA").public_key(), public_jwk()
    secrets = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(member).encode(),
        "n": member["n"].encode(),
    }
    token = signed(login_claims(), alg="HS256", secret=secrets[form])
    expected = "signature" if "HS256" in listed else "alg"
    assert rule_of(token, provider=registration(id_token_algs=listed)) == expected


def test_L4_hs256_is_not_verified_with_a_client_secret_that_is_a_public_key() -> None:
    pem = private_key("RSA").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    provider = registration(id_token_algs=("HS256",), client_secret=Secret(pem.decode()))
    assert rule_of(signed(login_claims(), alg="HS256", secret=pem), provider=provider) == "key"


def test_L4_hs256_is_rejected_for_a_client_without_a_secret() -> None:
    provider = registration(id_token_algs=("RS256", "HS256"), client_secret=None)
    assert rule_of(signed(login_claims(), alg="HS256", secret=b""), provider=provider) == "alg"


def test_L4_hs256_with_the_client_secret_is_rejected_unless_registered() -> None:
    token = signed(login_claims(), alg="HS256", secret=CLIENT_SECRET.encode())
    assert rule_of(token) == "alg"
    assert rule_of(token, provider=registration(id_token_algs=("HS256",))) is None


def test_L4_a_symmetric_key_in_the_key_set_is_never_used() -> None:
    symmetric = {"kty": "oct", "k": b64(b"publicly known"), "kid": "key-1", "alg": "HS256"}
    keys = parse_key_set(json.dumps({"keys": [symmetric]}).encode())
    token = signed(login_claims(), alg="HS256", secret=b"publicly known")
    assert rule_of(token, keys=keys, provider=registration(id_token_algs=("RS256", "HS256"))) == "signature"


def test_L4_an_unregistered_algorithm_is_rejected_even_if_a_key_fits() -> None:
    assert rule_of(signed(login_claims(), alg="RS512")) == "alg"
    assert rule_of(signed(login_claims(), alg="PS256")) == "alg"


def test_L4_an_algorithm_for_another_key_type_is_rejected() -> None:
    keys = key_set(public_jwk("P-256"))
    provider = registration(id_token_algs=("RS256", "ES256"))
    assert rule_of(signed(login_claims()), keys=keys, provider=provider) == "kid_unknown"


@pytest.mark.parametrize(
    "kid",
    [
        "key-2",
        "",
        "../../../../dev/null",
        "https://evil.example/keys.json",
        "key-1\x00",
        "' OR 1=1 --",
        "KEY-1",
    ],
)
def test_L4_an_unknown_kid_of_any_form_is_rejected(kid: str) -> None:
    assert rule_of(signed(login_claims(), kid=kid)) == "kid_unknown"


@pytest.mark.parametrize("kid", [1, None, ["key-1"], {"kid": "key-1"}, True, "k" * 1025])
def test_L4_a_kid_that_is_not_a_string_is_rejected(kid: object) -> None:
    header = json.dumps({"alg": "RS256", "kid": kid}).encode()
    expected = None if kid is None else "kid"  # null counts as absent: the only key fits
    assert rule_of(signed(login_claims(), header=header)) == expected


def test_L4_a_missing_kid_is_rejected_when_several_keys_fit() -> None:
    keys = key_set(public_jwk(), public_jwk(kid="key-2", which=1))
    assert rule_of(signed(login_claims(), kid=None), keys=keys) == "kid_missing"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_L4_keys_in_the_header_of_the_token_are_ignored(name: str) -> None:
    attacker = public_jwk(kid="attacker", which=7)
    value: dict[str, Any] = {
        "jku": "https://evil.example/keys.json",
        "x5u": "https://evil.example/cert.pem",
        "jwk": attacker,
        "x5c": [base64.b64encode(b"certificate").decode()],
    }
    own_kid = signed(login_claims(), which=7, kid="attacker", header={name: value[name]})
    assert rule_of(own_kid) == "kid_unknown"
    known_kid = signed(login_claims(), which=7, header={name: value[name]})
    assert rule_of(known_kid) == "signature"
    harmless = signed(login_claims(), header={name: value[name]})
    assert rule_of(harmless) is None


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "b64", None])
def test_L4_a_critical_extension_is_rejected(crit: object) -> None:
    assert rule_of(signed(login_claims(), header={"crit": crit, "b64": False})) == "crit"


@pytest.mark.parametrize(
    "typ", ["at+jwt", "application/at+jwt", "logout+jwt", "LOGOUT+JWT", "secevent+jwt", 1]
)
def test_L4_a_token_of_another_type_is_rejected(typ: object) -> None:
    assert rule_of(signed(login_claims(), header={"typ": typ})) == "typ"


# --- L4: the serialization


def test_L4_a_compressed_jwe_is_rejected_before_decompression() -> None:
    bomb = b64(zlib.compress(b"0" * 10_000_000, 9)[2:-4])
    header = b64(json.dumps({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}).encode())
    assert len(bomb) < 60_000
    assert rule_of(Secret(f"{header}..aaaa.{bomb}.aaaa")) == "encrypted"


def test_L4_a_compressed_signed_token_is_rejected() -> None:
    payload = zlib.compress(json.dumps(login_claims()).encode())
    assert rule_of(signed(payload, header={"zip": "DEF"})) == "zip"


def test_L4_a_token_of_more_than_64_kilobytes_is_rejected() -> None:
    assert rule_of(signed(login_claims(padding="x" * 65_536))) == "size"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e.f",
        "é.é.é",
        "a b.c.d",
        "eyJ9=.e30=.x=",
        "e30.e30.e30\n",
        "\x00.\x00.\x00",
    ],
)
def test_L4_a_malformed_compact_token_is_rejected(text: str) -> None:
    assert rule_of(Secret(text)) in {"form", "header", "alg", "encrypted"}


@pytest.mark.parametrize("position", range(3))
def test_L4_a_changed_part_is_rejected(position: int) -> None:
    parts = signed(login_claims()).reveal().split(".")
    others = signed(login_claims(sub="another user")).reveal().split(".")
    if position == 0:
        parts[0] = b64(json.dumps({"kid": "key-1", "alg": "RS256", "x": 1}).encode())
    else:
        parts[position] = others[position]
    assert rule_of(Secret(".".join(parts))) == "signature"


def test_L4_a_stripped_signature_is_rejected() -> None:
    assert rule_of(Secret(signed(login_claims()).reveal().rpartition(".")[0] + ".")) == "signature"


def test_L4_duplicate_claims_are_rejected() -> None:
    text = json.dumps(login_claims())
    twice = text.removesuffix("}") + ', "sub": "another user"}'
    assert rule_of(signed(twice.encode())) == "duplicate_member"
    nested = text.removesuffix("}") + ', "address": {"a": 1, "a": 2}}'
    assert rule_of(signed(nested.encode())) == "duplicate_member"


def test_L4_a_duplicate_header_member_is_rejected() -> None:
    assert rule_of(signed(login_claims(), header=b'{"alg": "RS256", "alg": "none"}')) == "duplicate_member"


@pytest.mark.parametrize("padding", ["", "a" * 600])
def test_L4_a_header_that_begins_with_a_byte_order_mark_is_rejected(padding: str) -> None:
    header = json.dumps({"alg": "RS256", "x": padding}).encode()
    assert rule_of(signed(login_claims(), header=header)) is None
    assert rule_of(signed(login_claims(), header=b"\xef\xbb\xbf" + header)) == "header"


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b"{",
        b"\xff",
        b'{"exp": NaN}',
        b'{"sub": "\\ud800"}',
        b'{"a":' * 5_000,
    ],
)
def test_L4_claims_that_are_not_a_json_object_are_rejected(payload: bytes) -> None:
    assert rule_of(signed(payload)) == "claims"


# --- L4: the claims


@pytest.mark.parametrize(
    "iss",
    [
        None,
        "",
        "https://login.acme.example",
        "https://LOGIN.acme.example/",
        "https://login.other.example/",
        ["https://login.acme.example/"],
        "https://login.acme.example//",
    ],
)
def test_L4_a_wrong_issuer_is_rejected(iss: object) -> None:
    assert rule_of(signed(login_claims(iss=iss))) == "iss"


@pytest.mark.parametrize(
    "aud", [None, "", "another-client", [], ["another-client"], [1], [CLIENT_ID, 1], {"a": CLIENT_ID}, 1]
)
def test_L4_a_wrong_audience_is_rejected(aud: object) -> None:
    assert rule_of(signed(login_claims(aud=aud))) == "aud"


def test_L4_an_audience_list_with_unknown_audiences_is_rejected() -> None:
    token = signed(login_claims(aud=[CLIENT_ID, "unknown"], azp=CLIENT_ID))
    assert rule_of(token) == "aud_unknown"


def test_L4_several_audiences_need_the_client_as_authorized_party() -> None:
    provider = registration(audience="https://api.acme.example")
    several = [CLIENT_ID, "https://api.acme.example"]
    assert rule_of(signed(login_claims(aud=several)), provider=provider) == "azp_missing"
    assert rule_of(signed(login_claims(aud=several, azp=CLIENT_ID)), provider=provider) is None


@pytest.mark.parametrize("azp", ["another-client", "", 1, [CLIENT_ID]])
def test_L4_a_wrong_authorized_party_is_rejected(azp: object) -> None:
    assert rule_of(signed(login_claims(azp=azp))) == "azp"


@pytest.mark.parametrize("sub", [None, "", "x" * 2049, "ünicode", 1, ["user-1"], True, "a\x00b", "a\nb"])
def test_L4_a_missing_or_odd_subject_is_rejected(sub: object) -> None:
    assert rule_of(signed(login_claims(sub=sub))) == "sub"


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_L4_missing_times_are_rejected(name: str) -> None:
    assert rule_of(signed(login_claims(**{name: None}))) == name


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize("value", [str(int(NOW)), True, [NOW], {}, -1, NOW * 1000, 10**400, "", "soon"])
def test_L4_times_that_are_not_in_seconds_are_rejected(name: str, value: object) -> None:
    assert rule_of(signed(login_claims(**{name: value}))) == name


def test_L4_an_infinite_time_is_rejected() -> None:
    text = json.dumps(login_claims(exp=0)).replace('"exp": 0', '"exp": 1e999')
    assert rule_of(signed(text.encode())) == "exp"


def test_L4_an_expired_token_is_rejected() -> None:
    assert rule_of(signed(login_claims(exp=NOW - 60))) == "exp"
    assert rule_of(signed(login_claims(exp=NOW - 59))) is None


def test_L4_a_token_from_the_future_is_rejected() -> None:
    assert rule_of(signed(login_claims(iat=NOW + 61))) == "iat_future"
    assert rule_of(signed(login_claims(iat=NOW + 60))) is None
    assert rule_of(signed(login_claims(nbf=NOW + 61))) == "nbf"
    assert rule_of(signed(login_claims(nbf=NOW + 60))) is None


def test_L4_a_token_issued_more_than_ten_minutes_ago_is_rejected_at_login() -> None:
    assert rule_of(signed(login_claims(iat=NOW - 601))) == "iat_too_old"
    assert rule_of(signed(login_claims(iat=NOW - 600))) is None


def test_L4_each_attack_has_its_own_rule_and_message() -> None:
    attacks = {
        "alg": signed(login_claims(), alg="none"),
        "kid_unknown": signed(login_claims(), kid="other"),
        "signature": signed(login_claims(), which=1),
        "iss": signed(login_claims(iss="https://other.example/")),
        "aud": signed(login_claims(aud="other")),
        "aud_unknown": signed(login_claims(aud=[CLIENT_ID, "other"])),
        "azp": signed(login_claims(azp="other")),
        "sub": signed(login_claims(sub=None)),
        "exp": signed(login_claims(exp=1)),
        "iat_future": signed(login_claims(iat=NOW + 999)),
        "nonce": signed(login_claims(nonce=None)),
    }
    messages = set()
    for rule, token in attacks.items():
        expected = LoginExpectations(nonce=NONCE, code=CODE, access_token=ACCESS_TOKEN)
        with pytest.raises(IdTokenRejected) as rejection:
            validate_at_login(token, registration(), key_set(), expected, now=NOW)
        assert rejection.value.rule == rule
        messages.add(rejection.value.detail)
    assert len(messages) == len(attacks)
