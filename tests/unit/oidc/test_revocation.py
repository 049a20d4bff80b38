from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from portal.oidc.errors import ProviderUnavailable, TokenRequestRejected
from portal.oidc.provider import ClientAuth, ProviderMetadata
from portal.oidc.revocation import revoke
from portal.secret import Secret
from tests.unit.oidc.signing import CLIENT_ID, ISSUER, registration
from tests.unit.outbound.wire import Wire, calling, http_response, serving


def metadata(wire: Wire, path: str | None = "/revoke") -> ProviderMetadata:
    endpoint = None if path is None else wire.url(path)
    return ProviderMetadata(
        ISSUER, wire.url("/a"), wire.url("/t"), wire.url("/j"), revocation_endpoint=endpoint
    )


@pytest.mark.gen_test
async def test_a_token_is_revoked_with_the_credentials_of_the_client() -> None:
    async with serving(lambda _: http_response(200)) as wire, calling() as client:
        provider = registration(client_auth=ClientAuth.NONE)
        assert await revoke(client, provider, metadata(wire), Secret("rt"), hint="refresh_token")
        assert await revoke(client, registration(), metadata(wire), Secret("rt"), hint="access_token")
    assert parse_qs(wire.received[0].body.decode()) == {
        "token": ["rt"],
        "token_type_hint": ["refresh_token"],
        "client_id": [CLIENT_ID],
    }
    assert (wire.received[1].header("Authorization") or "").startswith("Basic ")


@pytest.mark.gen_test
async def test_nothing_is_sent_to_a_provider_without_an_endpoint() -> None:
    async with serving(lambda _: http_response(200)) as wire, calling() as client:
        assert not await revoke(
            client, registration(), metadata(wire, None), Secret("rt"), hint="refresh_token"
        )
    assert wire.received == []


@pytest.mark.gen_test
async def test_a_rejected_revocation_is_an_error_without_the_token() -> None:
    body = json.dumps({"error": "unsupported_token_type", "error_description": "not s3cret"})
    async with serving(lambda _: http_response(400, body)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await revoke(client, registration(), metadata(wire), Secret("s3cret"), hint="refresh_token")
    assert rejection.value.error == "unsupported_token_type"
    assert "s3cret" not in rejection.value.detail


@pytest.mark.gen_test
async def test_a_busy_provider_is_unavailable() -> None:
    async with serving(lambda _: http_response(503)) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await revoke(client, registration(), metadata(wire), Secret("rt"), hint="refresh_token")
    assert len(wire.received) == 1
