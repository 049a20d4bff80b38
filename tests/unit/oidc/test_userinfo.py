"""docs/protocol.md "ID token", UserInfo: `sub` as in the ID token, JSON or signed JWT (OIDC Core 5.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.oidc.dpop import DpopKey
from portal.oidc.errors import (
    MetadataRejected,
    ProviderUnavailable,
    UserInfoRejected,
    UserInfoSubjectMismatch,
)
from portal.oidc.provider import ProviderMetadata, TokenSet
from portal.oidc.userinfo import PROTOCOL_CLAIMS, fetch, merged, request
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import ClientCertificate, Tls
from portal.secret import Secret
from tests.unit.oidc.dpop_reading import ath_of, proof_of
from tests.unit.oidc.party import Party, acme
from tests.unit.oidc.signing import CLIENT_ID, CLIENT_SECRET, ISSUER, NOW, public_jwk, registration, signed
from tests.unit.outbound.wire import Received, calling, http_response

ADA = {"sub": "user-1", "email": "ada@acme.example", "department": "sales"}


def offered(
    party: Party, body: bytes | str, content_type: str = "application/json", status: int = 200
) -> None:
    """Give the provider a UserInfo endpoint with this response."""
    party.metadata["userinfo_endpoint"] = party.wire.url("/userinfo")
    party.failing["/userinfo"] = http_response(status, body, [("Content-Type", content_type)])


def offered_signed(party: Party, claims: dict[str, Any], **signing: Any) -> None:
    offered(party, signed(claims, **signing).reveal(), "application/jwt")


def asked(party: Party) -> list[Received]:
    return [request for request in party.wire.received if request.target == "/userinfo"]


@pytest.mark.gen_test
async def test_userinfo_is_requested_only_if_configured() -> None:
    async with acme() as party:
        offered(party, json.dumps(ADA))
        assert "department" not in (await party.finish()).claims
        assert asked(party) == []


@pytest.mark.gen_test
async def test_userinfo_claims_are_added_to_those_of_the_id_token_which_take_precedence() -> None:
    async with acme(claims={"email": "ada@id-token.example"}) as party:
        offered(party, json.dumps(ADA), "application/json; charset=utf-8")
        done = await party.finish(userinfo=True)
        assert done.claims["department"] == "sales"
        assert done.claims["email"] == "ada@id-token.example"
        (request,) = asked(party)
        assert (request.method, request.body) == ("GET", b"")
        assert request.header("Authorization") == "Bearer at"


def test_userinfo_never_provides_protocol_claims() -> None:
    everything = dict.fromkeys(PROTOCOL_CLAIMS, "of userinfo")
    assert merged({"sub": "a"}, {**everything, "name": "Ada"}) == {"sub": "a", "name": "Ada"}
    named = {"iss", "sub", "aud", "exp", "iat", "nonce", "sid", "auth_time", "acr", "amr", "azp"}
    assert named <= PROTOCOL_CLAIMS


@pytest.mark.gen_test
async def test_aggregated_and_distributed_claims_are_ignored() -> None:
    async with acme() as party:
        sources = {"s": {"endpoint": "https://elsewhere.example/", "access_token": "x"}}
        offered(party, json.dumps({**ADA, "_claim_names": {"age": "s"}, "_claim_sources": sources}))
        claims = (await party.finish(userinfo=True)).claims
        assert {"_claim_names", "_claim_sources", "age"}.isdisjoint(claims)


@pytest.mark.gen_test
async def test_userinfo_of_another_subject_fails_the_login_with_its_own_error() -> None:
    for subject, shown in (("user-2", "user-2"), ("USER-1", "USER-1"), ("", "''")):
        claims = {**ADA, "sub": subject}
        async with acme() as party:
            offered(party, json.dumps(claims))
            with pytest.raises(UserInfoSubjectMismatch, match=f"sub is {shown}; expected user-1"):
                await party.finish(userinfo=True)
        async with acme() as party:
            offered_signed(party, claims)
            with pytest.raises(UserInfoSubjectMismatch):
                await party.finish(userinfo=True)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("body", "content_type", "status", "rule"),
    [
        (json.dumps({"email": "a"}), "application/json", 200, "sub"),
        (json.dumps({**ADA, "sub": None}), "application/json", 200, "sub"),
        (json.dumps({**ADA, "sub": 1}), "application/json", 200, "sub"),
        (json.dumps(ADA), "text/html", 200, "content_type"),
        (json.dumps(ADA), "", 200, "content_type"),
        ("[]", "application/json", 200, "form"),
        ('{"sub":"user-1","sub":"user-1"}', "application/json", 200, "form"),
        (b"\xff", "application/json", 200, "form"),
        ("[" * 100, "application/json", 200, "form"),
        (json.dumps(ADA), "application/json", 401, "status"),
        (json.dumps(ADA), "application/json", 302, "status"),
        (json.dumps(ADA), "application/json", 201, "status"),
        (json.dumps(ADA), "application/jwt", 200, "form"),
        (b"\xff", "application/jwt", 200, "form"),
    ],
)
async def test_userinfo_that_breaks_a_rule_fails_the_login(
    body: bytes | str, content_type: str, status: int, rule: str
) -> None:
    async with acme() as party:
        offered(party, body, content_type, status)
        with pytest.raises(UserInfoRejected) as rejection:
            await party.finish(userinfo=True)
        assert rejection.value.rule == rule
        assert len(asked(party)) == 1


@pytest.mark.gen_test
async def test_userinfo_is_requested_with_the_client_certificate_and_the_authorities_of_the_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # RFC 8705 3: access tokens may be bound to the certificate
    certificate = ClientCertificate("chain", Secret("key"))
    provider = registration(client_certificate=certificate, tls_authorities="authorities")
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER, userinfo_endpoint=ISSUER)
    sent: list[tuple[object, object]] = []

    async def send(*_: object, tenant: str, tls: Tls, **__: object) -> OutboundResponse:
        sent.append((tenant, tls))
        return OutboundResponse(200, (), b"{}")

    monkeypatch.setattr(OutboundClient, "fetch", send)
    made = request(provider, metadata, TokenSet(Secret("at"), NOW), dpop_prover=None)
    async with calling() as client:
        await fetch(client, made)
    assert sent == [("acme", Tls("authorities", certificate))]


@pytest.mark.gen_test
async def test_userinfo_that_is_too_large_fails_the_login() -> None:
    async with acme() as party:
        offered(party, json.dumps({**ADA, "more": "x" * 65_536}))
        with pytest.raises(ProviderUnavailable):
            await party.finish(userinfo=True)


@pytest.mark.gen_test
async def test_a_missing_userinfo_endpoint_is_not_guessed_and_uses_no_code() -> None:
    async with acme() as party:
        with pytest.raises(MetadataRejected, match="userinfo_endpoint"):
            await party.finish(userinfo=True)
        assert party.calls("/token") == 0


@pytest.mark.gen_test
async def test_userinfo_is_retried_after_a_server_error_but_no_code_exchange() -> None:
    async with acme() as party:
        offered(party, "", status=503)
        with pytest.raises(ProviderUnavailable):
            await party.finish(userinfo=True)
        assert (len(asked(party)), party.calls("/token")) == (2, 1)


# --- signed


@pytest.mark.gen_test
@pytest.mark.parametrize("more", [{}, {"aud": CLIENT_ID}, {"aud": ["x", CLIENT_ID]}, {"exp": NOW + 5}])
async def test_signed_userinfo_is_accepted(more: dict[str, Any]) -> None:
    async with acme() as party:
        offered_signed(party, {**ADA, "iss": party.wire.url(""), **more})
        assert (await party.finish(userinfo=True)).claims["department"] == "sales"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("claims", "signing", "rule"),
    [
        ({"iss": "https://other.example"}, {}, "iss"),
        ({"iss": None}, {}, "iss"),
        ({"aud": "another"}, {}, "aud"),
        ({"aud": []}, {}, "aud"),
        ({"exp": NOW - 60}, {}, "exp"),
        ({"exp": "soon"}, {}, "exp"),
        ({}, {"which": 1}, "signature"),
        ({}, {"alg": "none"}, "alg"),
        ({}, {"alg": "PS256"}, "alg"),
        ({}, {"alg": "HS256", "secret": CLIENT_SECRET.encode()}, "alg"),
        ({}, {"kid": "unknown"}, "kid_unknown"),
        ({}, {"header": {"typ": "at+jwt"}}, "typ"),
        ({}, {"header": {"crit": ["x"]}}, "crit"),
    ],
)
async def test_signed_userinfo_that_breaks_a_rule_fails_the_login(
    claims: dict[str, Any], signing: dict[str, Any], rule: str
) -> None:
    async with acme() as party:
        offered_signed(party, {**ADA, **claims}, **signing)
        with pytest.raises(UserInfoRejected) as rejection:
            await party.finish(userinfo=True)
        assert rejection.value.rule == rule


@pytest.mark.gen_test
async def test_the_error_of_signed_userinfo_shows_both_values() -> None:
    async with acme() as party:
        offered_signed(party, ADA, kid="a: b")
        with pytest.raises(
            UserInfoRejected, match=r"^kid_unknown: kid is 'a: b'; the provider's RS256 keys are key-1"
        ):
            await party.finish(userinfo=True)


@pytest.mark.gen_test
async def test_unsigned_userinfo_is_rejected_when_a_signature_is_required() -> None:
    async with acme() as party:
        offered(party, json.dumps(ADA))
        with pytest.raises(UserInfoRejected, match="unsigned"):
            await party.finish(userinfo=True, userinfo_algs=("RS256",))


@pytest.mark.gen_test
async def test_userinfo_algs_replace_the_id_token_algorithms() -> None:
    async with acme(keys=[public_jwk(), public_jwk("P-256", kid="ec")]) as party:
        offered_signed(party, ADA, alg="ES256", kid="ec", kind="P-256")
        with pytest.raises(
            UserInfoRejected, match=r"alg is ES256; this tenant accepts RS256 \(id_token_algs\)"
        ):
            await party.finish(userinfo=True)
        with pytest.raises(
            UserInfoRejected, match=r"alg is ES256; this tenant accepts PS256 \(userinfo_algs\)"
        ):
            await party.finish(userinfo=True, userinfo_algs=("PS256",))
        done = await party.finish(userinfo=True, userinfo_algs=("ES256",))
        assert done.claims["department"] == "sales"


@pytest.mark.gen_test
async def test_keys_are_fetched_for_userinfo_even_if_the_id_token_needs_none() -> None:
    signing = {"alg": "HS256", "secret": CLIENT_SECRET.encode(), "kid": None}
    async with acme(signing=signing) as party:
        offered_signed(party, ADA)
        for _ in range(2):
            await party.finish(userinfo=True, userinfo_algs=("RS256",), id_token_algs=("HS256",))
        assert party.calls("/jwks_uri") == 1


@pytest.mark.gen_test
async def test_no_keys_are_fetched_if_neither_the_id_token_nor_userinfo_needs_them() -> None:
    signing = {"alg": "HS256", "secret": CLIENT_SECRET.encode(), "kid": None}
    async with acme(signing=signing) as party:
        offered(party, json.dumps(ADA))
        assert (await party.finish(userinfo=True, id_token_algs=("HS256",))).claims["department"] == "sales"
        assert party.calls("/jwks_uri") == 0


@pytest.mark.gen_test
async def test_unavailable_keys_for_userinfo_use_no_code() -> None:
    signing = {"alg": "HS256", "secret": CLIENT_SECRET.encode(), "kid": None}
    async with acme(signing=signing, failing={"/jwks_uri": http_response(503)}) as party:
        offered_signed(party, ADA)
        with pytest.raises(ProviderUnavailable):
            await party.finish(userinfo=True, userinfo_algs=("RS256",), id_token_algs=("HS256",))
        assert party.calls("/token") == 0


@pytest.mark.gen_test
async def test_a_new_key_that_signs_userinfo_is_found_with_one_more_fetch() -> None:
    async with acme() as party:
        offered_signed(party, ADA)
        await party.finish(userinfo=True)
        party.keys = [public_jwk(), public_jwk(kid="key-2", which=1)]
        offered_signed(party, ADA, kid="key-2", which=1)
        assert (await party.finish(userinfo=True)).subject == "user-1"
        assert party.calls("/jwks_uri") == 2


# --- with a bound token


@pytest.mark.gen_test
async def test_userinfo_is_requested_with_a_proof_and_again_when_a_nonce_is_required() -> None:
    key = DpopKey.generate()
    challenge = [("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'), ("DPoP-Nonce", "n-9")]

    async with acme(tokens={"token_type": "DPoP"}) as party:
        offered(party, json.dumps(ADA))

        def responses(request: Received) -> bytes:
            if request.target == "/userinfo" and proof_of(request).claims.get("nonce") != "n-9":
                return http_response(401, "", challenge)
            return party.script(request)

        party.responses = responses
        await party.finish(userinfo=True, dpop=True, dpop_key=key)
        first, second = asked(party)
        assert second.header("Authorization") == "DPoP at"
        proofs = [proof_of(request) for request in (first, second)]
        assert {proof.thumbprint for proof in proofs} == {key.thumbprint}
        assert proofs[0].claims["jti"] != proofs[1].claims["jti"]
        assert {proof.claims["ath"] for proof in proofs} == {ath_of("at")}
        assert {proof.claims["htu"] for proof in proofs} == {party.wire.url("/userinfo")}
        assert {proof.claims["htm"] for proof in proofs} == {"GET"}


@pytest.mark.gen_test
async def test_a_nonce_given_with_userinfo_causes_no_second_request() -> None:
    async with acme(tokens={"token_type": "DPoP"}) as party:
        party.metadata["userinfo_endpoint"] = party.wire.url("/userinfo")
        headers = [("Content-Type", "application/json"), ("DPoP-Nonce", "n")]
        party.failing["/userinfo"] = http_response(200, json.dumps(ADA), headers)
        await party.finish(userinfo=True, dpop=True)
        assert len(asked(party)) == 1


@pytest.mark.gen_test
async def test_repeated_nonce_challenges_fail_the_login_after_two_requests() -> None:
    async with acme(tokens={"token_type": "DPoP"}) as party:
        party.metadata["userinfo_endpoint"] = party.wire.url("/userinfo")
        headers = [("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'), ("DPoP-Nonce", "n")]
        party.failing["/userinfo"] = http_response(401, "", headers)
        with pytest.raises(UserInfoRejected, match=r"^status: .*/userinfo responded with 401; expected 200"):
            await party.finish(userinfo=True, dpop=True)
        assert len(asked(party)) == 2
