"""Invented logout tokens cause little work, at the portal and at providers (THREATS S11, S14)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from portal.errors import PortalError
from portal.oidc import logout_token
from portal.oidc.errors import KeysRejected, LogoutTokenRejected, MetadataRejected, ProviderUnavailable
from portal.oidc.jose import jws
from portal.oidc.logout_token import EVENT, LARGEST
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.oidc.recent_failures import FIRST_PAUSE, LONGEST_PAUSE
from portal.secret import Secret
from tests.unit.oidc.party import Party, acme
from tests.unit.oidc.signing import b64, registration, signed
from tests.unit.oidc.test_logout_token import SID, logout_claims
from tests.unit.outbound.wire import http_response

METADATA, KEYS = "/.well-known/openid-configuration", "/jwks_uri"
TWICE = 2
"""Requests for a document when the provider responds with a server error: one retry."""


def token_of(length: int, **changes: Any) -> Secret:
    """Return a logout token of exactly this many characters, with an invalid signature."""
    header = b64(json.dumps({"alg": "RS256"}).encode())
    payload = b64(json.dumps(logout_claims(**changes)).encode())
    token = f"{header}.{payload}."
    return Secret(token + "A" * (length - len(token)))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signed tokens whose claims have been read."""
    read: list[str] = []
    original = jws.stored_claims

    def reading(token: str) -> Any:
        read.append(token)
        return original(token)

    monkeypatch.setattr(jws, "stored_claims", reading)
    return read


# --- reading


def test_a_logout_token_that_is_too_long_is_rejected_unread(readings: list[str]) -> None:
    opened: list[str] = []

    def decrypt(token: Secret, provider: Provider) -> Secret:
        opened.append(provider.id)
        return token

    providers = [registration()]
    assert logout_token.find_registration(token_of(LARGEST), providers, decrypt=decrypt)[0] == providers[0]
    assert (len(readings), len(opened)) == (1, 1)
    with pytest.raises(LogoutTokenRejected) as rejection:
        logout_token.find_registration(token_of(LARGEST + 1), providers, decrypt=decrypt)
    assert LARGEST == 16_384
    assert (rejection.value.rule, rejection.value.status) == ("size", 400)
    assert (len(readings), len(opened)) == (1, 1)


def test_a_token_is_decrypted_once_per_encryption_and_read_once_for_many_providers(
    readings: list[str],
) -> None:
    ways = [IdTokenEncryption("RSA-OAEP", "A256GCM"), IdTokenEncryption("ECDH-ES", "A128GCM"), None]
    providers = [
        registration(id=f"p{number}", client_id=f"client-{number}", id_token_encryption=ways[number % 3])
        for number in range(21)
    ]
    opened: list[object] = []

    def decrypt(token: Secret, provider: Provider) -> Secret:
        opened.append(provider.id_token_encryption)
        return token

    with pytest.raises(LogoutTokenRejected) as rejection:
        logout_token.find_registration(signed(logout_claims(aud="stranger")), providers, decrypt=decrypt)
    assert rejection.value.rule == "aud"
    assert opened == ways
    assert len(readings) == 1
    last = signed(logout_claims(aud="client-20"))
    found, _ = logout_token.find_registration(last, providers, decrypt=decrypt)
    assert found == providers[20]


def test_the_result_of_one_encryption_is_not_used_for_another(readings: list[str]) -> None:
    """A registration that encrypts must not get a token that another registration leaves unencrypted."""
    encrypting = registration(id="two", id_token_encryption=IdTokenEncryption("RSA-OAEP", "A256GCM"))
    lenient = registration(id="one", id_token_encryption=IdTokenEncryption("RSA-OAEP", "A256GCM", False))
    inner = signed(logout_claims(aud=encrypting.client_id))

    def decrypt(token: Secret, provider: Provider) -> Secret:
        return inner if provider is encrypting else signed(logout_claims(aud="another"))

    found, opened = logout_token.find_registration(Secret("sent"), [lenient, encrypting], decrypt=decrypt)
    assert (found, opened) == (encrypting, inner)
    assert len(readings) == 2


# --- requests to the provider


async def error_of(party: Party, *, kid: str = "key-1") -> str | None:
    """Deliver a logout token. Return the name of the error, None when it is accepted."""
    claims = logout_claims(iss=party.wire.url(""), events={EVENT: {}})
    try:
        await party.relying_party.read_logout_token([party.provider()], signed(claims, kid=kid))
    except PortalError as error:
        return type(error).__name__
    return None


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "failure", "requests", "error"),
    [
        (METADATA, http_response(404), 1, MetadataRejected),
        (METADATA, http_response(503), TWICE, ProviderUnavailable),
        (METADATA, http_response(200, "no JSON"), 1, MetadataRejected),
        (KEYS, http_response(404), 1, KeysRejected),
        (KEYS, http_response(503), TWICE, ProviderUnavailable),
    ],
)
async def test_D4_invented_tokens_do_not_each_cause_a_request_to_a_failing_provider(
    path: str, failure: bytes, requests: int, error: type[PortalError]
) -> None:
    async with acme(failing={path: failure}) as party:
        assert [await error_of(party) for _ in range(20)] == [error.__name__] * 20
        assert party.calls(path) == requests
        party.time.advance(FIRST_PAUSE)
        assert [await error_of(party) for _ in range(20)] == [error.__name__] * 20
        assert party.calls(path) == 2 * requests
        party.time.advance(FIRST_PAUSE)
        await error_of(party)
        assert party.calls(path) == 2 * requests, "the second pause is longer"


@pytest.mark.gen_test
async def test_a_recovered_provider_is_requested_again_and_its_tokens_are_read() -> None:
    async with acme(failing={KEYS: http_response(503)}) as party:
        for _ in range(2):
            await error_of(party)
            party.time.advance(LONGEST_PAUSE)
        await error_of(party)
        party.failing.clear()
        assert await error_of(party) == "ProviderUnavailable", "not requested yet"
        party.time.advance(LONGEST_PAUSE)
        assert await error_of(party) is None


@pytest.mark.gen_test
async def test_D4_concurrent_tokens_cause_one_fetch_from_a_failing_provider() -> None:
    async with acme(failing={METADATA: http_response(503)}) as party:
        await asyncio.gather(*(error_of(party) for _ in range(20)))
        for _ in range(20):
            await error_of(party)
        assert party.calls(METADATA) == TWICE


@pytest.mark.gen_test
async def test_failures_caused_by_invented_tokens_delay_logins_by_a_second_only() -> None:
    async with acme(failing={METADATA: http_response(503)}) as party:
        for _ in range(10):
            await error_of(party)
        party.failing.clear()
        party.time.advance(FIRST_PAUSE)
        assert (await party.finish()).subject == "user-1"


@pytest.mark.gen_test
async def test_failures_of_one_provider_do_not_affect_another() -> None:
    async with acme(failing={METADATA: http_response(503)}) as party, acme() as other:
        for _ in range(10):
            await error_of(party)
        token = signed(logout_claims(iss=other.wire.url("")))
        provider = other.provider(tenant="globex")
        assert (await party.relying_party.read_logout_token([provider], token)).sid == SID
