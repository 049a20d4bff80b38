"""Encrypted ID tokens: decrypted only with the portal's key and the registered algorithms."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from jose import jwe as other_jwe

from portal.oidc.client_keys import ClientKey, client_key
from portal.oidc.errors import ClientKeyMissing, IdTokenRejected
from portal.oidc.jose.algorithms import signing_key
from portal.oidc.jose.jwe import MAX_BYTES, open_logout_token, open_token
from portal.oidc.jose.key_material import private_key
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.secret import Secret
from tests.unit.oidc.encryption import ALGORITHMS, ENCODINGS, encrypted, sealed
from tests.unit.oidc.party import acme, held
from tests.unit.oidc.sample_client_keys import make_client_keys, sample_jwk, sample_key
from tests.unit.oidc.signing import NOW, b64, login_claims, registration, signed

TEXT = "header.claims.signature"


def registered(alg: str = "RSA-OAEP-256", enc: str = "A128CBC-HS256") -> Provider:
    return registration(id_token_encryption=IdTokenEncryption(alg, enc))


def refused(token: Secret, provider: Provider | None = None) -> str:
    """Return the rule by which a token is rejected."""
    with pytest.raises(IdTokenRejected) as rejection:
        open_token(token, provider or registered(), make_client_keys())
    assert TEXT not in str(rejection.value)
    assert rejection.value.rule
    return rejection.value.rule


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("enc", ENCODINGS)
def test_a_token_encrypted_as_registered_is_decrypted(alg: str, enc: str) -> None:
    for header in ({}, {"kid": None}):
        token = encrypted(TEXT, alg=alg, enc=enc, header=header)
        assert open_token(token, registered(alg, enc), make_client_keys()) == Secret(TEXT)


@pytest.mark.parametrize("alg", ["RSA-OAEP", "RSA-OAEP-256"])
@pytest.mark.parametrize("enc", ENCODINGS)
def test_a_token_encrypted_by_another_implementation_is_decrypted(alg: str, enc: str) -> None:
    key = signing_key(sample_key("RSA").private.public_key(), "RS256").to_pem().decode()
    token = other_jwe.encrypt(TEXT, key, encryption=enc, algorithm=alg, kid=sample_key("RSA").kid)
    assert open_token(Secret(token.decode()), registered(alg, enc), make_client_keys()) == Secret(TEXT)


def test_a_key_is_agreed_as_in_the_example_of_the_specification() -> None:
    # RFC 7518 appendix C
    bob = {
        "kty": "EC",
        "crv": "P-256",
        "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
        "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    }
    header = {
        "alg": "ECDH-ES",
        "enc": "A128GCM",
        "apu": "QWxpY2U",
        "apv": "Qm9i",
        "epk": {
            "kty": "EC",
            "crv": "P-256",
            "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
            "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
        },
    }
    derived = base64.urlsafe_b64decode("VqqN6vgjbSBcIijNcacQGg==")
    keys = make_client_keys(client_key(bob, use="enc", kind="EC", created_at=NOW))
    assert private_key(bob)
    token = sealed(header, b"", derived, TEXT, "A128GCM")
    assert open_token(token, registered("ECDH-ES", "A128GCM"), keys) == Secret(TEXT)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_only_the_registered_algorithm_is_accepted(alg: str) -> None:
    for other in {*ALGORITHMS, "RSA1_5", "dir", "A256KW", "PBES2-HS256+A128KW", "none"} - {alg}:
        assert refused(encrypted(TEXT, alg=alg, header={"alg": other}), registered(alg)) == "encryption_alg"
    for other in {*ENCODINGS, "A192GCM", "none"} - {"A128CBC-HS256"}:
        assert refused(encrypted(TEXT, alg=alg, header={"enc": other}), registered(alg)) == "encryption_enc"


def test_rsa1_5_is_rejected() -> None:
    token = encrypted(TEXT, alg="RSA1_5", real_alg="RSA1_5")
    assert refused(token) == "encryption_alg"
    assert refused(encrypted(TEXT, real_alg="RSA1_5")) == "decryption"


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ({"zip": "DEF"}, "zip"),
        ({"zip": ""}, "zip"),
        ({"crit": ["exp"], "exp": 1}, "crit"),
        ({"crit": []}, "crit"),
        ({"alg": None}, "encryption_alg"),
        ({"alg": 7}, "encryption_alg"),
        ({"enc": None}, "encryption_enc"),
        ({"enc": ["A128CBC-HS256"]}, "encryption_enc"),
        ({"kid": 7}, "kid"),
        ({"kid": "x" * 1025}, "kid"),
        ({"kid": "another"}, "encryption_key"),
        ({"kid": sample_key("EC").kid}, "encryption_key"),
        ({"kid": sample_key("RS256").kid}, "encryption_key"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(header: dict[str, Any], rule: str) -> None:
    assert refused(encrypted(TEXT, header=header)) == rule


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        ({"epk": None}, "epk"),
        ({"epk": "x"}, "epk"),
        ({"epk": {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}}, "epk"),
        ({"epk": {"kty": "OKP", "crv": "X25519", "x": "AA"}}, "epk"),
        ({"epk": {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}}, "epk"),
        ({"epk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, "epk"),
        ({"epk": {"kty": "EC", "crv": "P-256", "x": "A" * 1026, "y": "AQ"}}, "epk"),
        ({"epk": {"kty": "EC", "crv": "P-256", "x": 7, "y": "AQ"}}, "epk"),
        ({"epk": {**sample_key("EC").public, "d": sample_jwk("EC")["d"]}}, "epk"),
        ({"epk": {**sample_key("EC").public, "use": ["enc"], "key_ops": ["deriveKey"]}}, "epk"),
        ({"apu": 7}, "apu"),
        ({"apv": "+"}, "apv"),
        ({"apv": "AAAAA"}, "apv"),
        ({"apu": "AQ"}, "decryption"),
    ],
)
@pytest.mark.parametrize("alg", ["ECDH-ES", "ECDH-ES+A128KW"])
def test_an_agreement_that_breaks_a_rule_is_refused(alg: str, header: dict[str, Any], rule: str) -> None:
    assert refused(encrypted(TEXT, alg=alg, header=header), registered(alg)) == rule


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("enc", ENCODINGS)
def test_a_token_changed_in_any_part_is_rejected_with_the_same_error(alg: str, enc: str) -> None:
    provider = registered(alg, enc)
    parts = encrypted(TEXT, alg=alg, enc=enc).reveal().split(".")
    rules = set()
    for number, part in enumerate(parts[1:], start=1):
        for changed in {_flipped(part), part + "AAAA", part[:-4] or "AAAA"} - {part}:
            token = ".".join([*parts[:number], changed, *parts[number + 1 :]])
            rules.add(refused(Secret(token), provider))
    head = encrypted(TEXT, alg=alg, enc=enc, header={"cty": "other"}).reveal().split(".")[0]
    rules.add(refused(Secret(".".join([head, *parts[1:]])), provider))
    assert rules == {"decryption"}


def _flipped(part: str) -> str:
    return ("B" if part[:1] == "A" else "A") + part[1:] if part else "AAAA"


def test_a_content_key_of_the_wrong_size_decrypts_nothing() -> None:
    assert refused(encrypted(TEXT, real_enc="A256GCM")) == "decryption"
    assert (
        refused(encrypted(TEXT, enc="A256GCM", real_enc="A128GCM"), registered(enc="A256GCM")) == "decryption"
    )


@pytest.mark.parametrize("alg", ["ECDH-ES+A128KW", "ECDH-ES+A256KW"])
@pytest.mark.parametrize("enc", ENCODINGS)
def test_an_encrypted_key_of_the_wrong_length_is_refused_before_it_is_unwrapped(
    alg: str, enc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unwrapping costs six rounds of AES for every eight bytes of untrusted input (RFC 3394 2.2.1)."""
    unwrapped: list[int] = []

    def unwrapping(wrapping_key: bytes, wrapped: bytes) -> bytes:
        unwrapped.append(len(wrapped))
        return aes_key_unwrap(wrapping_key, wrapped)

    monkeypatch.setattr("joserfc._rfc7518.jwe_algs.aes_key_unwrap", unwrapping)
    provider, right = registered(alg, enc), ENCODINGS[enc] + 8
    good = encrypted(TEXT, alg=alg, enc=enc)
    assert open_token(good, provider, make_client_keys()) == Secret(TEXT)
    parts = good.reveal().split(".")
    for length in {0, 8, 16, 24, right - 8, right - 1, right + 1, right + 8, 34_000} - {right}:
        token = ".".join([parts[0], b64(bytes(length)), *parts[2:]])
        assert refused(Secret(token), provider) == "decryption"
    assert unwrapped == [right]
    refused(Secret(".".join([parts[0], b64(bytes(right)), *parts[2:]])), provider)
    assert unwrapped == [right, right]


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_coordinate_that_is_too_long_is_rejected_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """joserfc decodes numbers byte by byte: two of 45 KB take 7 ms."""
    read: list[object] = []
    monkeypatch.setattr("portal.oidc.jose.jwe.check_public_point", read.append)
    for length in (1_025, 90_000):
        token = encrypted(
            TEXT, alg="ECDH-ES", header={"epk": {**sample_key("EC").public, name: "A" * length}}
        )
        assert refused(token, registered("ECDH-ES")) == "epk"
    assert not read


