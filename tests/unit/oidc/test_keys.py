from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.errors import KeysRejected, ProviderUnavailable
from portal.oidc.jose.algorithms import SUPPORTED, fits
from portal.oidc.keys import KeySet, KeySource, parse_key_set
from portal.oidc.provider import Provider
from portal.oidc.refetch_budget import BURST, REFILL_SECONDS, RefetchBudget
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import b64, public_jwk, registration
from tests.unit.outbound.wire import calling, http_response, serving, until


def parsed(*members: Any) -> KeySet:
    return parse_key_set(json.dumps({"keys": members}).encode())


def test_public_signing_keys_of_every_kind_are_kept() -> None:
    members = [
        public_jwk("RSA", kid="a", use="sig", alg="RS256", key_ops=["verify"]),
        public_jwk("P-256", kid="b"),
        public_jwk("P-384", kid="c"),
        public_jwk("P-521", kid="d"),
        public_jwk("Ed25519", kid="e"),
        public_jwk("Ed448", kid=None, x5c=["ignored"]),
    ]
    kept = [
        {name: value for name, value in member.items() if name not in {"key_ops", "x5c"}}
        for member in members
    ]
    assert parsed(*members).members == tuple(kept)


@pytest.mark.parametrize(
    "member",
    [
        public_jwk(use="enc"),
        public_jwk(use=None),
        public_jwk(key_ops=["encrypt"]),
        public_jwk(key_ops="verify"),
        public_jwk(kid=None) | {"kid": 5},
        public_jwk(alg=5),
        public_jwk(d="AQAB"),
        public_jwk("P-256", d="AQAB"),
        public_jwk("Ed25519", d="AQAB"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "key-1"},
        public_jwk("RSA-1024"),
        public_jwk() | {"n": "A" * 1367},
        public_jwk() | {"e": "A" * 7},
        public_jwk() | {"e": 65537},
        public_jwk() | {"e": " AQAB"},
        public_jwk() | {"e": ""},
        public_jwk() | {"n": 5},
        public_jwk() | {"n": "a b"},
        {"kty": "RSA", "kid": "key-1"},
        public_jwk("P-256") | {"crv": "secp256k1"},
        {"kty": "EC", "crv": "P-256", "x": "AQAB"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "OKP", "crv": "X448x", "x": "AQAB"},
        {"kty": "new"},
        {},
        "text",
        None,
    ],
)
def test_keys_that_cannot_verify_id_tokens_are_skipped(member: object) -> None:
    good = public_jwk(kid="good", which=1)
    assert parsed(member, good).members == (good,)


