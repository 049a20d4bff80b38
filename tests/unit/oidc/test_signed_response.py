"""Signed authorization responses (JARM 2.4), one rule at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portal.oidc.errors import LoginRejected, ProviderDenied, SignedResponseRejected
from portal.oidc.provider import Provider, ResponseMode
from portal.oidc.refetch_budget import BURST
from portal.oidc.signed_response import open_response, unverified_state
from portal.secret import Secret
from tests.unit.oidc.party import acme
from tests.unit.oidc.signing import (
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    NOW,
    b64,
    key_set,
    login_claims,
    public_jwk,
    registration,
    signed,
)


def claims(**changes: Any) -> dict[str, Any]:
    good = {"iss": ISSUER, "aud": CLIENT_ID, "exp": int(NOW) + 60, "code": "c0de", "state": "st", **changes}
    return {name: value for name, value in good.items() if value is not None}


def provider(**changes: Any) -> Provider:
    return registration(**{"response_mode": ResponseMode.JWT, **changes})


def opened(token: Secret, **changes: Any) -> dict[str, list[str]]:
    return open_response(token, provider(**changes), key_set(), now=NOW)


def rule(token: Secret, **changes: Any) -> str:
    with pytest.raises(SignedResponseRejected) as rejection:
        opened(token, **changes)
    assert "c0de" not in f"{rejection.value!r}{rejection.value.detail}"
    return rejection.value.rule


def test_only_the_parameters_inside_are_returned() -> None:
    assert opened(signed(claims(scope="x", sub="me"))) == {"code": ["c0de"], "state": ["st"], "iss": [ISSUER]}
    error = claims(code=None, error="access_denied", error_description="no", iat=int(NOW))
    assert opened(signed(error))["error"] == ["access_denied"]
    assert opened(signed(claims(aud=[CLIENT_ID])))["code"] == ["c0de"]


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"iss": None}, "iss"),
        ({"iss": "https://login.other.example/"}, "iss"),
        ({"iss": ISSUER.rstrip("/")}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"aud": None}, "aud"),
        ({"aud": "another-client"}, "aud"),
        ({"aud": [CLIENT_ID, "another-client"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": int(NOW) - 60}, "exp"),
        ({"exp": str(int(NOW) + 60)}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": (int(NOW) + 60) * 1000}, "exp"),
        ({"iat": int(NOW) + 61}, "iat_future"),
        ({"nbf": int(NOW) + 61}, "nbf"),
        ({"code": ["c0de"]}, "code"),
        ({"state": 1}, "state"),
        ({"error": {}}, "error"),
    ],
)
def test_a_claim_that_breaks_a_rule_is_rejected(changes: dict[str, Any], broken: str) -> None:
    assert rule(signed(claims(**changes))) == broken


def test_clocks_may_differ_by_a_minute() -> None:
    assert opened(signed(claims(exp=int(NOW) - 59, iat=int(NOW) + 60, nbf=int(NOW) + 60)))["code"] == ["c0de"]


@pytest.mark.parametrize(
    ("signing", "broken"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "PS256"}, "alg"),
        ({"alg": "HS256", "secret": CLIENT_SECRET.encode()}, "alg"),
        ({"which": 1}, "signature"),
        ({"kid": "another"}, "kid_unknown"),
        ({"header": {"crit": ["exp"]}}, "crit"),
        ({"header": {"typ": "logout+jwt"}}, "typ"),
        ({"header": {"jwk": public_jwk(which=1)}, "which": 1}, "signature"),
    ],
)
def test_a_signature_that_is_not_the_registered_one_is_rejected(signing: dict[str, Any], broken: str) -> None:
    assert rule(signed(claims(), **signing)) == broken


def test_the_algorithm_is_the_one_that_is_registered() -> None:
    strong = signed(claims(), alg="PS256")
    assert opened(strong, response_algs=("PS256",))["code"] == ["c0de"]
    assert rule(signed(claims()), response_algs=("PS256",)) == "alg"
    # id_token_algs are ignored
    assert rule(strong, id_token_algs=("PS256",)) == "alg"
    mac = signed(claims(), alg="HS256", secret=CLIENT_SECRET.encode(), kid=None)
    assert opened(mac, response_algs=("HS256",))["code"] == ["c0de"]
    assert rule(mac, response_algs=("HS256",), client_secret=None) == "alg"


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "e30.e30.", "a.b.c.d.e", "x" * 70_000, "e30..e30"])
def test_an_invalid_token_is_rejected(text: str) -> None:
    assert rule(Secret(text)) in {"form", "alg", "size", "encrypted", "header"}
    with pytest.raises(SignedResponseRejected):
        unverified_state(Secret(text))


def test_a_repeated_member_is_rejected() -> None:
    double = b'{"state":"a","state":"b","iss":"x"}'
    assert rule(signed(double)) == "duplicate_member"
    with pytest.raises(SignedResponseRejected):
        unverified_state(Secret(f"e30.{b64(double)}.e30"))


def test_iss_may_be_repeated_with_the_same_value() -> None:
    # JARM 2.1 and RFC 9207 2 both require it, and Keycloak 26 sends both.
    once = json.dumps(claims())[1:]
    both = f'{{"iss":"{ISSUER}",{once}'.encode()
    assert opened(signed(both))["iss"] == [ISSUER]
    assert unverified_state(signed(both)) == "st"
    for other in ("https://login.other.example/", ISSUER.rstrip("/")):
        assert rule(signed(f'{{"iss":"{other}",{once}'.encode())) == "duplicate_member"


def test_an_id_token_is_rejected_as_an_authorization_response() -> None:
    """It has the same issuer, audience and key, but neither code nor state."""
    with pytest.raises(SignedResponseRejected, match="state"):
        unverified_state(signed(login_claims()))
    assert "code" not in opened(signed(login_claims()))


# --- during a login


@pytest.mark.gen_test
async def test_jarm_responses_are_verified_and_then_processed_as_ordinary_parameters() -> None:
    async with acme() as party:
        own = {"iss": party.wire.url("")}
        response = {
            "response": [signed(claims(**own)).reveal()],
            "code": ["another"],
            "iss": ["https://x.example"],
        }
        done = await party.finish(response, response_mode=ResponseMode.JWT)
        assert done.subject == "user-1"
        exchange = next(one for one in party.wire.received if one.target == "/token")
        assert b"code=c0de" in exchange.body

        denied = signed(claims(code=None, error="access_denied", **own)).reveal()
        with pytest.raises(ProviderDenied):
            await party.finish({"response": [denied]}, response_mode=ResponseMode.JWT)


@pytest.mark.gen_test
@pytest.mark.parametrize("mode", [mode for mode in ResponseMode if mode.signed])
async def test_jarm_rejects_an_unsigned_response(mode: ResponseMode) -> None:
    async with acme() as party:
        for response in ({"code": ["c"], "state": ["s"]}, {"error": ["access_denied"]}, {}):
            with pytest.raises(SignedResponseRejected, match="unsigned"):
                await party.finish(dict(response) or {"x": ["y"]}, response_mode=mode)
        twice = {"response": [signed(claims(iss=party.wire.url(""))).reveal()] * 2}
        with pytest.raises(LoginRejected):
            await party.finish(twice, response_mode=mode)
        assert party.calls("/token") == 0


@pytest.mark.gen_test
async def test_jarm_accepts_a_new_key_and_rejects_a_forged_signature() -> None:
    async with acme() as party:
        await party.finish(
            {"response": [signed(claims(iss=party.wire.url(""))).reveal()]}, response_mode=ResponseMode.JWT
        )
        party.keys = [public_jwk(kid="key-2", which=1)]
        party.signing = {"kid": "key-2", "which": 1}
        newer = signed(claims(iss=party.wire.url("")), kid="key-2", which=1).reveal()
        done = await party.finish({"response": [newer]}, response_mode=ResponseMode.JWT)
        assert done.subject == "user-1"
        forged = signed(claims(iss=party.wire.url("")), kid="key-2").reveal()
        with pytest.raises(SignedResponseRejected, match="signature"):
            await party.finish({"response": [forged]}, response_mode=ResponseMode.JWT)


@pytest.mark.gen_test
async def test_no_keys_are_fetched_for_a_response_that_is_signed_with_the_client_secret() -> None:
    signing: dict[str, Any] = {"alg": "HS256", "secret": CLIENT_SECRET.encode(), "kid": None}
    async with acme(signing=signing) as party:
        response = {"response": [signed(claims(iss=party.wire.url("")), **signing).reveal()]}
        changes: dict[str, Any] = {"response_algs": ("HS256",), "id_token_algs": ("HS256",)}
        done = await party.finish(response, response_mode=ResponseMode.JWT, **changes)
        assert done.subject == "user-1"
        assert party.calls("/jwks_uri") == 0


@pytest.mark.gen_test
async def test_invented_keys_of_responses_do_not_exhaust_the_budget_of_id_tokens() -> None:
    async with acme() as party:
        await party.finish()
        invented = signed(claims(iss=party.wire.url("")), kid="invented").reveal()
        for _ in range(BURST + 1):
            with pytest.raises(SignedResponseRejected, match="kid_unknown"):
                await party.finish({"response": [invented]}, response_mode=ResponseMode.JWT)
        party.keys, party.signing = [public_jwk(kid="key-2")], {"kid": "key-2"}
        assert (await party.finish()).subject == "user-1"
