"""docs/protocol.md "Discovery and keys": an unknown `kid` causes one fetch of the keys (OIDC Core 10.1.1)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from portal.oidc.cache import OUTAGE_SECONDS, STALE_SECONDS
from portal.oidc.errors import IdTokenRejected, MetadataRejected, ProviderUnavailable
from portal.oidc.keys import KeySet, KeySource
from portal.oidc.provider import Authentication
from portal.oidc.refetch_budget import BURST, REFILL_SECONDS
from tests.kit.samples import ManualClock
from tests.unit.oidc.party import Party, acme
from tests.unit.oidc.signing import public_jwk, registration
from tests.unit.oidc.test_keys import NoKeyFits, newer
from tests.unit.outbound.wire import Received, Response, calling, http_response, serving, until

ES256: dict[str, Any] = {"id_token_algs": ("ES256",)}


def sign_with(party: Party, number: int, *, published: list[int]) -> None:
    """Make the provider sign with one key from now on and publish these keys."""
    party.signing = {"alg": "ES256", "kind": "P-256", "which": number, "kid": f"key-{number}"}
    party.keys = [public_jwk("P-256", kid=f"key-{which}", which=which) for which in published]
    now = party.time()
    party.claims |= {"iat": int(now), "exp": int(now) + 300}


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("overlap", [True, False])
async def test_key_rotation_during_50_parallel_logins_fails_none_of_them(overlap: bool) -> None:
    rotations, done = 6, 0

    async with acme() as party:
        sign_with(party, 0, published=[0])

        async def keep_signing_in() -> list[Authentication]:
            nonlocal done
            logins = []
            while party.signing["which"] < rotations:
                logins.append(await party.finish(**ES256))
                done += 1
            return logins

        async def rotate() -> None:
            for number in range(1, rotations + 1):
                enough = done + 60
                await until(lambda enough=enough: done >= enough, 20.0)  # type: ignore[misc]
                party.time.advance(31)
                sign_with(party, number, published=[number - 1, number] if overlap else [number])

        results = await asyncio.gather(*(keep_signing_in() for _ in range(50)), rotate())
        logins = [login for one in results if one for login in one]
        assert len(logins) == done >= 60 * rotations
        assert party.calls("/jwks_uri") <= 1 + rotations


@pytest.mark.gen_test
async def test_a_provider_may_change_its_keys_five_times_in_a_row_and_14_times_in_5_minutes() -> None:
    async with acme() as party:
        sign_with(party, 0, published=[0])
        await party.finish(**ES256)
        for number in range(1, 15):
            if number > BURST:
                party.time.advance(REFILL_SECONDS)
            sign_with(party, number, published=[number])
            assert (await party.finish(**ES256)).subject == "user-1"
        assert party.calls("/jwks_uri") == 15


@pytest.mark.gen_test
async def test_concurrent_logins_with_a_new_key_cause_one_fetch() -> None:
    async with acme() as party:
        sign_with(party, 0, published=[0])
        await party.finish(**ES256)
        sign_with(party, 1, published=[1])
        await asyncio.gather(*(party.finish(**ES256) for _ in range(20)))
        assert party.calls("/jwks_uri") == 2


@pytest.mark.gen_test
async def test_a_fetch_that_began_before_the_key_was_published_fails_no_login() -> None:
    gate = asyncio.Event()
    async with acme() as party:
        sign_with(party, 0, published=[0])
        await party.finish(**ES256)
        before = http_response(200, json.dumps({"keys": party.keys}))

        async def slow(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            writer.write(before)

        def responses(request: Received) -> Response:
            return slow if request.target == "/jwks_uri" and not gate.is_set() else party.script(request)

        party.responses = responses
        party.time.advance(3_600)
        sign_with(party, 0, published=[0])
        await party.finish(**ES256)  # starts to renew the stale set in the background
        await until(lambda: party.calls("/jwks_uri") == 2)
        sign_with(party, 1, published=[1])
        waiting = asyncio.ensure_future(party.finish(**ES256))
        await until(lambda: party.calls("/token") == 3)
        gate.set()
        assert (await waiting).subject == "user-1"
        assert party.calls("/jwks_uri") == 3


@pytest.mark.gen_test
async def test_a_provider_without_key_ids_may_change_its_only_key() -> None:
    async with acme(keys=[public_jwk(kid=None)], signing={"kid": None}) as party:
        await party.finish()
        party.keys, party.signing = [public_jwk(kid=None, which=1)], {"kid": None, "which": 1}
        assert (await party.finish()).subject == "user-1"
        party.signing = {"kid": None, "which": 2}
        for _ in range(BURST + 3):
            with pytest.raises(IdTokenRejected, match="signature"):
                await party.finish()
        assert party.calls("/jwks_uri") == 1 + BURST


@pytest.mark.gen_test
async def test_invented_keys_in_logout_tokens_do_not_exhaust_the_budget_of_logins() -> None:
    number = 0

    def script(_: Received) -> bytes:
        nonlocal number
        number += 1
        return http_response(200, json.dumps({"keys": [public_jwk(kid=str(number))]}))

    provider = registration()
    async with serving(script) as wire, calling() as client:
        source, url = KeySource(client, clock=ManualClock()), wire.url("/jwks")
        held = await source.get(provider, url)
        for _ in range(20):
            held = await newer(source, provider, url, held, purpose="logout")
        assert len(wire.received) == 1 + BURST
        for _ in range(20):
            held = await newer(source, provider, url, held)
        assert len(wire.received) == 1 + 2 * BURST


@pytest.mark.gen_test
async def test_a_key_set_fetched_by_another_caller_is_tried_before_another_fetch() -> None:
    async with serving(lambda _: http_response(200, json.dumps({"keys": [public_jwk()]}))) as wire:
        async with calling() as client:
            source, url = KeySource(client, clock=ManualClock()), wire.url("/jwks")
            old = await source.get(registration(), url)
            new = await newer(source, registration(), url, old)
            assert new is not old
            assert await newer(source, registration(), url, old) is new
            assert len(wire.received) == 2

            def reject_both(keys: KeySet) -> KeySet:
                if keys in (old, new):
                    raise NoKeyFits
                return keys

            newest = await source.validated(registration(), url, old, reject_both, unknown=NoKeyFits)
            assert newest not in (old, new)
            assert len(wire.received) == 3


EXPIRED = 3_600.0
"""Seconds after which a document without Cache-Control is fetched again."""


def set_time(party: Party, seconds: float) -> None:
    """Let time pass, for the provider's tokens too."""
    party.time.advance(seconds)
    party.claims |= {"iat": int(party.time()), "exp": int(party.time()) + 300}


