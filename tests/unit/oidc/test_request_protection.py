"""Pushed authorization requests (RFC 9126) and signed ones (RFC 9101)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from jose import jws

from portal.oidc.authorization import LONGEST_HINT, AuthorizationOptions
from portal.oidc.client_keys import ClientKeySet, client_key
from portal.oidc.errors import ClientKeyMissing, MetadataRejected, ProviderUnavailable, PushedRequestRejected
from portal.oidc.jose.key_material import private_members
from portal.oidc.provider import AuthorizationRequest, ClientAuth
from portal.oidc.relying_party import RelyingParty
from portal.oidc.request_protection import LIFETIME
from portal.secret import Secret
from tests.unit.oidc.party import CALLBACK, Party, acme
from tests.unit.oidc.signing import CLIENT_ID, CLIENT_SECRET, NOW, private_key
from tests.unit.outbound.wire import calling, http_response

REFERENCE = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
TAKEN = http_response(201, json.dumps({"request_uri": REFERENCE, "expires_in": 90}))


@asynccontextmanager
async def pushing(pushed: bytes = TAKEN, **metadata: Any) -> AsyncIterator[Party]:
    """A provider with an endpoint for pushed requests, and a relying party with client keys."""
    member = private_members(private_key("RSA"))
    keys = ClientKeySet(
        [client_key(member, use="sig", kind="RS256", created_at=NOW - 9999)], clock=lambda: NOW
    )
    async with acme(failing={"/par": pushed}) as party, calling() as client:
        party.metadata = {"pushed_authorization_request_endpoint": party.wire.url("/par"), **metadata}
        party.relying_party = RelyingParty(client, clock=party.time, client_keys=keys)
        yield party
        await party.relying_party.close()


async def begin(
    party: Party, options: AuthorizationOptions | None = None, **changes: Any
) -> AuthorizationRequest:
    provider = party.provider(**changes)
    return await party.relying_party.begin(provider, redirect_uri=CALLBACK, options=options)


def pushed_form(party: Party) -> dict[str, list[str]]:
    (request,) = [one for one in party.wire.received if one.target == "/par"]
    assert request.method == "POST"
    return parse_qs(request.body.decode(), strict_parsing=True)


def in_url(made: AuthorizationRequest) -> dict[str, list[str]]:
    return parse_qs(urlsplit(made.url).query, strict_parsing=True)


def claims_of(token: str) -> dict[str, Any]:
    key = private_key("RSA").public_key()
    return dict(json.loads(jws.verify(token, key, ["RS256"])))


# --- RFC 9126


@pytest.mark.gen_test
async def test_par_leaves_only_the_client_and_the_reference_in_the_url() -> None:
    async with pushing() as party:
        made = await begin(party, par=True, resources=("https://a.example", "https://b.example"))
        assert in_url(made) == {"client_id": [CLIENT_ID], "request_uri": [REFERENCE]}
        form = pushed_form(party)
        assert form["state"] == [made.state]
        assert form["nonce"] == [made.nonce]
        assert form["redirect_uri"] == [CALLBACK]
        assert form["code_challenge_method"] == ["S256"]
        assert form["resource"] == ["https://a.example", "https://b.example"]
        assert form["client_id"] == [CLIENT_ID]
        assert "code_verifier" not in form
        assert "request_uri" not in form


@pytest.mark.gen_test
async def test_par_is_used_when_required_and_not_only_because_it_is_available() -> None:
    async with pushing(require_pushed_authorization_requests=True) as party:
        assert set(in_url(await begin(party))) == {"client_id", "request_uri"}
    async with pushing() as party:
        assert "state" in in_url(await begin(party))
        assert party.calls("/par") == 0


@pytest.mark.gen_test
async def test_par_without_an_endpoint_is_a_metadata_error() -> None:
    async with acme() as party:
        with pytest.raises(MetadataRejected, match="pushed_authorization_request_endpoint"):
            await begin(party, par=True)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("auth", "header", "fields"),
    [
        (ClientAuth.CLIENT_SECRET_BASIC, True, set()),
        (ClientAuth.CLIENT_SECRET_POST, False, {"client_secret"}),
        (ClientAuth.PRIVATE_KEY_JWT, False, {"client_assertion", "client_assertion_type"}),
        (ClientAuth.CLIENT_SECRET_JWT, False, {"client_assertion", "client_assertion_type"}),
        (ClientAuth.NONE, False, set()),
    ],
)
async def test_par_authenticates_the_client_as_at_the_token_endpoint(
    auth: ClientAuth, header: bool, fields: set[str]
) -> None:
    async with pushing() as party:
        await begin(party, par=True, client_auth=auth)
        (request,) = [one for one in party.wire.received if one.target == "/par"]
        assert (request.header("Authorization") is not None) == header
        form = pushed_form(party)
        assert {name for name in form if name.startswith("client_")} == {"client_id", *fields}
        assert form["client_id"] == [CLIENT_ID]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "pushed",
    [
        http_response(400, '{"error":"invalid_request","error_description":"no"}'),
        http_response(401, '{"error":"invalid_client"}'),
        http_response(413),
        http_response(302, headers=[("Location", "/elsewhere")]),
        http_response(201, "not JSON"),
        http_response(201, "[]"),
        http_response(201, '{"expires_in":60}'),
        http_response(201, '{"request_uri":7,"expires_in":60}'),
        http_response(201, '{"request_uri":"","expires_in":60}'),
        http_response(201, '{"request_uri":"a b","expires_in":60}'),
        http_response(201, json.dumps({"request_uri": "x" * 2049, "expires_in": 60})),
        http_response(201, '{"request_uri":"urn:x"}'),
        http_response(201, '{"request_uri":"urn:x","expires_in":0}'),
        http_response(201, '{"request_uri":"urn:x","expires_in":true}'),
        http_response(201, '{"request_uri":"urn:x","request_uri":"urn:y","expires_in":60}'),
    ],
)
async def test_par_with_an_error_or_invalid_response_starts_no_login(pushed: bytes) -> None:
    async with pushing(pushed) as party:
        with pytest.raises(PushedRequestRejected) as rejection:
            await begin(party, par=True)
        assert party.calls("/par") == 1
        assert rejection.value.error in {"invalid_request", "invalid_client", "unknown_error"}
        assert CLIENT_SECRET not in rejection.value.detail


@pytest.mark.gen_test
async def test_par_with_a_server_error_is_provider_unavailable() -> None:
    async with pushing(http_response(503)) as party:
        with pytest.raises(ProviderUnavailable):
            await begin(party, par=True)


@pytest.mark.gen_test
async def test_D4_concurrent_failed_requests_cause_a_short_pause() -> None:
    async with pushing(http_response(503)) as party:
        attempts = (begin(party, par=True) for _ in range(10))
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            assert isinstance(outcome, ProviderUnavailable)
        party.failing["/par"] = TAKEN
        with pytest.raises(ProviderUnavailable):
            await begin(party, par=True)
        party.time.advance(1.1)
        await begin(party, par=True)


@pytest.mark.gen_test
async def test_D4_a_success_resets_the_pause_after_failed_requests() -> None:
    async with pushing() as party:
        for _ in range(2):
            party.failing["/par"] = http_response(503)
            with pytest.raises(ProviderUnavailable):
                await begin(party, par=True)
            party.failing["/par"] = TAKEN
            party.time.advance(1.1)
            await begin(party, par=True)


@pytest.mark.gen_test
async def test_a_pushed_request_may_be_valid_for_one_second() -> None:
    async with pushing(http_response(201, '{"request_uri":"urn:x","expires_in":1}')) as party:
        assert in_url(await begin(party, par=True))["request_uri"] == ["urn:x"]


@pytest.mark.gen_test
async def test_a_lifetime_that_is_a_text_is_not_quoted() -> None:
    async with pushing(http_response(201, '{"request_uri":"urn:x","expires_in":"s3cret"}')) as party:
        with pytest.raises(PushedRequestRejected, match="expires_in is a text of 6 characters; expected"):
            await begin(party, par=True)


@pytest.mark.gen_test
async def test_D4_a_login_hint_that_makes_the_provider_fail_blocks_no_login_without_a_hint() -> None:
    async with pushing(http_response(500)) as party:
        with pytest.raises(ProviderUnavailable):
            await begin(party, AuthorizationOptions(login_hint="makes the provider fail"), par=True)
        party.failing["/par"] = TAKEN
        await begin(party, par=True)
        calls = party.calls("/par")
        with pytest.raises(ProviderUnavailable):
            await begin(party, AuthorizationOptions(login_hint="another"), par=True)
        assert party.calls("/par") == calls


@pytest.mark.gen_test
async def test_the_error_of_a_rejected_pushed_request_has_no_sent_values() -> None:
    options = AuthorizationOptions(prompt="none", id_token_hint=Secret("h.i.nt"))
    async with pushing() as party:
        seen: dict[str, str] = {}

        def script_with_echo(request: Any) -> bytes:
            if request.target != "/par":
                return Party.script(party, request)
            sent = parse_qs(request.body.decode())
            seen.update({name: sent[name][0] for name in ("state", "nonce", "id_token_hint")})
            text = f"bad {' '.join(seen.values())} {CLIENT_SECRET}"
            return http_response(400, json.dumps({"error": "invalid_request", "error_description": text}))

        party.responses = script_with_echo
        with pytest.raises(PushedRequestRejected) as rejection:
            await begin(party, options, par=True)
        assert rejection.value.error == "invalid_request"
        shown = f"{rejection.value!r}{rejection.value.detail}"
        assert not any(value in shown for value in (*seen.values(), CLIENT_SECRET))


@pytest.mark.gen_test
async def test_a_long_hint_is_sent_in_a_pushed_request() -> None:
    hint = Secret("x" * (LONGEST_HINT + 1))
    options = AuthorizationOptions(prompt="none", id_token_hint=hint)
    async with pushing() as party:
        made = await begin(party, options, par=True)
        assert pushed_form(party)["id_token_hint"] == [hint.reveal()]
        assert made.silent
        assert "id_token_hint" not in in_url(await begin(party, options))


# --- RFC 9101


@pytest.mark.gen_test
async def test_a_signed_request_has_all_parameters_inside_and_only_required_ones_outside() -> None:
    async with pushing() as party:
        made = await begin(
            party,
            AuthorizationOptions(login_hint="ada"),
            signed_request=True,
            max_age=300,
            resources=("https://a.example", "https://b.example", "https://c.example"),
            requested_claims='{"id_token":{"acr":{"essential":true}}}',
        )
        sent = in_url(made)
        assert set(sent) == {"client_id", "response_type", "scope", "request"}
        claims = claims_of(sent["request"][0])
        assert jws.get_unverified_header(sent["request"][0])["typ"] == "oauth-authz-req+jwt"
        assert claims["iss"] == claims["client_id"] == CLIENT_ID
        assert claims["aud"] == party.wire.url("")
        assert claims["iat"] == claims["nbf"] == int(NOW)
        assert claims["exp"] == int(NOW) + LIFETIME <= int(NOW) + 3600
        assert (claims["state"], claims["nonce"]) == (made.state, made.nonce)
        assert claims["redirect_uri"] == CALLBACK
        assert claims["login_hint"] == "ada"
        assert claims["max_age"] == 300
        assert claims["resource"] == ["https://a.example", "https://b.example", "https://c.example"]
        assert claims["claims"] == {"id_token": {"acr": {"essential": True}}}
        assert not {"sub", "request", "request_uri", "client_secret", "code_verifier"} & set(claims)


@pytest.mark.gen_test
@pytest.mark.parametrize("par", [False, True])
async def test_no_parameter_turns_a_signed_request_into_a_client_assertion(par: bool) -> None:
    """All tenants share the signing keys: a request with `sub` could authenticate any of their clients."""
    names = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")
    given = tuple((name, "victims-client") for name in (*names, "sub", "organization"))
    async with pushing() as party:
        made = await begin(party, signed_request=True, par=par, authorize_params=given)
        sent = pushed_form(party) if par else in_url(made)
        claims = claims_of(sent["request"][0])
        assert "sub" not in claims  # RFC 9101 10.8, RFC 7523 3
        assert [name for name, value in claims.items() if value == "victims-client"] == ["organization"]
        assert not any(
            "victims-client" in str(value) for value in (claims["jti"], claims["iss"], claims["aud"])
        )
        assert (claims["iss"], claims["aud"]) == (CLIENT_ID, party.wire.url(""))
        assert (claims["iat"], claims["nbf"], claims["exp"]) == (int(NOW), int(NOW), int(NOW) + LIFETIME)


@pytest.mark.gen_test
async def test_each_signed_request_has_a_unique_jti() -> None:
    async with pushing() as party:
        made = [await begin(party, signed_request=True) for _ in range(5)]
        ids = {claims_of(in_url(one)["request"][0])["jti"] for one in made}
        assert len(ids) == 5
        assert all(len(one) >= 22 for one in ids)


@pytest.mark.gen_test
async def test_a_pushed_signed_request_has_only_the_client_id_outside() -> None:
    async with pushing() as party:
        made = await begin(party, signed_request=True, par=True)
        assert in_url(made) == {"client_id": [CLIENT_ID], "request_uri": [REFERENCE]}
        form = pushed_form(party)
        assert set(form) == {"client_id", "request"}
        assert claims_of(form["request"][0])["state"] == made.state


@pytest.mark.gen_test
async def test_a_request_cannot_be_signed_without_keys() -> None:
    async with acme() as party:
        with pytest.raises(ClientKeyMissing):
            await begin(party, signed_request=True)
