"""The faulty provider checks pushed and signed requests strictly, and can sign its responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from portal.demo.compact import public_jwk, sign_rs256, verify_rs256
from tests.kit.faulty.requests import PUSHED_SECONDS
from tests.kit.samples import ManualClock
from tests.unit.demo.parties import CALLBACK, CLIENT, PUBLIC, SECRET, Party, returned, serving


class KeysOfTheClient(RequestHandler):
    def initialize(self, key: RSAPrivateKey) -> None:
        self.key = key

    def get(self) -> None:
        self.finish({"keys": [public_jwk(self.key.public_key(), "own")]})


@asynccontextmanager
async def serving_signers(key: RSAPrivateKey, **changes: Any) -> AsyncIterator[Party]:
    """A provider whose client signs requests, with the provider's key, which saves generating another."""
    sockets = bind_sockets(0, address="127.0.0.1")
    server = HTTPServer(Application([("/jwks", KeysOfTheClient, {"key": key})], log_function=lambda _: None))
    server.add_sockets(sockets)
    jwks_uri = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/jwks"
    try:
        async with serving(key, **changes) as party:
            party.provider.client_keys[CLIENT.client_id] = jwks_uri
            yield party
    finally:
        server.stop()
        await server.close_all_connections()


def parameters(party: Party, **changes: object) -> dict[str, Any]:
    return {**dict(parse_qsl(urlsplit(party.authorize_url()).query)), **changes}


async def push(party: Party, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    response = await party.post("/par", dict(given), basic=(CLIENT.client_id, SECRET))
    return response.code, json.loads(response.body)


async def ask_pushed(party: Party, request_uri: str, client_id: str = CLIENT.client_id) -> Any:
    url = party.url("/authorize", client_id=client_id, request_uri=request_uri)
    return await party.browser.step(url)


@pytest.mark.gen_test
async def test_a_pushed_request_is_valid_once_and_for_its_client_only(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        status, pushed = await push(party, parameters(party))
        assert (status, pushed["expires_in"]) == (201, int(PUSHED_SECONDS))
        stolen = await ask_pushed(party, pushed["request_uri"], client_id=PUBLIC.client_id)
        assert (stolen.status, "Location" in stolen.headers) == (400, False)
        _, pushed = await push(party, parameters(party))
        assert returned(await ask_pushed(party, pushed["request_uri"]))["state"] == "the-state"
        assert (await ask_pushed(party, pushed["request_uri"])).status == 400


@pytest.mark.gen_test
async def test_a_pushed_request_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        _, pushed = await push(party, parameters(party))
        clock.advance(PUSHED_SECONDS)
        assert (await ask_pushed(party, pushed["request_uri"])).status == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"request_uri": "urn:x"}, "invalid_request"),
        ({"scope": "email"}, "invalid_scope"),
        ({"request": "e30.e30.e30"}, "invalid_request"),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_pushed_request_is_rejected(
    signing_key: RSAPrivateKey, changes: dict[str, object], error: str
) -> None:
    async with serving(signing_key) as party:
        status, response = await push(party, parameters(party, **changes))
        assert (status, response["error"]) == (400, error)
        assert party.provider.pushed == {}


@pytest.mark.gen_test
async def test_an_unauthenticated_client_cannot_push_a_request(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        response = await party.post("/par", parameters(party), basic=(CLIENT.client_id, "wrong"))
        assert response.code == 401


def request_claims(party: Party, **changes: object) -> dict[str, object]:
    now = int(party.provider.settings.clock())
    own = {"iss": CLIENT.client_id, "aud": party.provider.issuer, "nbf": now, "exp": now + 60}
    claims = {**parameters(party), **own, **changes}
    return {name: value for name, value in claims.items() if value is not None}


HEADER = {"alg": "RS256", "kid": "own", "typ": "oauth-authz-req+jwt"}


@pytest.mark.gen_test
async def test_parameters_outside_a_signed_request_are_ignored(signing_key: RSAPrivateKey) -> None:
    async with serving_signers(signing_key) as party:
        await party.sign_in()
        signed = sign_rs256(HEADER, request_claims(party, state="inside"), signing_key)
        url = party.url("/authorize", client_id=CLIENT.client_id, request=signed, state="outside")
        assert returned(await party.browser.step(url))["state"] == "inside"


@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ({"typ": "JWT"}, {}),
        ({"kid": "another"}, {}),
        ({}, {"iss": "another"}),
        ({}, {"client_id": "public"}),
        ({}, {"aud": "https://another.example"}),
        ({}, {"exp": None}),
        ({}, {"exp": 1}),
        ({}, {"nbf": None}),
        ({}, {"exp": 9_999_999_999}),
        ({}, {"request_uri": "urn:x"}),
    ],
)
@pytest.mark.gen_test
async def test_a_signed_request_that_breaks_a_rule_is_shown_as_a_page(
    signing_key: RSAPrivateKey, header: dict[str, object], changes: dict[str, object]
) -> None:
    async with serving_signers(signing_key) as party:
        signed = sign_rs256({**HEADER, **header}, request_claims(party, **changes), signing_key)
        url = party.url("/authorize", client_id=CLIENT.client_id, request=signed)
        response = await party.browser.step(url)
        assert (response.status, "Location" in response.headers) == (400, False)


@pytest.mark.gen_test
async def test_a_response_can_be_a_form(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        page = await party.ask(response_mode="form_post")
        (form,) = page.forms
        assert (form.method, form.action) == ("POST", CALLBACK)
        assert set(dict(form.fields)) == {"code", "state", "iss"}
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        denied = await party.ask(response_mode="form_post", prompt="sometimes")
        assert dict(denied.forms[0].fields)["error"] == "invalid_request"


@pytest.mark.parametrize("mode", ["jwt", "query.jwt", "form_post.jwt"])
@pytest.mark.gen_test
async def test_a_response_can_be_signed(signing_key: RSAPrivateKey, mode: str) -> None:
    async with serving(signing_key) as party:
        await party.sign_in()
        response = await party.ask(response_mode=mode)
        if mode == "form_post.jwt":
            given = {name: [value] for name, value in response.forms[0].fields}
        else:
            given = parse_qs(urlsplit(response.headers["Location"]).query)
        assert set(given) == {"response"}
        claims = verify_rs256(given["response"][0], signing_key.public_key())
        assert claims["aud"] == CLIENT.client_id
        assert claims["iss"] == party.provider.issuer
        assert claims["state"] == "the-state"
        assert {"code", "exp"} <= set(claims)
