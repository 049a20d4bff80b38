"""Rules for what the portal fetches from a provider and caches: its metadata and its key set."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from portal.oidc.cache import DocumentCache
from portal.oidc.discovery import MetadataSource
from portal.oidc.errors import MetadataRejected
from portal.oidc.keys import KeySource
from portal.oidc.provider import Provider
from portal.outbound.client import OutboundClient
from tests.kit.memory import kept_memory
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import public_jwk, registration
from tests.unit.oidc.test_keys import newer
from tests.unit.outbound.wire import Received, Wire, calling, http_response, serving

Get = Callable[[Provider], Awaitable[object]]


def metadata_of(client: OutboundClient) -> Get:
    return MetadataSource(client, clock=ManualClock()).get


def keys_of(client: OutboundClient) -> Get:
    source = KeySource(client, clock=ManualClock())
    return lambda provider: source.get(provider, f"{provider.issuer}/jwks")


def documents(wire: Wire) -> bytes:
    """Return a response that is valid metadata and a valid key set, each of about 5,000 bytes in memory."""
    own = {name: wire.url(f"/{name}") for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    own["end_session_endpoint"] = wire.url(f"/{'x' * 1_200}")
    return http_response(200, json.dumps({"issuer": wire.url(""), **own, "keys": [public_jwk()]}))


both = pytest.mark.parametrize("document", [metadata_of, keys_of])


@pytest.mark.gen_test
@both
async def test_D5_documents_of_a_tenant_with_many_registrations_evict_none_of_another(
    document: Callable[[OutboundClient], Get], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("discovery", "keys"):
        small = partial(DocumentCache, max_bytes=50_000)
        monkeypatch.setattr(f"portal.oidc.{module}.DocumentCache", small)
    async with serving(lambda _: documents(wire)) as wire, calling() as client:
        get = document(client)
        await get(registration(issuer=wire.url(""), tenant="globex"))
        for number in range(20):
            await get(registration(issuer=wire.url(""), id=f"provider-{number}"))
        await get(registration(issuer=wire.url(""), tenant="globex"))
        assert len(wire.received) == 1 + 20


@pytest.mark.parametrize(
    "member",
    ["usual", [[] for _ in range(1_900)], [{} for _ in range(1_900)], {"a" * 900: "b" * 20_000}],
    ids=["usual", "lists", "objects", "text"],
)
@pytest.mark.gen_test
async def test_D5_the_memory_of_metadata_documents_is_not_underestimated(member: object) -> None:
    fetches = 20
    async with serving(lambda _: http_response(200, json.dumps(document))) as wire, calling() as client:
        own = {
            name: wire.url(f"/{name}") for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        }
        document: dict[str, object] = {"issuer": wire.url(""), **own, "mtls_endpoint_aliases": member}
        if member == "usual":
            del document["mtls_endpoint_aliases"]
        source = MetadataSource(client, clock=ManualClock())
        providers = [registration(issuer=wire.url(""), id=f"provider-{number}") for number in range(fetches)]
        await source.get(registration(issuer=wire.url(""), id="first"))
        first = source._documents._entries.size
        with kept_memory() as kept:
            for provider in providers:
                await source.get(provider)
        counted = source._documents._entries.size - first
    assert len(source._documents._entries) == fetches + 1
    of_fetches = 3_000 * fetches  # what the test server remembers of its requests, and read metadata
    assert kept.bytes < counted + of_fetches


@pytest.mark.gen_test
@both
async def test_D4_a_failed_fetch_is_repeated_at_once_only_after_the_tenant_file_has_changed(
    document: Callable[[OutboundClient], Get],
) -> None:
    async with serving(lambda _: http_response(404)) as wire, calling() as client:
        get = document(client)
        for scopes, requests in ((("openid",), 1), (("openid",), 1), (("openid", "email"), 2)):
            with pytest.raises(MetadataRejected):
                await get(registration(issuer=wire.url(""), scopes=scopes))
            assert len(wire.received) == requests


@pytest.mark.gen_test
async def test_D4_a_failed_fetch_for_an_unknown_key_is_not_repeated_before_a_pause() -> None:
    def script(_: Received) -> bytes:
        return documents(wire) if len(wire.received) == 1 else http_response(404)

    async with serving(script) as wire, calling() as client:
        source, provider = KeySource(client, clock=ManualClock()), registration(issuer=wire.url(""))
        held = await source.get(provider, wire.url("/jwks"))
        for _ in range(2):
            with pytest.raises(MetadataRejected, match="404"):
                await newer(source, provider, wire.url("/jwks"), held)
            with pytest.raises(MetadataRejected, match="404"):
                await source.get(provider, wire.url("/jwks"))
        assert len(wire.received) == 2