@pytest.mark.gen_test
async def test_a_withdrawn_key_is_accepted_until_ten_minutes_after_the_key_set_expires() -> None:
    async with acme() as party:
        sign_with(party, 0, published=[0])
        await party.finish(**ES256)
        party.keys = [public_jwk("P-256", kid="key-1", which=1)]
        set_time(party, EXPIRED + STALE_SECONDS)
        with pytest.raises(IdTokenRejected, match="kid_unknown"):
            await party.finish(**ES256)


@pytest.mark.gen_test
async def test_a_changed_issuer_takes_effect_ten_minutes_after_the_metadata_expires() -> None:
    async with acme() as party:
        await party.finish()
        party.metadata = {"issuer": "https://another.example"}
        set_time(party, EXPIRED + STALE_SECONDS)
        with pytest.raises(MetadataRejected):
            await party.finish()


@pytest.mark.gen_test
async def test_keys_are_used_for_at_most_a_day_while_the_provider_is_unavailable() -> None:
    async with acme() as party:
        await party.finish()
        party.failing = {
            "/jwks_uri": http_response(503),
            "/.well-known/openid-configuration": http_response(503),
        }
        set_time(party, EXPIRED + OUTAGE_SECONDS - 60)
        assert (await party.finish()).subject == "user-1"
        set_time(party, 60)
        with pytest.raises(ProviderUnavailable):
            await party.finish()
