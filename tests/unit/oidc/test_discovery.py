from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from portal.errors import OutboundRefused
from portal.oidc.discovery import MetadataSource, discovery_url, parse_document, read_metadata
from portal.oidc.errors import MetadataRejected, ProviderUnavailable
from portal.oidc.provider import Endpoints, Provider, ProviderMetadata
from portal.oidc.quoting import kind_of
from portal.oidc.recent_failures import FIRST_PAUSE
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import ISSUER, registration
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import Received, Wire, calling, http_response, serving, until


def pass_every_url(url: str) -> None:
    """Accept every URL, for tests of other rules."""


def document(**changes: Any) -> dict[str, Any]:
    members = {
        "issuer": ISSUER,
        "authorization_endpoint": "https://login.acme.example/authorize",
        "token_endpoint": "https://login.acme.example/token",
        "jwks_uri": "https://login.acme.example/jwks",
        "userinfo_endpoint": "https://login.acme.example/userinfo",
        "end_session_endpoint": "https://login.acme.example/logout",
        "revocation_endpoint": "https://login.acme.example/revoke",
        "pushed_authorization_request_endpoint": "https://login.acme.example/par",
        "require_pushed_authorization_requests": True,
        "authorization_response_iss_parameter_supported": True,
        "unknown_member": ["ignored"],
        **changes,
    }
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/openid-configuration"),
        ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
        ("https://a.example/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"),
        ("https://a.example/realms/x/", "https://a.example/realms/x/.well-known/openid-configuration"),
    ],
)
def test_the_metadata_url_is_below_the_issuer(issuer: str, url: str) -> None:
    assert discovery_url(issuer) == url


def test_every_endpoint_is_read() -> None:
    assert read_metadata(document(), registration(), pass_every_url) == ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint="https://login.acme.example/authorize",
        token_endpoint="https://login.acme.example/token",
        jwks_uri="https://login.acme.example/jwks",
        userinfo_endpoint="https://login.acme.example/userinfo",
        end_session_endpoint="https://login.acme.example/logout",
        revocation_endpoint="https://login.acme.example/revoke",
        pushed_authorization_request_endpoint="https://login.acme.example/par",
        pushed_requests_required=True,
        iss_parameter_supported=True,
    )


@pytest.mark.parametrize(
    "stated",
    [
        None,
        "",
        "https://login.acme.example",
        "https://login.acme.example//",
        "HTTPS://login.acme.example/",
        "https://login.other.example/",
        1,
        [ISSUER],
    ],
)
def test_metadata_of_any_other_issuer_is_rejected(stated: object) -> None:
    with pytest.raises(MetadataRejected, match="issuer"):
        parse_document(json.dumps(document(issuer=stated)).encode(), ISSUER)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"issuer":"x","issuer":"x"}'])
def test_an_invalid_metadata_document_is_rejected(body: bytes) -> None:
    with pytest.raises(MetadataRejected):
        parse_document(body, "x")


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]
)
def test_a_missing_endpoint_is_named_and_not_guessed(name: str) -> None:
    with pytest.raises(MetadataRejected, match=f"^{name} is missing$"):
        read_metadata(document(**{name: None}), registration(userinfo=True), pass_every_url)


@pytest.mark.parametrize("name", ["userinfo_endpoint", "end_session_endpoint", "revocation_endpoint"])
def test_an_optional_endpoint_may_be_missing(name: str) -> None:
    metadata = read_metadata(document(**{name: None}), registration(), pass_every_url)
    assert getattr(metadata, name) is None


@pytest.mark.parametrize("value", [1, True, ["https://a.example"], {}])
def test_an_endpoint_that_is_not_a_string_is_rejected(value: object) -> None:
    with pytest.raises(MetadataRejected, match=f"^token_endpoint is {kind_of(value)}; expected a URL$"):
        read_metadata(document(token_endpoint=value), registration(), pass_every_url)


def test_every_endpoint_is_checked_and_the_broken_rule_named() -> None:
    def refuse(url: str) -> None:
        if url.endswith("/revoke"):
            raise OutboundRefused("private: 10.0.0.1")

    with pytest.raises(MetadataRejected, match=r"^revocation_endpoint: private: 10\.0\.0\.1$"):
        read_metadata(document(), registration(), refuse)


def test_endpoints_of_the_tenant_file_take_precedence() -> None:
    mine = Endpoints(*(f"https://mine.example/{number}" for number in range(7)))
    metadata = read_metadata(document(), registration(endpoints=mine), pass_every_url)
    assert metadata == ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint="https://mine.example/0",
        token_endpoint="https://mine.example/1",
        jwks_uri="https://mine.example/2",
        userinfo_endpoint="https://mine.example/3",
        end_session_endpoint="https://mine.example/4",
        revocation_endpoint="https://mine.example/5",
        pushed_authorization_request_endpoint="https://mine.example/6",
        pushed_requests_required=True,
        iss_parameter_supported=True,
    )


@pytest.mark.parametrize("value", [False, None])
def test_the_iss_parameter_is_expected_only_when_metadata_says_so(value: object) -> None:
    changes = {"authorization_response_iss_parameter_supported": value}
    assert not read_metadata(document(**changes), registration(), pass_every_url).iss_parameter_supported


@pytest.mark.parametrize("value", ["true", "false", 1, 0, [], {}])
def test_a_non_boolean_iss_parameter_flag_is_rejected(value: object) -> None:
    changes = {"authorization_response_iss_parameter_supported": value}
    with pytest.raises(MetadataRejected, match=f" is {kind_of(value)}; expected true or false$"):
        read_metadata(document(**changes), registration(), pass_every_url)