def test_unused_header_members_may_have_any_value() -> None:
    # RFC 7516 4: unknown members are ignored
    token = encrypted(TEXT, header={"typ": 7, "x5t": [], "jku": "x", "p2c": 10**9, "other": {}})
    assert open_token(token, registered(), make_client_keys()) == Secret(TEXT)


def test_a_token_for_another_portals_key_is_refused() -> None:
    other = sample_key("RSA", which=1)
    assert refused(encrypted(TEXT, key=other)) == "encryption_key"
    assert refused(encrypted(TEXT, key=other, header={"kid": None})) == "decryption"
    assert refused(encrypted(TEXT, key=other, header={"kid": sample_key("RSA").kid})) == "decryption"


def test_a_rotated_key_still_decrypts_tokens_encrypted_for_it() -> None:
    old, new = sample_key("RSA"), sample_key("RSA", which=1, created_at=NOW)
    for header in ({}, {"kid": None}):
        token = encrypted(TEXT, key=old, header=header)
        assert open_token(token, registered(), make_client_keys(old, new)) == Secret(TEXT)


@pytest.mark.parametrize(
    "token",
    ["", "....", "a.b.c.d.e", "a.b.c.d.", "é.b.c.d.e", "a..c.d.e", "a b.c.d.e.f", "A.A.A.A.A", "=.=.=.=.="],
)
def test_a_token_without_five_parts_is_rejected(token: str) -> None:
    assert refused(Secret(token)) in {"form", "header", "not_encrypted"}