@pytest.mark.parametrize("bits", [2048, 8192])
def test_rsa_keys_of_2048_to_8192_bits_with_an_exponent_of_up_to_32_are_kept(bits: int) -> None:
    member = {"kty": "RSA", "n": b64(b"\xff" * (bits // 8)), "e": b64(b"\xff" * 4) + "=="}
    assert parsed(member).members == (member,)


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA"}),
        ("Ed448", {"EdDSA"}),
    ],
)
def test_a_key_fits_the_algorithms_of_its_type_and_curve_only(kind: str, algorithms: set[str]) -> None:
    member = public_jwk(kind)
    assert {alg for alg in (*SUPPORTED, "none", "RSA1_5", "dir") if fits(member, alg)} == algorithms
    assert {alg for alg in SUPPORTED if fits(member | {"alg": min(algorithms)}, alg)} == {min(algorithms)}
    assert not any(fits(member | {"kty": "oct"}, alg) for alg in SUPPORTED)


@pytest.mark.parametrize(
    "member",
    [
        public_jwk("P-256") | {"x": b64(b"\x01" * 32)},
        public_jwk("Ed25519") | {"x": b64(b"short")},
        public_jwk() | {"e": "AA"},
    ],
)
def test_an_invalid_key_is_ignored(member: dict[str, Any]) -> None:
    keys = parsed(member)
    for alg in ("RS256", "PS256", "ES256", "EdDSA"):
        assert keys.candidates(alg, "key-1") == []


def test_a_key_is_chosen_by_kid_kind_curve_and_algorithm() -> None:
    keys = parsed(
        public_jwk("RSA", kid="a", alg="RS256"),
        public_jwk("P-256", kid="b"),
        public_jwk("P-384", kid="b"),
        public_jwk("Ed25519", kid="c"),
    )
    assert len(keys.candidates("RS256", "a")) == 1
    assert keys.candidates("PS256", "a") == []
    assert keys.candidates("RS256", "b") == []
    assert [curve for _, curve in keys.candidates("ES256", "b")] == ["P-256"]
    assert [curve for _, curve in keys.candidates("ES384", "b")] == ["P-384"]
    assert [curve for _, curve in keys.candidates("EdDSA", None)] == ["Ed25519"]
    assert keys.candidates("HS256", "a") == []
    assert keys.candidates("none", None) == []


def test_without_a_kid_only_a_single_matching_key_is_used() -> None:
    keys = parsed(public_jwk(kid="a"), public_jwk(kid="b", which=1, alg="RS512"))
    assert len(keys.candidates("RS256", None)) == 1
    assert keys.candidates("RS512", None) == []


def test_a_key_object_is_made_once() -> None:
    keys = parsed(public_jwk())
    assert keys.candidates("RS256", "key-1")[0][0] is keys.candidates("RS256", None)[0][0]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"<html>", b'{"keys":[],"keys":[]}']
)
def test_an_invalid_key_set_is_rejected(body: bytes) -> None:
    with pytest.raises(KeysRejected):
        parse_key_set(body)


def test_T7_a_set_of_very_many_keys_is_rejected() -> None:
    key = public_jwk()
    assert len(parsed(*[key] * 100).members) == 100
    for member in ({}, key):
        with pytest.raises(KeysRejected, match="more than 100 keys"):
            parsed(*[member] * 101)


def test_T7_a_signature_is_tried_with_few_keys_of_one_kid() -> None:
    keys = parsed(*[public_jwk(kid="a")] * 50, public_jwk(kid="b"))
    assert len(keys.candidates("RS256", "a")) == 4
    assert len(keys.candidates("RS256", "b")) == 1
    assert keys.candidates("RS256", None) == []


@given(
    st.binary(max_size=100)
    | st.from_regex(rb'\{"keys":\[(\{"kty":"(RSA|EC|OKP)","[nexycrvdk]":[^,]{0,9}\},?)*\]\}')
)
def test_any_bytes_are_a_key_set_or_rejected(body: bytes) -> None:
    try:
        keys = parse_key_set(body)
    except KeysRejected:
        return
    for alg in ("RS256", "PS256", "ES256", "EdDSA"):
        keys.candidates(alg, None)


def jwks(*kids: str, headers: list[tuple[str, str]] | None = None) -> bytes:
    return http_response(200, json.dumps({"keys": [public_jwk(kid=kid) for kid in kids]}), headers)


def kids_of(keys: KeySet) -> list[object]:
    return [member["kid"] for member in keys.members]


@pytest.mark.gen_test
async def test_keys_are_fetched_once_and_again_when_they_are_stale() -> None:
    responses = [jwks("a", headers=[("Cache-Control", "max-age=120")]), jwks("b")]
    time = ManualClock()
    async with serving(lambda _: responses.pop(0)) as wire, calling() as client:
        source = KeySource(client, clock=time)
        first = await source.get(registration(), wire.url("/jwks"))
        time.advance(119)
        assert await source.get(registration(), wire.url("/jwks")) is first
        time.advance(1)
        assert await source.get(registration(), wire.url("/jwks")) is first
        await until(lambda: responses == [])
        newer = first
        async with asyncio.timeout(5):
            while newer is first:
                await asyncio.sleep(0.005)
                newer = await source.get(registration(), wire.url("/jwks"))
        assert kids_of(newer) == ["b"]


class NoKeyFits(Exception):
    """No key of the set has the token's `kid`."""