def own_document(wire: Wire, **changes: Any) -> bytes:
    own = {name: wire.url(f"/{name}") for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    return json.dumps({"issuer": wire.url(""), **own, **changes}).encode()


@pytest.mark.gen_test
async def test_metadata_is_fetched_once_for_many_logins() -> None:
    async with serving(lambda _: http_response(200, own_document(wire))) as wire, calling() as client:
        source = MetadataSource(client, clock=ManualClock())
        provider = registration(issuer=wire.url(""))
        found = [await source.get(provider) for _ in range(5)]
    assert found[0].token_endpoint == wire.url("/token_endpoint")
    assert wire.targets() == ["/.well-known/openid-configuration"]


@pytest.mark.gen_test
async def test_a_changed_endpoint_of_the_tenant_file_takes_effect_at_once() -> None:
    async with serving(lambda _: http_response(200, own_document(wire))) as wire, calling() as client:
        source = MetadataSource(client, clock=ManualClock())
        await source.get(registration(issuer=wire.url("")))
        mine = registration(issuer=wire.url(""), endpoints=Endpoints(token=wire.url("/mine")))
        assert (await source.get(mine)).token_endpoint == wire.url("/mine")
    assert len(wire.received) == 1


@pytest.mark.gen_test
async def test_the_endpoints_for_clients_with_a_certificate_are_cached_too() -> None:
    """RFC 8705 5."""

    def script(_: Received) -> bytes:
        return http_response(
            200, own_document(wire, mtls_endpoint_aliases={"token_endpoint": wire.url("/mtls")})
        )

    async with serving(script) as wire, calling() as client:
        source, issuer = MetadataSource(client, clock=ManualClock()), wire.url("")
        assert (await source.get(registration(issuer=issuer))).token_endpoint == wire.url("/token_endpoint")
        certified = registration(issuer=issuer, client_certificate=issue("acme").of_client)
        assert (await source.get(certified)).token_endpoint == wire.url("/mtls")
    assert len(wire.received) == 1


@pytest.mark.gen_test
async def test_a_provider_without_discovery_works_with_configured_endpoints() -> None:
    async with calling() as client:
        source = MetadataSource(client, clock=ManualClock())
        given = Endpoints("https://a.example/a", "https://a.example/t", "https://a.example/j")
        metadata = await source.get(registration(discovery=False, endpoints=given))
        assert metadata.jwks_uri == "https://a.example/j"
        with pytest.raises(MetadataRejected, match="jwks_uri is missing"):
            await source.get(
                registration(
                    discovery=False, endpoints=Endpoints("https://a.example/a", "https://a.example/t")
                )
            )


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [203, 301, 401, 404])
async def test_any_response_but_200_is_rejected(status: int) -> None:
    async with serving(lambda _: http_response(status, own_document(wire))) as wire, calling() as client:
        with pytest.raises(MetadataRejected, match=str(status)):
            await MetadataSource(client, clock=ManualClock()).get(registration(issuer=wire.url("")))


@pytest.mark.gen_test
async def test_D5_metadata_of_more_than_64_kib_is_not_read() -> None:
    size = 65_536

    def script(_: Received) -> bytes:
        return http_response(200, own_document(wire).ljust(size))

    async with serving(script) as wire, calling() as client:
        provider = registration(issuer=wire.url(""))
        assert await MetadataSource(client, clock=ManualClock()).get(provider)
        size += 1
        with pytest.raises(ProviderUnavailable, match="65536 bytes"):
            await MetadataSource(client, clock=ManualClock()).get(provider)


@pytest.mark.gen_test
async def test_an_unavailable_provider_is_served_from_the_cache_once_it_was_available() -> None:
    up = False

    def script(_: Received) -> bytes:
        return (
            http_response(200, own_document(wire), [("Cache-Control", "max-age=60")])
            if up
            else http_response(503)
        )

    time = ManualClock()
    async with serving(script) as wire, calling() as client:
        source = MetadataSource(client, clock=time)
        provider = registration(issuer=wire.url(""))
        with pytest.raises(ProviderUnavailable):
            await source.get(provider)
        assert len(wire.received) == 2
        up = True
        time.advance(FIRST_PAUSE)
        known = await source.get(provider)
        up = False
        time.advance(86_400)
        assert await source.get(provider) == known
        await until(lambda: len(wire.received) == 5)
        assert {request.method for request in wire.received} == {"GET"}
        assert await source.get(provider) == known
        await source.close()


async def get_again_and_again(source: MetadataSource, provider: Provider) -> None:
    async with asyncio.timeout(5):
        while True:
            await source.get(provider)
            await asyncio.sleep(0.005)


@pytest.mark.gen_test
async def test_metadata_is_no_longer_used_after_its_issuer_changes() -> None:
    issuer = None
    time = ManualClock()

    def script(_: Received) -> bytes:
        return http_response(200, own_document(wire, issuer=issuer or wire.url("")))

    async with serving(script) as wire, calling() as client:
        source = MetadataSource(client, clock=time)
        provider = registration(issuer=wire.url(""))
        await source.get(provider)
        issuer = "https://login.other.example/"
        time.advance(3601)
        await source.get(provider)
        with pytest.raises(MetadataRejected):
            await get_again_and_again(source, provider)
        await source.close()
