"""The sample APIs: the tokens they accept, and their responses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from portal.demo.api import ApiSettings
from portal.demo.compact import sign_rs256
from portal.demo.organisations import ACME_ORGANISATION
from portal.demo.provider_model import Grant
from tests.kit.faulty.api import FaultyApi
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.faulty.forged_tokens import sign_hs256, unsigned
from tests.kit.faulty.hostile_responses import HOSTILE
from tests.kit.rsa_keys import rsa_key
from tests.kit.samples import ManualClock
from tests.unit.demo.parties import ALICE, Party, serving

AUDIENCE = "https://api.acme.example"
READ = ("openid", "read:orders")


class Caller:
    """Calls an API with access tokens of a provider."""

    def __init__(self, party: Party, api: FaultyApi, url: str) -> None:
        self.provider, self.api, self.url, self.http = party.provider, api, url, party.http

    def token(self, scope: tuple[str, ...] = READ, audience: str = AUDIENCE) -> str:
        grant = Grant("client", ALICE, scope, (audience,), "sid", 0.0, None)
        return self.provider.mint.access_token(grant, scope, (audience,)).value

    async def call(
        self, path: str, token: str | None = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> HTTPResponse:
        bearer = {"Authorization": f"Bearer {self.token() if token is None else token}"}
        return await self.http.fetch(
            self.url + path,
            headers=bearer if headers is None else headers,
            raise_error=False,
            follow_redirects=False,
            **options,
        )


@asynccontextmanager
async def calling(
    key: RSAPrivateKey, clock: Callable[[], float] = time.time, *, hostile: bool = False
) -> AsyncIterator[Caller]:
    async with serving(key, clock=clock) as party:
        settings = ApiSettings(
            id="acme",
            name="Acme",
            issuer=party.provider.issuer,
            jwks_uri=f"{party.provider.issuer}/jwks",
            audience=AUDIENCE,
            collections=ACME_ORGANISATION.collections,
            clock=clock,
        )
        api = FaultyApi(settings, hostile=hostile)
        sockets = bind_sockets(0, address="127.0.0.1")
        server = HTTPServer(api.application())
        server.add_sockets(sockets)
        try:
            yield Caller(party, api, f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1")
        finally:
            server.stop()
            await server.close_all_connections()


def document(response: HTTPResponse) -> Any:
    assert response.headers["Content-Type"] == "application/json"
    return json.loads(response.body)


@pytest.mark.gen_test
async def test_records_are_listed_and_found(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        listed = document(await caller.call("/orders"))
        assert listed["organisation"] == "Acme"
        assert [order["id"] for order in listed["orders"]] == ["A-1001", "A-1002", "A-1003"]
        assert document(await caller.call("/orders/A-1002"))["item"] == "Portable hole"
        missing = await caller.call("/orders/none")
        assert missing.code == 404
        assert document(missing)["error"] == "not_found"
        assert caller.api.calls == {"collection": 1, "record": 2}


@pytest.mark.gen_test
async def test_adding_a_record_requires_the_write_scope(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        refused = await caller.call("/orders", method="POST", body="{}")
        assert refused.code == 403
        assert 'error="insufficient_scope", scope="write:orders"' in refused.headers["WWW-Authenticate"]
        writer = caller.token(("write:orders",))
        added = await caller.call("/orders", writer, method="POST", body='{"item": "Anvil"}')
        assert added.code == 201
        assert document(added)["created_by"] == "sub-alice"
        assert (await caller.call("/orders", writer)).code == 403
        assert added.headers["Location"] == f"/v1/orders/{document(added)['id']}"
        assert len(document(await caller.call("/orders"))["orders"]) == 4
        for body in ("[]", "{", "\xff"):
            assert (await caller.call("/orders", writer, method="POST", body=body)).code == 400
    async with calling(signing_key) as caller:
        assert len(document(await caller.call("/orders"))["orders"]) == 3


@pytest.mark.gen_test
async def test_a_call_without_a_token_is_challenged(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
            response = await caller.call("/orders", headers=headers)
            assert response.code == 401
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="acme"'
            assert document(response)["error"] == "unauthorized"


@pytest.mark.gen_test
async def test_a_token_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with calling(signing_key, clock) as caller:
        token = caller.token()
        clock.advance(59)
        assert (await caller.call("/orders", token)).code == 200
        clock.advance(1)
        response = await caller.call("/orders", token)
        assert response.code == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert "expired" in document(response)["message"]


@pytest.mark.gen_test
async def test_bad_tokens_are_refused(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        current = caller.provider.keys.current
        header: dict[str, object] = {"alg": "RS256", "kid": current.kid}
        good: dict[str, object] = {
            "iss": caller.provider.issuer,
            "aud": AUDIENCE,
            "sub": "s",
            "exp": int(caller.provider.settings.clock()) + 60,
            "scope": "read:orders",
        }
        assert (await caller.call("/orders", sign_rs256(header, good, current.key))).code == 200
        several = good | {"aud": ["https://other.example", AUDIENCE]}
        assert (await caller.call("/orders", sign_rs256(header, several, current.key))).code == 200
        bad = {
            "another audience": sign_rs256(header, good | {"aud": "https://other.example"}, current.key),
            "another issuer": sign_rs256(header, good | {"iss": "https://other.example"}, current.key),
            "no expiry": sign_rs256(header, {k: v for k, v in good.items() if k != "exp"}, current.key),
            "no subject": sign_rs256(header, {k: v for k, v in good.items() if k != "sub"}, current.key),
            "another key": sign_rs256(header, good, rsa_key(1)),
            "an unknown kid": sign_rs256(header | {"kid": "other"}, good, current.key),
            "another algorithm": sign_rs256(header | {"alg": "RS512"}, good, current.key),
            "no kid": sign_rs256({"alg": "RS256"}, good, current.key),
            "no signature": unsigned(header | {"alg": "none"}, good),
            "a shared secret": sign_hs256(header | {"alg": "HS256"}, good, b"secret"),
            "no token": "abc",
        }
        for what, token in bad.items():
            response = await caller.call("/orders", token)
            assert response.code == 401, what
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"], what


@pytest.mark.gen_test
async def test_a_rotated_key_is_fetched_with_one_request(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with calling(signing_key, clock) as caller:
        responses = await asyncio.gather(*(caller.call("/orders") for _ in range(8)))
        assert {response.code for response in responses} == {200}
        assert caller.provider.requests["jwks"] == 1
        clock.advance(10)
        caller.provider.rotate_keys()
        assert (await caller.call("/orders")).code == 200
        assert caller.provider.requests["jwks"] == 2


@pytest.mark.gen_test
async def test_without_the_providers_keys_the_api_responds_503(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        caller.provider.faults.endpoints["jwks"] = EndpointFault(response=Response(), remaining=1)
        response = await caller.call("/orders")
        assert response.code == 503
        assert document(response)["error"] == "keys_unavailable"
        assert (await caller.call("/orders")).code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.gen_test
async def test_echo_returns_the_request_without_the_token(signing_key: RSAPrivateKey, method: str) -> None:
    async with calling(signing_key) as caller:
        token = caller.token()
        body = None if method in {"GET", "OPTIONS", "DELETE"} else "böse"
        response = await caller.call(
            "/echo/a%20b?x=1&y=%2F",
            headers={"Authorization": f"Bearer {token}", "X-Test": "yes"},
            method=method,
            body=body,
        )
        echoed = document(response)
        assert echoed["method"] == method
        assert echoed["path"] == "/echo/a%20b"
        assert echoed["query"] == "x=1&y=%2F"
        assert ["X-Test", "yes"] in echoed["headers"]
        assert echoed["body"] == (body or "")
        assert echoed["authorization"]["subject"] == "sub-alice"
        assert echoed["authorization"]["note"] == "Bearer present"
        assert token not in response.body.decode()
        received = caller.api.received[-1]
        assert received.bearer == hashlib.sha256(token.encode()).hexdigest()
        assert ("X-Test", "yes") in received.headers
        assert token not in str(received.headers)
        assert token not in repr(caller.api.received)


@pytest.mark.gen_test
async def test_a_stream_ticks_until_its_count(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        response = await caller.call("/stream?count=3&interval=0.01")
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.body.count(b"event: tick\ndata: ") == 3
        assert caller.api.open_streams == 0


@pytest.mark.parametrize("path", ["/stream?interval=0.01", "/stream?interval=50", "/download?mb=4000"])
@pytest.mark.gen_test
async def test_a_stream_ends_when_its_client_disconnects(signing_key: RSAPrivateKey, path: str) -> None:
    async with calling(signing_key) as caller:
        started = asyncio.Event()
        client = AsyncHTTPClient(force_instance=True, max_body_size=2**40)
        with pytest.raises(HTTPClientError):
            await client.fetch(
                caller.url + path,
                headers={"Authorization": f"Bearer {caller.token()}"},
                streaming_callback=lambda _: started.set(),
                request_timeout=0.2,
            )
        assert started.is_set()
        async with asyncio.timeout(5):
            while caller.api.open_streams:
                await asyncio.sleep(0.005)
        client.close()


@pytest.mark.gen_test
async def test_downloads_have_the_requested_size(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        for path, size in (("/download?mb=1", 1024**2), ("/download?mb=0.1", 104857), ("/download?mb=x", 0)):
            response = await caller.call(path)
            assert int(response.headers["Content-Length"]) == len(response.body) == size
        assert response.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.gen_test
async def test_uploads_are_counted(signing_key: RSAPrivateKey, method: str) -> None:
    async with calling(signing_key) as caller:
        body = b"0123456789" * 300_000
        response = document(await caller.call("/upload", method=method, body=body))
        assert response == {"received_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        assert (await caller.call("/upload", headers={}, method=method, body=b"x")).code == 401


@pytest.mark.gen_test
async def test_paths_outside_the_base_path_are_counted(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        for path in ("/../internal", "2/orders", "/unknown"):
            assert (await caller.call(path)).code == 404
        assert caller.api.calls == {"outside": 1, "unknown": 2}


@pytest.mark.gen_test
async def test_calls_with_a_valid_token_can_be_refused(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        caller.api.refuse_next = 1
        refused = await caller.call("/orders")
        assert refused.code == 401
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        assert (await caller.call("/orders")).code == 200


@pytest.mark.gen_test
async def test_endpoints_can_fail(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        caller.api.faults["echo"] = EndpointFault(response=Response(502, b"bad", {}), remaining=1)
        assert (await caller.call("/echo")).code == 502
        assert (await caller.call("/echo")).code == 200


@pytest.mark.gen_test
async def test_hostile_responses_must_be_enabled(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        assert (await caller.call("/hostile/html")).code == 404
    async with calling(signing_key, hostile=True) as caller:
        for name, hostile in HOSTILE.items():
            response = await caller.call(f"/hostile/{name}", decompress_response=False)
            assert response.code == hostile.status, name
            assert response.body == hostile.body, name
            assert response.headers.get("Content-Type", "") == hostile.content_type, name
            for header, values in hostile.headers.items():
                if header == "Connection":
                    continue  # the test's client asks to close, and Tornado agrees
                assert response.headers.get_list(header) == list(values), (name, header)
        assert (await caller.call("/hostile/html", headers={})).code == 401
        assert (await caller.call("/hostile/unheard-of")).code == 404
