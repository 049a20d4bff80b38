"""A client with two secrets: the second is used when the provider refuses the first."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, unquote_plus

import pytest
from jose import jws
from jose.exceptions import JWSError

from portal.errors import PortalError
from portal.oidc import id_token, token_endpoint
from portal.oidc.errors import IdTokenRejected, ProviderUnavailable, TokenRequestRejected
from portal.oidc.keys import KeySet
from portal.oidc.provider import ClientAuth, Provider, ProviderMetadata, TokenSet
from portal.oidc.request_protection import push
from portal.oidc.revocation import revoke
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from tests.unit.oidc.signing import ISSUER, NOW, registration
from tests.unit.outbound.wire import Received, Response, Wire, calling, http_response, serving

OLD = Secret("the-old-secret-of-at-least-32-bytes")
NEW = Secret("the-new-secret-of-at-least-32-bytes")
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "new-rt"}
HELD = TokenSet(Secret("old-at"), NOW - 10, refresh_token=Secret("old-rt"))
BY_SECRET = (ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST, ClientAuth.CLIENT_SECRET_JWT)


def with_two(method: ClientAuth = ClientAuth.CLIENT_SECRET_POST) -> Provider:
    return registration(client_auth=method, client_secret=OLD, next_client_secret=NEW)


def secret_of(request: Received) -> str:
    """The name of the secret that authenticates a request."""
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    if assertion := form.get("client_assertion"):
        return "new" if _is_signed_with(assertion, NEW) else "old"
    header = request.header("Authorization")
    sent = form.get("client_secret", "")
    if header is not None:
        sent = unquote_plus(base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")[2])
    return {OLD.reveal(): "old", NEW.reveal(): "new"}[sent]


def _is_signed_with(token: str, secret: Secret) -> bool:
    try:
        jws.verify(token, secret.reveal(), ["HS256"])
    except JWSError:
        return False
    return True


def error(status: int, code: str) -> bytes:
    return http_response(status, json.dumps({"error": code}))


def accepting(accepted: str, refusal: bytes = b"") -> Callable[[Received], Response]:
    """A token endpoint that accepts one of the secrets."""

    def script(request: Received) -> Response:
        if secret_of(request) != accepted:
            return refusal or error(401, "invalid_client")
        return http_response(200, json.dumps({**GOOD, "request_uri": "urn:x"}))

    return script


def metadata(wire: Wire) -> ProviderMetadata:
    return ProviderMetadata(
        ISSUER,
        wire.url("/authorize"),
        wire.url("/token"),
        wire.url("/jwks"),
        revocation_endpoint=wire.url("/revoke"),
        pushed_authorization_request_endpoint=wire.url("/par"),
    )


async def refresh(client: OutboundClient, wire: Wire, provider: Provider) -> TokenSet:
    return await token_endpoint.refresh(client, provider, metadata(wire), HELD, now=NOW)


def sent(wire: Wire) -> list[str]:
    return [secret_of(request) for request in wire.received]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", BY_SECRET)
async def test_the_second_secret_is_sent_once_when_the_first_is_refused_and_is_first_afterwards(
    method: ClientAuth,
) -> None:
    provider = with_two(method)
    async with serving(accepting("new")) as wire, calling() as client:
        tokens = await refresh(client, wire, provider)
        assert tokens.refresh_token == Secret("new-rt")
        assert sent(wire) == ["old", "new"]
        await refresh(client, wire, provider)
        assert sent(wire) == ["old", "new", "new"]
    assert [parse_qs(one.body.decode())["refresh_token"] for one in wire.received] == [["old-rt"]] * 3


@pytest.mark.gen_test
async def test_every_endpoint_that_authenticates_the_client_gets_the_second_secret() -> None:
    async with serving(accepting("new")) as wire, calling() as client:
        found = metadata(wire)
        await token_endpoint.exchange_code(
            client,
            with_two(),
            found,
            code=Secret("code"),
            code_verifier=Secret("verifier"),
            redirect_uri="https://portal.example/t/acme/callback",
            now=NOW,
        )
        await refresh(client, wire, with_two())
        await revoke(client, with_two(), found, Secret("rt"), hint="refresh_token")
        await push(client, with_two(), found, [("state", "s")])
    assert wire.targets() == ["/token"] * 4 + ["/revoke"] * 2 + ["/par"] * 2
    assert sent(wire) == ["old", "new"] * 4


@pytest.mark.gen_test
async def test_the_order_of_the_file_counts_again_when_the_tenant_is_loaded_again() -> None:
    provider = with_two()
    async with serving(accepting("new")) as wire, calling() as client:
        await refresh(client, wire, provider)
        assert [one.reveal() for one in provider.client_secrets] == [NEW.reveal(), OLD.reveal()]
        await refresh(client, wire, with_two())
    assert sent(wire) == ["old", "new", "old", "new"]


@pytest.mark.gen_test
async def test_a_provider_that_takes_the_first_secret_back_gets_it_again() -> None:
    provider = with_two()
    provider.accepted_secret(NEW)
    async with serving(accepting("old")) as wire, calling() as client:
        await refresh(client, wire, provider)
        await refresh(client, wire, provider)
    assert sent(wire) == ["new", "old", "old"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "invalid_client"),
        error(401, "invalid_client"),
        error(401, "unauthorized_client"),  # Keycloak
        error(401, "access_denied"),  # Auth0
        http_response(401, "Unauthorized"),
    ],
)
async def test_what_counts_as_a_refusal_of_the_client(refusal: bytes) -> None:
    async with serving(accepting("new", refusal)) as wire, calling() as client:
        await refresh(client, wire, with_two())
    assert sent(wire) == ["old", "new"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "response",
    [
        error(400, "invalid_grant"),
        error(401, "invalid_grant"),
        error(400, "unauthorized_client"),
        error(400, "invalid_request"),
        error(401, "use_dpop_nonce"),
        error(403, "access_denied"),
        http_response(400),
        http_response(500),
        http_response(503, json.dumps({"error": "invalid_client"})),
        http_response(200, "no JSON"),
        http_response(302),
    ],
)
async def test_a_refresh_token_is_sent_once_when_it_may_have_been_used(response: bytes) -> None:
    """The rule of decisions 029 and 037: a second request could end a login or lose a rotated token."""
    async with serving(lambda _: response) as wire, calling() as client:
        with pytest.raises(PortalError):
            await refresh(client, wire, with_two())
    assert sent(wire) == ["old"]


@pytest.mark.gen_test
async def test_a_lost_connection_is_not_followed_by_the_second_secret() -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(lambda _: hang_up) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await refresh(client, wire, with_two())
    assert sent(wire) == ["old"]


@pytest.mark.gen_test
async def test_two_refused_secrets_are_the_refusal_of_the_client_and_change_no_order() -> None:
    provider = with_two()
    async with serving(lambda _: error(401, "invalid_client")) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as caught:
            await refresh(client, wire, provider)
        assert caught.value.error == "invalid_client"
        with pytest.raises(TokenRequestRejected):
            await refresh(client, wire, provider)
    assert sent(wire) == ["old", "new"] * 2


@pytest.mark.gen_test
async def test_an_error_after_authentication_shows_that_the_second_secret_is_accepted() -> None:
    provider = with_two()

    def script(request: Received) -> Response:
        return error(401, "invalid_client") if secret_of(request) == "old" else error(400, "invalid_grant")

    async with serving(script) as wire, calling() as client:
        for _ in range(2):
            with pytest.raises(TokenRequestRejected) as caught:
                await refresh(client, wire, provider)
            assert caught.value.error == "invalid_grant"
    assert sent(wire) == ["old", "new", "new"]


@pytest.mark.gen_test
async def test_no_error_contains_either_secret() -> None:
    body = json.dumps({"error": "invalid_client", "error_description": f"{OLD.reveal()} {NEW.reveal()}"})
    async with serving(lambda _: http_response(401, body)) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected) as caught:
            await refresh(client, wire, with_two())
    assert len(wire.received) == 2
    assert OLD.reveal() not in caught.value.detail
    assert NEW.reveal() not in caught.value.detail


@pytest.mark.gen_test
async def test_a_client_with_another_method_sends_its_request_once() -> None:
    provider = replace(with_two(), client_auth=ClientAuth.NONE)
    async with serving(lambda _: error(401, "invalid_client")) as wire, calling() as client:
        with pytest.raises(TokenRequestRejected):
            await refresh(client, wire, provider)
    assert len(wire.received) == 1


def test_the_registration_does_not_depend_on_secrets() -> None:
    """Logins survive when a secret is added, replaced or removed."""
    one = registration(client_secret=OLD)
    assert {with_two().registration, registration(client_secret=NEW).registration} == {one.registration}


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_an_id_token_may_be_signed_with_either_secret(secret: Secret) -> None:
    provider = replace(with_two(), id_token_algs=("HS256",))
    token = Secret(jws.sign({"sub": "ann"}, secret.reveal(), algorithm="HS256"))
    claims, alg, _ = id_token.signed_claims(token, provider, KeySet(()))
    assert (claims["sub"], alg) == ("ann", "HS256")


def test_an_id_token_signed_with_another_secret_is_refused() -> None:
    provider = replace(with_two(), id_token_algs=("HS256",))
    token = Secret(jws.sign({"sub": "ann"}, "another-secret-of-at-least-32-bytes", algorithm="HS256"))
    with pytest.raises(IdTokenRejected, match="signature"):
        id_token.signed_claims(token, provider, KeySet(()))