async def newer(
    source: KeySource, provider: Provider, url: str, held: KeySet, *, purpose: str = "login"
) -> KeySet:
    """Return the keys that are tried instead of `held`; `held` if there are no newer ones."""

    def validate(keys: KeySet) -> KeySet:
        if keys is held:
            raise NoKeyFits
        return keys

    try:
        return await source.validated(provider, url, held, validate, unknown=NoKeyFits, purpose=purpose)
    except NoKeyFits:
        return held


@pytest.mark.gen_test
async def test_unknown_keys_cause_a_burst_of_5_fetches_and_one_more_every_30_seconds() -> None:
    number = 0

    def script(_: object) -> bytes:
        nonlocal number
        number += 1
        return jwks(str(number))

    time, provider = ManualClock(), registration()
    async with serving(script) as wire, calling() as client:
        source, url = KeySource(client, clock=time), wire.url("/jwks")
        keys = await source.get(provider, url)
        for expected in ("2", "3", "4", "5", "6", "6", "6"):
            keys = await newer(source, provider, url, keys)
            assert kids_of(keys) == [expected]
        time.advance(29.9)
        assert kids_of(await newer(source, provider, url, keys)) == ["6"]
        other = registration(tenant="other")
        held = await source.get(other, url)
        assert kids_of(await newer(source, other, url, held)) == ["8"]
        time.advance(0.1)
        keys = await newer(source, provider, url, keys)
        assert kids_of(await newer(source, provider, url, keys)) == ["9"]
        time.advance(10_000)
        for _ in range(20):
            keys = await newer(source, provider, url, keys)
        assert number == 9 + 5


@pytest.mark.gen_test
async def test_a_token_with_an_invented_kid_causes_one_fetch() -> None:
    async with serving(lambda _: jwks("a")) as wire, calling() as client:
        source, url = KeySource(client, clock=ManualClock()), wire.url("/jwks")
        keys = await source.get(registration(), url)

        def validate(_: KeySet) -> None:
            raise NoKeyFits

        with pytest.raises(NoKeyFits):
            await source.validated(registration(), url, keys, validate, unknown=NoKeyFits)
        assert len(wire.received) == 2


def test_a_clock_that_is_set_back_costs_no_more_than_the_burst() -> None:
    time = ManualClock()
    budget = RefetchBudget(time)
    assert [budget.take("k") for _ in range(BURST + 1)] == [True] * BURST + [False]
    time.advance(-1_000_000)
    assert [budget.take("k") for _ in range(2)] == [False, False]
    time.advance(REFILL_SECONDS)
    assert [budget.take("k") for _ in range(2)] == [True, False]


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404])
async def test_a_key_set_url_with_an_error_status_is_rejected(status: int) -> None:
    async with serving(lambda _: http_response(status)) as wire, calling() as client:
        with pytest.raises(KeysRejected, match=str(status)):
            await KeySource(client, clock=ManualClock()).get(registration(), wire.url("/jwks"))
    assert len(wire.received) == 1


@pytest.mark.gen_test
async def test_D5_a_key_set_of_more_than_128_kb_is_not_read() -> None:
    size = 128_000

    def script(_: object) -> bytes:
        return http_response(200, json.dumps({"keys": [public_jwk(kid="a")]}).ljust(size))

    async with serving(script) as wire, calling() as client:
        source = KeySource(client, clock=ManualClock())
        assert kids_of(await source.get(registration(), wire.url("/jwks"))) == ["a"]
        size += 1
        with pytest.raises(ProviderUnavailable, match="128000 bytes"):
            await source.get(registration(), wire.url("/other"))


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_busy_server_is_retried_once(status: int) -> None:
    responses = [http_response(status), jwks("a"), http_response(status), http_response(status)]
    async with serving(lambda _: responses.pop(0)) as wire, calling() as client:
        source = KeySource(client, clock=ManualClock())
        assert kids_of(await source.get(registration(), wire.url("/jwks"))) == ["a"]
        with pytest.raises(ProviderUnavailable):
            await source.get(registration(), wire.url("/other"))
    assert responses == []
