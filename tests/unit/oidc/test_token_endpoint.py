from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.errors import OutboundRefused
from portal.oidc import token_endpoint, token_response
from portal.oidc.errors import (
    LoginRejected,
    LoginTooLarge,
    ProviderUnavailable,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.jose import json_reading
from portal.oidc.provider import ClientAuth, Provider, ProviderMetadata, TokenSet
from portal.oidc.token_endpoint import NO_BODY
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import ClientCertificate, Tls
from portal.secret import Secret
from tests.unit.oidc.signing import CLIENT_ID, CLIENT_SECRET, ISSUER, NOW, registration, signed
from tests.unit.outbound.wire import Received, Wire, calling, http_response, serving

CALLBACK = "https://portal.example/t/acme/callback"
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600}
HELD = TokenSet(Secret("old-at"), NOW - 10, scope=("openid", "email"), refresh_token=Secret("old-rt"))


def metadata(wire: Wire) -> ProviderMetadata:
    return ProviderMetadata(ISSUER, wire.url("/authorize"), wire.url("/token"), wire.url("/jwks"))


async def exchange(client: OutboundClient, wire: Wire, provider: Provider | None = None) -> TokenSet:
    return await token_endpoint.exchange_code(
        client,
        provider or registration(),
        metadata(wire),
        code=Secret("s3cret/code"),
        code_verifier=Secret("s3cret-verifier"),
        redirect_uri=CALLBACK,
        now=NOW,
    )


def read(document: object, **options: Any) -> TokenSet:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return token_response.read_token_set(
        OutboundResponse(200, (), body), requested_scopes=("openid", "a"), now=NOW, **options
    )


def form(request: Received) -> dict[str, list[str]]:
    return parse_qs(request.body.decode(), strict_parsing=True)


# --- requests


@pytest.mark.gen_test
async def test_a_code_is_sent_with_its_verifier_and_redirect_uri() -> None:
    provider = registration(resources=("https://one.example", "https://two.example"))
    async with serving(lambda _: http_response(200, json.dumps(GOOD))) as wire, calling() as client:
        await exchange(client, wire, provider)
    sent = wire.received[0]
    assert (sent.method, sent.target) == ("POST", "/token")
    assert sent.header("Content-Type") == "application/x-www-form-urlencoded"
    assert sent.header("Accept") == "application/json"
    assert (sent.header("Authorization") or "").startswith("Basic ")
    assert form(sent) == {
        "grant_type": ["authorization_code"],
        "code": ["s3cret/code"],
        "redirect_uri": [CALLBACK],
        "code_verifier": ["s3cret-verifier"],
        "resource": ["https://one.example"],
    }


@pytest.mark.gen_test
async def test_a_refresh_sends_the_refresh_token_and_never_a_scope() -> None:
    provider = registration(
        client_auth=ClientAuth.CLIENT_SECRET_POST, resources=("https://one.example", "https://two.example")
    )
    async with serving(lambda _: http_response(200, json.dumps(GOOD))) as wire, calling() as client:
        await token_endpoint.refresh(client, provider, metadata(wire), HELD, now=NOW)
    assert wire.received[0].header("Authorization") is None
    assert form(wire.received[0]) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["old-rt"],
        "client_id": [CLIENT_ID],
        "client_secret": [CLIENT_SECRET],
        "resource": ["https://one.example"],
    }


