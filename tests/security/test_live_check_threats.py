"""THREATS T6, T7 and S9 for the live checks of a tenant."""

from __future__ import annotations

import asyncio
import time

import pytest

from portal.oidc.provider import ClientAuth
from portal.tenancy.model import Api
from tests.unit.outbound.wire import Received, Response, conversing
from tests.unit.tenancy.scripted_provider import (
    CLIENT_SECRET,
    check,
    json_response,
    parameters,
    redirect,
    scripted,
)

FORBIDDEN = (
    "https://169.254.169.254/latest",
    "https://0.0.0.0/",
    "https://[ff02::1]/",
    "https://2852039166/",
)


@pytest.mark.parametrize("url", FORBIDDEN)
@pytest.mark.gen_test
async def test_T6_live_checks_send_nothing_to_a_forbidden_address(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[object] = []
    original = asyncio.get_running_loop().sock_connect

    async def record(sock: object, address: tuple[object, ...]) -> None:
        connected.append(address[0])
        await original(sock, address)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", record, raising=False)
    async with scripted() as provider:
        provider.metadata["token_endpoint"] = provider.metadata["jwks_uri"] = url
        in_metadata = await check(provider, api=Api(url))
        provider.metadata.clear()
        provider.responses["/authorize"] = redirect(url)
        await check(provider)
        as_issuer = await check(provider, issuer=url)
    assert in_metadata.told("endpoints")[0] == in_metadata.told("api")[0] == "fail"
    assert as_issuer.told("dns")[0] == "fail"
    assert set(connected) == {"127.0.0.1"}


@pytest.mark.gen_test(timeout=20)
async def test_T7_a_provider_that_never_responds_takes_ten_seconds_at_most() -> None:
    """Each endpoint in turn is silent, and so is a server that accepts connections only."""

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    def hold(_: Received) -> object:
        return never

    async def seconds_at(path: str) -> float:
        async with scripted() as provider:
            provider.responses[path] = hold  # type: ignore[assignment]
            begun = time.monotonic()
            checked = await check(provider)
            assert any(result.status == "fail" or result.status == "warn" for result in checked.results), path
            return time.monotonic() - begun

    async def seconds_without_tls() -> float:
        async with conversing(silent) as port, scripted() as provider:
            begun = time.monotonic()
            checked = await check(provider, issuer=f"https://localhost:{port}")
            assert checked.told("tls")[0] == "fail"
            assert checked.told("discovery")[0] == "skipped"
            return time.monotonic() - begun

    paths = ("/.well-known/openid-configuration", "/jwks", "/authorize", "/token")
    taken = await asyncio.gather(seconds_without_tls(), *(seconds_at(path) for path in paths))
    assert max(taken) < 10, taken


@pytest.mark.gen_test
async def test_S9_no_live_check_shows_what_was_sent_even_if_the_provider_repeats_it() -> None:
    def echo(request: Received) -> Response:
        sent = " ".join([request.target, *(value for _, value in request.headers), request.body.decode()])
        return json_response(401, {"error": "invalid_client", "error_description": sent})

    async with scripted() as provider:
        provider.responses["/token"] = provider.responses["/authorize"] = echo
        for auth in (
            ClientAuth.CLIENT_SECRET_BASIC,
            ClientAuth.CLIENT_SECRET_POST,
            ClientAuth.CLIENT_SECRET_JWT,
        ):
            text = str((await check(provider, client_auth=auth)).results)
            assert CLIENT_SECRET not in text
            for request in (*provider.requests("/token"), *provider.requests("/authorize")):
                sent = parameters(request)
                names = {"code", "code_verifier", "state", "nonce", "client_assertion", "client_secret"}
                assert not [name for name in names & sent.keys() if sent[name] in text]
                assert (request.header("Authorization") or "\0").rpartition(" ")[2] not in text