def test_a_token_and_a_header_may_be_large() -> None:
    text = "a" * 70_000
    token = encrypted(text, header={"other": "b" * 15_000})
    assert MAX_BYTES - 20_000 < len(token.reveal()) < MAX_BYTES
    assert open_token(token, registered(), make_client_keys()) == Secret(text)


def test_a_token_that_is_too_large_is_rejected_unread() -> None:
    assert refused(Secret("A." * 4 + "A" * MAX_BYTES)) == "size"


def test_a_header_with_a_repeated_member_is_rejected() -> None:
    head = b'{"alg":"RSA-OAEP-256","enc":"A128CBC-HS256","alg":"RSA-OAEP-256"}'
    parts = encrypted(TEXT).reveal().split(".")
    parts[0] = base64.urlsafe_b64encode(head).rstrip(b"=").decode()
    assert refused(Secret(".".join(parts))) == "duplicate_member"


def test_content_that_is_not_text_is_rejected() -> None:
    assert refused(encrypted(b"\xff\xfe")) == "form"


def test_an_unencrypted_token_is_refused_when_encryption_is_registered() -> None:
    assert refused(signed(login_claims())) == "not_encrypted"


def test_an_unencrypted_logout_token_is_accepted_only_if_the_registration_allows_it() -> None:
    plain = signed(login_claims())
    with pytest.raises(IdTokenRejected) as rejection:
        open_logout_token(plain, registered(), make_client_keys())
    assert rejection.value.rule == "not_encrypted"
    lenient = registration(id_token_encryption=IdTokenEncryption("RSA-OAEP-256", "A128GCM", False))
    assert open_logout_token(plain, lenient, make_client_keys()) == plain
    within = encrypted(plain.reveal(), enc="A128GCM")
    assert open_logout_token(within, lenient, make_client_keys()) == plain
    # an ID token must still be encrypted
    assert refused(plain, lenient) == "not_encrypted"


