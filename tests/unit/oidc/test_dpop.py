"""Rules of RFC 9449 at the token endpoint; tests/handlers/test_dpop.py has those of APIs."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.oidc.dpop import DpopKey, DpopProver, NonceMemory, target_uri, wants_nonce
from portal.oidc.errors import ProviderUnavailable, RefreshRejected, TokenNotBound, TokenRequestRejected
from portal.oidc.provider import ClientAuth
from tests.kit.samples import ManualClock
from tests.unit.oidc.dpop_reading import ath_of, proof_of, read_proof
from tests.unit.oidc.party import CALLBACK, Party, acme, held
from tests.unit.oidc.signing import NOW
from tests.unit.outbound.wire import Received, http_response

BOUND = {"token_type": "DPoP"}


def dpop_nonce_required(nonce: str | None = "n-1", status: int = 400) -> bytes:
    headers = [("DPoP-Nonce", nonce)] if nonce else []
    return http_response(status, json.dumps({"error": "use_dpop_nonce"}), headers)


def token_requests(party: Party) -> list[Received]:
    return [request for request in party.wire.received if request.target == "/token"]


def demand_nonce(party: Party, nonce: str = "n-1", status: int = 400) -> None:
    """Make the token endpoint require this nonce in every proof."""

    def responses(request: Received) -> bytes:
        if request.target == "/token" and proof_of(request).claims.get("nonce") != nonce:
            return dpop_nonce_required(nonce, status)
        return party.script(request)

    party.responses = responses


# --- proofs


def test_a_proof_identifies_its_request_and_is_signed_by_the_key_in_its_header() -> None:
    key = DpopKey.generate()
    proof = read_proof(key.proof("POST", "https://as.example/token", now=NOW + 0.9))
    assert {name: proof.header[name] for name in ("typ", "alg")} == {"typ": "dpop+jwt", "alg": "ES256"}
    assert set(proof.header) == {"typ", "alg", "jwk"}
    assert (proof.header["jwk"]["kty"], proof.header["jwk"]["crv"]) == ("EC", "P-256")
    assert set(proof.header["jwk"]) == {"kty", "crv", "x", "y"}  # RFC 9449 4.2: no private part
    assert proof.thumbprint == key.thumbprint
    jti = proof.claims.pop("jti")
    assert len(jti) >= 16
    assert proof.claims == {"htm": "POST", "htu": "https://as.example/token", "iat": int(NOW)}


def test_no_two_proofs_have_the_same_jti() -> None:
    key = DpopKey.generate()
    proofs = [read_proof(key.proof("GET", "https://a.example/", now=NOW)) for _ in range(50)]
    assert len({proof.claims["jti"] for proof in proofs}) == 50


def test_a_proof_contains_ath_and_nonce_when_available() -> None:
    proof = DpopKey.generate().proof("GET", "https://a.example/x", now=NOW, access_token="at", nonce="n-1")
    claims = read_proof(proof).claims
    assert (claims["ath"], claims["nonce"]) == (ath_of("at"), "n-1")
    proof = dpop_prover(NonceMemory()).proof("GET", "https://a.example/x", access_token="at")
    assert read_proof(proof).claims["ath"] == ath_of("at")


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        ("https://a.example/x?y=1", "https://a.example/x"),
        ("https://a.example/x#?y", "https://a.example/x"),
        ("https://a.example/x?y#z", "https://a.example/x"),
        ("https://a.example:8443/a%20b/;c", "https://a.example:8443/a%20b/;c"),
        ("https://a.example?y=/z", "https://a.example/"),
        ("http://[::1]:80", "http://[::1]:80/"),
    ],
)
def test_htu_is_the_url_without_query_and_fragment(url: str, htu: str) -> None:
    assert target_uri(url) == htu


def test_a_key_can_be_stored_and_read_and_its_repr_reveals_nothing() -> None:
    key = DpopKey.generate()
    written = key.private_jwk()
    again = DpopKey.from_jwk(json.loads(json.dumps(written)))
    assert again == key
    assert hash(again) == hash(key)
    assert read_proof(again.proof("GET", "https://a.example/", now=NOW)).thumbprint == key.thumbprint
    assert DpopKey.generate() != key
    assert repr(key) == "DpopKey(…)"
    for secret in (written["d"], written["x"]):
        assert secret not in f"{held(dpop_key=key)!r} {key!s}"


@pytest.mark.parametrize(
    "change", [{"d": "AAAA"}, {"d": 5}, {"d": None}, {"x": "AAAA"}, {"kty": "RSA"}, {"crv": "P-384"}]
)
def test_an_invalid_key_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DpopKey.from_jwk({**DpopKey.generate().private_jwk(), **change})


# --- nonces


def dpop_prover(nonces: NonceMemory, holder: str = "acme/default") -> DpopProver:
    return DpopProver(DpopKey.generate(), nonces, holder, ManualClock())


def nonce_sent(by: DpopProver, url: str) -> object:
    return read_proof(by.proof("GET", url)).claims.get("nonce")


def test_the_newest_nonce_of_a_server_is_sent_to_that_server_only() -> None:
    ours = dpop_prover(NonceMemory())
    assert nonce_sent(ours, "https://as.example/token") is None
    assert ours.store_nonce("https://as.example/token", [("dpop-nonce", "n-1")])
    assert ours.store_nonce("https://as.example/oidc/userinfo", [("DPoP-Nonce", "n-2")])
    assert nonce_sent(ours, "https://as.example/token") == "n-2"
    assert nonce_sent(ours, "https://api.example/token") is None
    assert nonce_sent(ours, "https://as.example:444/token") is None


def test_each_login_has_its_own_nonces_and_a_new_login_uses_the_newest_of_its_registration() -> None:
    nonces = NonceMemory()
    one, two, other = dpop_prover(nonces), dpop_prover(nonces), dpop_prover(nonces, "globex/default")
    one.store_nonce("https://as.example/", [("DPoP-Nonce", "n-1")])
    two.store_nonce("https://as.example/", [("DPoP-Nonce", "n-2")])
    assert nonce_sent(one, "https://as.example/") == "n-1"
    assert nonce_sent(dpop_prover(nonces), "https://as.example/") == "n-2"
    assert nonce_sent(other, "https://as.example/") is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("DPoP-Nonce", "")],
        [("DPoP-Nonce", 'a"b')],
        [("DPoP-Nonce", "a b")],
        [("DPoP-Nonce", "x" * 1025)],
        [("DPoP-Nonce", "a"), ("dpop-nonce", "b")],
    ],
)
def test_an_invalid_nonce_is_not_stored(headers: list[tuple[str, str]]) -> None:
    ours = dpop_prover(NonceMemory())
    assert not ours.store_nonce("https://as.example/", headers)
    assert nonce_sent(ours, "https://as.example/") is None


def test_D5_nonces_have_bounded_memory_and_a_tenant_with_many_evicts_its_own() -> None:
    nonces = NonceMemory(max_bytes=100_000)
    quiet, greedy = dpop_prover(nonces, "globex/default"), dpop_prover(nonces, "acme/default")
    quiet.store_nonce("https://as.example/", [("DPoP-Nonce", "kept")])
    for number in range(1_000):
        greedy.store_nonce(f"https://as{number}.example/", [("DPoP-Nonce", f"{number:01000}")])
    assert nonce_sent(quiet, "https://as.example/") == "kept"
    assert nonce_sent(greedy, "https://as0.example/") is None
    assert nonce_sent(greedy, "https://as999.example/") == f"{999:01000}"


@pytest.mark.parametrize(
    ("status", "challenge", "required"),
    [
        (401, 'DPoP error="use_dpop_nonce", error_description="x"', True),
        (401, 'dpop realm="a", algs="ES256", error="use_dpop_nonce"', True),
        (401, 'Bearer realm="a", DPoP error=use_dpop_nonce', True),
        (400, 'DPoP error="use_dpop_nonce"', False),
        (401, 'Bearer error="use_dpop_nonce"', False),
        (401, 'DPoP error="invalid_token"', False),
        (401, 'DPoP error="use_dpop_nonces"', False),
        (401, 'XDPoP error="use_dpop_nonce"', False),
        (401, 'DPoP error="use_dpop_nonce"', True),
        (401, 'DPOP ERROR="USE_DPOP_NONCE"', True),
        (401, "DPoP error=use_dpop_nonce", True),
        (401, "DPoP error=use_dpop_nonce, algs=ES256", True),
        (401, 'DPoP   algs="ES256 PS256",error = "use_dpop_nonce"', True),
        (401, 'DPoP\terror\t=\t"use_dpop_nonce"', True),
        (401, 'Basic realm="x",DPoP error="use_dpop_nonce"', True),
        (401, 'Bearer realm="a", error="invalid_token", DPoP algs="ES256", error="use_dpop_nonce"', True),
        (401, 'DPoP error="use_dpop_nonce", Bearer error="invalid_token"', True),
        (401, 'DPoP error="use_dpop_nonce2"', False),
        (401, "DPoP error=use_dpop_nonce-2", False),
        (401, 'DPoP xerror="use_dpop_nonce"', False),
        (401, 'DPoP error_description="use_dpop_nonce"', False),
        (401, 'Bearer error="use_dpop_nonce", DPoP algs="ES256"', False),
        (401, 'Bearer error="use_dpop_nonce", DPoP error="invalid_token"', False),
        (401, 'DPoP-like error="use_dpop_nonce"', False),
        (401, "DPoP", False),
        (401, "", False),
    ],
)
def test_a_nonce_challenge_is_distinguished_from_other_challenges(
    status: int, challenge: str, required: bool
) -> None:
    assert wants_nonce(status, [("Www-Authenticate", challenge)]) is required


def test_a_challenge_is_found_in_any_of_the_headers_and_in_no_other_header() -> None:
    challenge = 'DPoP error="use_dpop_nonce"'
    assert wants_nonce(401, [("WWW-Authenticate", "Bearer"), ("www-authenticate", challenge)])
    assert not wants_nonce(401, [("Proxy-Authenticate", challenge), ("WWW-Authenticate", "Bearer")])


@pytest.mark.parametrize("padding", ["x", "DPoP ", "DPoP error="])
def test_a_challenge_that_is_too_long_is_ignored(padding: str) -> None:
    """An API is not trusted: searching its header must not take long (THREATS S11)."""
    challenge = 'DPoP error="use_dpop_nonce", '
    longest = (challenge + padding * 4096)[:4096]
    assert wants_nonce(401, [("WWW-Authenticate", longest)])
    assert not wants_nonce(401, [("WWW-Authenticate", longest + "x")])
    assert wants_nonce(401, [("WWW-Authenticate", longest + "x"), ("WWW-Authenticate", challenge)])


@pytest.mark.parametrize(
    "value", ["DPoP " * 6300, "dpop " * 819, "DPoP error" + " " * 4000, "DPoP error=" * 372]
)
def test_no_challenge_takes_long_to_search(value: str) -> None:
    began = time.process_time()
    assert not wants_nonce(401, [("WWW-Authenticate", value)])
    assert time.process_time() - began < 1.0  # a quadratic search took several seconds


# --- the login


@pytest.mark.gen_test
async def test_a_login_uses_one_new_key_from_request_to_tokens() -> None:
    async with acme(tokens=BOUND) as party:
        provider = party.provider(dpop=True)
        begun = [await party.relying_party.begin(provider, redirect_uri=CALLBACK) for _ in range(2)]
        keys = [request.dpop_key for request in begun]
        assert keys[0] is not None
        assert keys[0] != keys[1]
        sent = parse_qs(urlsplit(begun[0].url).query)
        assert sent["dpop_jkt"] == [keys[0].thumbprint]  # RFC 9449 10
        done = await party.finish(dpop=True, dpop_key=keys[0])
        proof = proof_of(token_requests(party)[0])
        assert proof.thumbprint == keys[0].thumbprint
        assert (proof.claims["htm"], proof.claims["htu"]) == ("POST", party.wire.url("/token"))
        assert proof.claims["iat"] == int(NOW)
        assert "ath" not in proof.claims
        assert (done.tokens.token_type, done.tokens.dpop_key) == ("DPoP", keys[0])


@pytest.mark.gen_test
async def test_without_dpop_there_is_no_key_no_proof_and_no_dpop_jkt() -> None:
    async with acme() as party:
        begun = await party.relying_party.begin(party.provider(), redirect_uri=CALLBACK)
        assert begun.dpop_key is None
        assert "dpop_jkt" not in parse_qs(urlsplit(begun.url).query)
        done = await party.finish()
        assert token_requests(party)[0].header("DPoP") is None
        assert (done.tokens.token_type, done.tokens.dpop_key) == ("Bearer", None)


@pytest.mark.gen_test
async def test_a_login_in_progress_when_dpop_is_enabled_gets_a_key() -> None:
    async with acme(tokens=BOUND) as party:
        done = await party.finish(dpop=True)
        assert done.tokens.dpop_key is not None
        assert proof_of(token_requests(party)[0]).thumbprint == done.tokens.dpop_key.thumbprint


@pytest.mark.gen_test
@pytest.mark.parametrize("token_type", ["Bearer", "bearer"])
async def test_a_bearer_token_instead_of_a_bound_one_is_rejected_with_its_own_error(
    token_type: str,
) -> None:
    async with acme(tokens={"token_type": token_type}) as party:
        with pytest.raises(TokenNotBound):
            await party.finish(dpop=True)
        with pytest.raises(TokenNotBound):
            await party.refresh(held(dpop_key=DpopKey.generate()))


@pytest.mark.gen_test
async def test_the_token_type_is_dpop_in_any_case() -> None:
    async with acme(tokens={"token_type": "dpop"}) as party:
        assert (await party.finish(dpop=True)).tokens.token_type == "DPoP"


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [400, 401])
async def test_a_server_nonce_is_sent_in_a_second_request_and_stored_for_the_next_login(status: int) -> None:
    async with acme(tokens=BOUND) as party:
        demand_nonce(party, status=status)
        await party.finish(dpop=True)
        first, second = [proof_of(request).claims for request in token_requests(party)]
        assert ("nonce" in first, second["nonce"]) == (False, "n-1")
        assert first["jti"] != second["jti"]
        await party.finish(dpop=True)
        assert len(token_requests(party)) == 3


@pytest.mark.gen_test
async def test_a_code_is_sent_again_once_only_and_with_a_new_client_assertion() -> None:
    async with acme(failing={"/token": dpop_nonce_required()}) as party:
        with pytest.raises(TokenRequestRejected) as rejection:
            await party.finish(dpop=True, client_auth=ClientAuth.CLIENT_SECRET_JWT)
        assert rejection.value.error == "use_dpop_nonce"
        forms = [parse_qs(request.body.decode()) for request in token_requests(party)]
        assert len(forms) == 2
        assert forms[0]["code"] == forms[1]["code"]
        assert forms[0]["client_assertion"] != forms[1]["client_assertion"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "failure",
    [
        dpop_nonce_required(None),
        http_response(400, '{"error":"invalid_dpop_proof"}', [("DPoP-Nonce", "n")]),
        http_response(400, '{"error":"invalid_grant"}', [("DPoP-Nonce", "n")]),
        http_response(400, "not JSON", [("DPoP-Nonce", "n")]),
        dpop_nonce_required(status=403),
        dpop_nonce_required(status=500),
    ],
)
async def test_no_other_response_causes_the_code_to_be_sent_again(failure: bytes) -> None:
    async with acme(failing={"/token": failure}) as party:
        with pytest.raises((TokenRequestRejected, ProviderUnavailable)):
            await party.finish(dpop=True)
        assert len(token_requests(party)) == 1


@pytest.mark.gen_test
async def test_a_nonce_given_with_tokens_is_used_in_the_next_request() -> None:
    key = DpopKey.generate()
    async with acme(claims={"nonce": None}) as party:
        tokens = json.dumps({**party.token_response(), "token_type": "DPoP"})
        party.failing["/token"] = http_response(200, tokens, [("DPoP-Nonce", "n-7")])
        await party.refresh(held(dpop_key=key))
        await party.refresh(held(dpop_key=key))
        sent = [proof_of(request).claims.get("nonce") for request in token_requests(party)]
        assert sent == [None, "n-7"]


# --- refreshing


@pytest.mark.gen_test
async def test_the_key_stays_the_same_through_refreshes() -> None:
    key = DpopKey.generate()
    async with acme(claims={"nonce": None}, tokens=BOUND) as party:
        demand_nonce(party)
        new = await party.refresh(held(dpop_key=key, token_type="DPoP"))
        newer = await party.refresh(new, dpop=False)  # disabled meanwhile: the tokens remain bound
        assert (new.dpop_key, newer.dpop_key, newer.token_type) == (key, key, "DPoP")
        assert {proof_of(request).thumbprint for request in token_requests(party)} == {key.thumbprint}


@pytest.mark.gen_test
async def test_a_login_from_before_dpop_was_enabled_continues_without_a_key() -> None:
    async with acme(claims={"nonce": None}) as party:
        new = await party.refresh(held(), dpop=True)
        assert (new.token_type, new.dpop_key) == ("Bearer", None)
        assert token_requests(party)[0].header("DPoP") is None


@pytest.mark.gen_test
async def test_a_nonce_challenge_at_a_refresh_does_not_end_the_login_but_invalid_grant_does() -> None:
    async with acme(failing={"/token": dpop_nonce_required()}) as party:
        with pytest.raises(TokenRequestRejected):
            await party.refresh(held(dpop_key=DpopKey.generate()))
        party.failing["/token"] = http_response(400, '{"error":"invalid_grant"}')
        with pytest.raises(RefreshRejected):
            await party.refresh(held(dpop_key=DpopKey.generate()))