@pytest.mark.gen_test
async def test_a_refresh_may_take_two_minutes_and_a_code_exchange_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider that rotates may have replaced the refresh token: only its response has the new one."""
    certificate = ClientCertificate("chain", Secret("key"))
    provider = registration(client_certificate=certificate, tls_authorities="authorities")
    seconds: list[float] = []

    async def fetch(*_: object, timeout: float, **others: Any) -> OutboundResponse:
        seconds.append(timeout)
        assert others["tenant"] == "acme"
        assert others["max_bytes"] > json_reading.MAX_BYTES  # so that the parser's error is shown
        assert others["tls"] == Tls("authorities", certificate)  # RFC 8705 2 and 3
        return OutboundResponse(200, (), json.dumps(GOOD).encode())

    monkeypatch.setattr(OutboundClient, "fetch", fetch)
    async with calling() as client:
        await token_endpoint.refresh(client, provider, metadata(Wire(443)), HELD, now=NOW)
        await exchange(client, Wire(443), provider)
    assert seconds == [120, 10]


@pytest.mark.gen_test
async def test_nothing_is_sent_without_a_refresh_token() -> None:
    async with serving(lambda _: http_response()) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected):
            await token_endpoint.refresh(
                client, registration(), metadata(wire), TokenSet(Secret("at"), NOW), now=NOW
            )
    assert wire.received == []


@pytest.mark.gen_test
async def test_a_token_endpoint_that_may_not_be_called_is_refused() -> None:
    async with serving(lambda _: http_response()) as wire, calling(OutboundClient()) as client:
        with pytest.raises(OutboundRefused):
            await exchange(client, wire)
    assert wire.connections == 0


# --- responses


def test_a_complete_token_response_is_read() -> None:
    document = {**GOOD, "refresh_token": "rt", "id_token": "a.b.c", "scope": "openid b  b"}
    assert read(document) == TokenSet(
        access_token=Secret("at"),
        expires_at=NOW + 3600,
        token_type="Bearer",
        scope=("openid", "b"),
        refresh_token=Secret("rt"),
        id_token=Secret("a.b.c"),
        issued_at=NOW,
    )


def refreshed(document: object) -> TokenSet:
    response = OutboundResponse(200, (), json.dumps(document).encode())
    return token_response.read_refreshed(response, HELD, now=NOW)


def test_missing_members_default_to_the_requested_or_previous_values() -> None:
    tokens = refreshed({"access_token": "at", "token_type": "bearer"})
    assert tokens == TokenSet(
        Secret("at"), NOW + 300, scope=HELD.scope, refresh_token=HELD.refresh_token, issued_at=NOW
    )
    assert read({**GOOD, "refresh_token": None, "id_token": None, "scope": None}).refresh_token is None
    assert refreshed({**GOOD, "refresh_token": "new"}).refresh_token == Secret("new")


@pytest.mark.parametrize("id_token", [1, [], {}, True, "ä", "x" * 65_537])
def test_an_invalid_id_token_does_not_invalidate_the_other_tokens_of_a_refresh(id_token: object) -> None:
    tokens = refreshed({**GOOD, "refresh_token": "new", "id_token": id_token})
    assert (tokens.access_token, tokens.refresh_token) == (Secret("at"), Secret("new"))
    assert tokens.id_token is not None


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_a_token_may_contain_every_visible_character_and_the_space(name: str) -> None:
    token = "".join(map(chr, range(0x20, 0x7F)))
    assert getattr(read({**GOOD, name: token}), name) == Secret(token)
    assert getattr(refreshed({**GOOD, name: token}), name) == Secret(token)


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token"])
def test_D5_the_error_of_a_too_large_token_has_its_name_and_size(name: str) -> None:
    with pytest.raises(LoginTooLarge, match=f"{name} has 65537 characters, at most 65536"):
        read({**GOOD, name: "x" * 65_537})
    assert getattr(read({**GOOD, name: "x" * 65_536}), name) == Secret("x" * 65_536)


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER"])
def test_the_token_type_is_bearer_in_any_case(token_type: str) -> None:
    assert read({**GOOD, "token_type": token_type}).token_type == "Bearer"


@pytest.mark.parametrize("token_type", [None, "", "mac", "DPoP", "Bearer ", 1, ["Bearer"]])
def test_any_other_token_type_is_malformed(token_type: object) -> None:
    with pytest.raises(TokenResponseMalformed, match="token_type"):
        read({**GOOD, "token_type": token_type})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        (0, 0),
        (1.5, 1.5),
        ("3600", 3600),
        ("3600.5", 3600.5),
        (None, 300),
        (10**400, 31_536_000),
        (4e9, 31_536_000),
    ],
)
def test_the_lifetime_is_a_number_or_a_numeric_string_and_bounded(value: object, seconds: float) -> None:
    assert read({**GOOD, "expires_in": value}).expires_at == NOW + seconds


@pytest.mark.parametrize("value", [-1, "-1", "", "soon", True, [3600], {}, "1e9", " 5"])
def test_any_other_lifetime_is_malformed(value: object) -> None:
    with pytest.raises(TokenResponseMalformed, match="expires_in"):
        read({**GOOD, "expires_in": value})


@pytest.mark.parametrize(
    ("exp", "expires_at"),
    [
        (NOW + 900, NOW + 900),
        (NOW - 5, NOW),
        (NOW * 1000, NOW + 31_536_000),
        ("soon", NOW + 300),
        (True, NOW + 300),
        (None, NOW + 300),
    ],
)
def test_without_a_lifetime_the_expiry_of_a_jwt_access_token_is_used(exp: object, expires_at: float) -> None:
    token = signed({"sub": "x", "exp": exp}).reveal()
    assert read({"access_token": token, "token_type": "Bearer"}).expires_at == expires_at


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token"])
@pytest.mark.parametrize("value", ["", 1, ["a"], {}, True, "a\tb", "a\x7f", "a\r\nX-Evil: 1", "ä"])
def test_a_token_that_could_not_go_into_a_header_is_malformed(name: str, value: object) -> None:
    with pytest.raises(TokenResponseMalformed, match=name):
        read({**GOOD, name: value})


@pytest.mark.parametrize("value", [1, {}, [1], "x" * 20_001])
def test_a_scope_that_is_not_a_text_is_malformed(value: object) -> None:
    with pytest.raises(TokenResponseMalformed, match="scope"):
        read({**GOOD, "scope": value})


@pytest.mark.parametrize(
    ("value", "scope"), [("", ("openid", "a")), ("openid", ("openid",)), (["b", "c"], ("b", "c"))]
)
def test_a_narrower_scope_is_kept(value: object, scope: tuple[str, ...]) -> None:
    assert read({**GOOD, "scope": value}).scope == scope


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"access_token=at&token_type=bearer", b"{}", b'{"access_token":"a","access_token":"b"}'],
)
def test_an_invalid_token_response_is_malformed(body: bytes) -> None:
    with pytest.raises(TokenResponseMalformed):
        read(body)


@pytest.mark.gen_test
async def test_an_error_with_status_200_is_found_however_its_name_is_written() -> None:
    written = b'{"\\u0065rror": "invalid_grant"}'
    async with serving(lambda _: http_response(200, written)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await exchange(client, wire)
    assert rejection.value.error == "invalid_grant"


@pytest.mark.gen_test
async def test_an_error_with_status_200_is_a_rejection() -> None:
    refusal = json.dumps({"error": "invalid_grant", "error_description": "no"})
    async with serving(lambda _: http_response(200, refusal)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await exchange(client, wire)
    assert rejection.value.error == "invalid_grant"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.gen_test
async def test_a_secret_echoed_as_the_error_code_is_not_shown(status: int) -> None:
    refusal = json.dumps({"error": CLIENT_SECRET, "error_description": CLIENT_SECRET})
    async with serving(lambda _: http_response(status, refusal)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await exchange(client, wire)
    assert rejection.value.error == "unknown_error"
    assert CLIENT_SECRET not in rejection.value.detail


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "scope", "refresh_token", "id_token", "error"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9)
        | st.lists(st.text(max_size=3), max_size=2),
    )
)
def test_any_document_is_a_token_set_or_rejected(document: dict[str, Any]) -> None:
    try:
        tokens = read({**GOOD, **document})
    except LoginRejected:
        return
    assert tokens.access_token.reveal().isascii()
    assert NOW <= tokens.expires_at <= NOW + 31_536_000


# --- errors


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client"])
async def test_an_error_response_is_a_rejection_with_its_code(status: int, error: str) -> None:
    body = json.dumps({"error": error, "error_description": "a reason\nin words"})
    async with serving(lambda _: http_response(status, body)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await exchange(client, wire)
    assert rejection.value.error == error
    expected = f"{wire.url('/token')} responded with {status}, error={error}: a reason in words"
    assert rejection.value.detail == expected


@pytest.mark.gen_test
async def test_a_description_is_shown_to_its_300th_character() -> None:
    body = json.dumps({"error": "invalid_grant", "error_description": "x" * 301})
    async with serving(lambda _: http_response(400, body)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected, match=r"=invalid_grant: x{299}…$"):
            await exchange(client, wire)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("status", "error"), [(400, NO_BODY), (401, "unknown_error"), (403, "unknown_error")]
)
async def test_only_a_400_without_a_body_has_an_error_code_of_its_own(status: int, error: str) -> None:
    async with serving(lambda _: http_response(status)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as rejection:
            await exchange(client, wire)
    assert rejection.value.error == error


@pytest.mark.gen_test
async def test_no_error_reveals_what_was_sent() -> None:
    def echo(request: Received) -> bytes:
        everything = f"{request.body.decode()} {request.headers} {CLIENT_SECRET} s3cret/code s3cret client"
        return http_response(400, json.dumps({"error": "invalid_grant", "error_description": everything}))

    for method in (ClientAuth.CLIENT_SECRET_POST, ClientAuth.CLIENT_SECRET_BASIC):
        provider = registration(client_auth=method, client_secret=Secret("s3cret client"))
        async with serving(echo) as wire, calling() as client:
            with pytest.raises(TokenRequestRejected) as rejection:
                await exchange(client, wire, provider)
        text = f"{rejection.value!r} {rejection.value.detail} {rejection.value.explanation}"
        assert "authorization_code" in text
        assert "s3cret" not in text
        assert base64.b64encode(b"acme-client:s3cret+client").decode() not in text


@pytest.mark.gen_test
async def test_an_invalid_error_code_or_body_is_an_unknown_error() -> None:
    bodies = [b"<html>no</html>", b'{"error": "\\u00e4"}', b'{"error": 5}', b"{}", b"[" * 5000]
    async with serving(lambda _: http_response(400, bodies.pop(0))) as wire, calling() as client:
        for _ in range(5):
            with pytest.raises(TokenRequestRejected) as rejection:
                await exchange(client, wire)
            assert rejection.value.error == "unknown_error"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "Bad Request"),
        (400, "bad-request"),
        (401, "unauthorized"),
        (403, "FORBIDDEN"),
        (404, "no_such_route"),
        (409, "invalid-state"),
    ],
)
async def test_an_error_of_a_web_server_is_an_unknown_error(status: int, error: str) -> None:
    async with serving(lambda _: http_response(status, json.dumps({"error": error}))) as wire:
        async with calling() as client:
            with pytest.raises(TokenRequestRejected, match=f"error={error}") as rejection:
                await exchange(client, wire)
    assert rejection.value.error == "unknown_error"


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_a_busy_provider_is_unavailable_and_gets_one_request(status: int) -> None:
    response = http_response(status, json.dumps({"error": "invalid_grant"}))
    async with serving(lambda _: response) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await exchange(client, wire)
        with pytest.raises(ProviderUnavailable):
            await token_endpoint.refresh(client, registration(), metadata(wire), HELD, now=NOW)
    assert len(wire.received) == 2


@pytest.mark.gen_test
async def test_a_lost_connection_is_provider_unavailable_and_not_retried() -> None:
    async def drop(writer: Any) -> None:
        writer.close()

    async with serving(lambda _: drop) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await exchange(client, wire)
    assert len(wire.received) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [300, 302, 399])
async def test_a_redirect_of_the_token_endpoint_is_malformed_and_not_followed(status: int) -> None:
    response = http_response(status, headers=[("Location", "/elsewhere")])
    async with serving(lambda _: response) as wire, calling() as client:
        with pytest.raises(TokenResponseMalformed, match=str(status)):
            await exchange(client, wire)
    assert wire.targets() == ["/token"]