def test_a_token_of_a_provider_without_encryption_is_returned_unchanged() -> None:
    for token in (Secret(TEXT), encrypted(TEXT)):
        assert open_token(token, registration(), make_client_keys()) == token


def test_an_encrypted_token_without_client_keys_is_an_operator_error() -> None:
    with pytest.raises(ClientKeyMissing):
        open_token(encrypted(TEXT), registered(), None)


# --- through the relying party


@pytest.mark.gen_test
async def test_a_login_with_an_encrypted_id_token_stores_the_signed_token() -> None:
    async with acme(client_keys=make_client_keys()) as party:
        inner = signed(login_claims(iss=party.wire.url("")))
        encryption = IdTokenEncryption("ECDH-ES+A256KW", "A256GCM")
        token = encrypted(inner.reveal(), alg=encryption.alg, enc=encryption.enc)
        party.tokens = {"id_token": token.reveal()}
        done = await party.finish(id_token_encryption=encryption)
        assert done.tokens.id_token == inner
        assert done.subject == "user-1"


@pytest.mark.gen_test
async def test_a_refresh_with_an_encrypted_id_token_stores_the_signed_token() -> None:
    async with acme(client_keys=make_client_keys()) as party:
        inner = signed(login_claims(iss=party.wire.url(""), nonce=None, name="Ada"))
        party.tokens = {"id_token": encrypted(inner.reveal()).reveal()}
        encryption = IdTokenEncryption("RSA-OAEP-256", "A128CBC-HS256")
        done = await party.refreshed(held(), id_token_encryption=encryption)
        assert done.tokens.id_token == inner
        assert done.claims is not None
        assert done.claims["name"] == "Ada"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        (lambda iss: signed(login_claims(iss=iss), which=1).reveal(), "signature"),
        (lambda iss: signed(login_claims(iss=iss), alg="none").reveal(), "alg"),
        (lambda iss: signed(login_claims(iss="https://other.example")).reveal(), "iss"),
        (lambda iss: '{"iss": "x"}', "form"),
        (lambda iss: encrypted(signed(login_claims(iss=iss)).reveal()).reveal(), "encrypted"),
    ],
)
async def test_a_decrypted_token_is_validated_like_any_id_token(inner: Any, rule: str) -> None:
    async with acme(client_keys=make_client_keys()) as party:
        token = encrypted(inner(party.wire.url("")))
        party.tokens = {"id_token": token.reveal()}
        with pytest.raises(IdTokenRejected) as rejection:
            await party.finish(id_token_encryption=IdTokenEncryption("RSA-OAEP-256", "A128CBC-HS256"))
        assert rejection.value.rule == rule


@pytest.mark.gen_test
async def test_an_encrypted_id_token_is_refused_when_none_is_registered() -> None:
    async with acme(client_keys=make_client_keys()) as party:
        inner = signed(login_claims(iss=party.wire.url("")))
        party.tokens = {"id_token": encrypted(inner.reveal()).reveal()}
        with pytest.raises(IdTokenRejected) as rejection:
            await party.finish()
        assert rejection.value.rule == "encrypted"


def test_no_repr_shows_a_private_encryption_key() -> None:
    key: ClientKey = replace(sample_key("RSA"), created_at=1.0)
    assert "private" not in repr(key)
