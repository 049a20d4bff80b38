from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from portal.errors import PortalError
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.errors import (
    ClientRejected,
    IdTokenRejected,
    ProviderDenied,
    ProviderUnavailable,
    RefreshRejected,
    ResponseIssuerRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.jose import jws
from portal.oidc.provider import ClientAuth
from portal.oidc.relying_party import RelyingParty
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from tests.unit.oidc.party import CALLBACK, acme, held
from tests.unit.oidc.sample_client_keys import make_client_keys
from tests.unit.oidc.signing import CLIENT_SECRET, NONCE, NOW, login_claims, public_jwk, signed
from tests.unit.outbound.wire import http_response

# --- the login


@pytest.mark.gen_test
async def test_a_login_goes_from_request_to_authentication() -> None:
    async with acme(claims={"sid": "s-1", "email": "ada@acme.example"}) as party:
        options = AuthorizationOptions(login_hint="ada")
        begun = await party.relying_party.begin(party.provider(), redirect_uri=CALLBACK, options=options)
        sent = parse_qs(urlsplit(begun.url).query)
        assert begun.url.startswith(party.wire.url("/authorization_endpoint?"))
        assert (sent["state"], sent["login_hint"]) == ([begun.state], ["ada"])
        party.claims["nonce"] = begun.nonce
        done = await party.relying_party.finish(
            party.provider(),
            {"code": ["c0de"], "state": [begun.state]},
            nonce=begun.nonce,
            code_verifier=begun.code_verifier,
            redirect_uri=begun.redirect_uri,
        )
    assert (done.issuer, done.subject, done.sid) == (party.wire.url(""), "user-1", "s-1")
    assert done.claims["email"] == "ada@acme.example"
    assert (done.tokens.access_token, done.tokens.refresh_token) == (Secret("at"), Secret("rt"))
    assert done.tokens.expires_at == NOW + 600
    assert done.tokens.id_token is not None
    form = parse_qs(
        next(request.body for request in party.wire.received if request.target == "/token").decode()
    )
    assert (form["code"], form["code_verifier"]) == (["c0de"], [begun.code_verifier.reveal()])


@pytest.mark.gen_test
async def test_metadata_and_keys_are_fetched_once_for_many_logins() -> None:
    async with acme() as party:
        await asyncio.gather(*(party.finish() for _ in range(10)))
        assert party.calls("/.well-known/openid-configuration") == 1
        assert party.calls("/jwks_uri") == 1
        assert party.calls("/token") == 10


@pytest.mark.gen_test
async def test_a_denied_or_mixed_up_response_uses_no_code() -> None:
    async with acme(metadata={"authorization_response_iss_parameter_supported": True}) as party:
        with pytest.raises(ProviderDenied):
            await party.finish({"error": ["access_denied"], "iss": [party.wire.url("")]})
        with pytest.raises(ResponseIssuerRejected):
            await party.finish({"code": ["c"], "iss": ["https://login.other.example/"]})
        with pytest.raises(ResponseIssuerRejected):
            await party.finish({"code": ["c"]})
        assert party.calls("/token") == 0
        assert (await party.finish({"code": ["c"], "iss": [party.wire.url("")]})).subject == "user-1"


@pytest.mark.gen_test
async def test_unavailable_keys_use_no_code() -> None:
    async with acme(failing={"/jwks_uri": http_response(503)}) as party:
        with pytest.raises(ProviderUnavailable):
            await party.finish()
        assert party.calls("/token") == 0


@pytest.mark.gen_test
async def test_a_code_is_exchanged_at_most_once() -> None:
    for failure in (
        http_response(500),
        http_response(429),
        http_response(400, '{"error":"invalid_grant"}'),
        b"nonsense\r\n\r\n",
    ):
        async with acme(failing={"/token": failure}) as party:
            with pytest.raises((ProviderUnavailable, TokenRequestRejected)):
                await party.finish()
            assert party.calls("/token") == 1


@pytest.mark.gen_test
async def test_a_login_needs_an_id_token() -> None:
    async with acme(tokens={"id_token": None}) as party:
        with pytest.raises(TokenResponseMalformed, match="id_token"):
            await party.finish()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"nonce": "other"}, "nonce"),
        ({"iss": "https://x.example"}, "iss"),
        ({"at_hash": "x"}, "at_hash"),
        ({"c_hash": "x"}, "c_hash"),
        ({"exp": NOW - 61}, "exp"),
    ],
)
async def test_an_id_token_that_breaks_a_rule_ends_the_login(claims: dict[str, Any], rule: str) -> None:
    async with acme() as party:
        party.tokens["id_token"] = signed(login_claims(**{"iss": party.wire.url(""), **claims})).reveal()
        with pytest.raises(IdTokenRejected) as rejection:
            await party.finish()
        assert rejection.value.rule == rule


@pytest.mark.gen_test
async def test_max_age_is_checked_against_auth_time() -> None:
    async with acme() as party:
        with pytest.raises(IdTokenRejected, match="auth_time"):
            await party.finish(max_age=60)
        party.claims["auth_time"] = NOW - 100
        assert (await party.finish(max_age=60)).subject == "user-1"


@pytest.mark.gen_test
async def test_a_new_signing_key_is_found_with_one_more_fetch() -> None:
    async with acme() as party:
        await party.finish()
        party.keys = [public_jwk(kid="key-2", which=1)]
        party.signing = {"kid": "key-2", "which": 1}
        logins = await asyncio.gather(*(party.finish() for _ in range(5)))
        assert {login.subject for login in logins} == {"user-1"}
        assert party.calls("/jwks_uri") == 2


@pytest.mark.gen_test
async def test_an_unknown_key_causes_5_fetches_and_then_one_in_30_seconds() -> None:
    async with acme(signing={"kid": "unknown"}) as party:
        for _ in range(8):
            with pytest.raises(IdTokenRejected, match="kid_unknown"):
                await party.finish()
        assert party.calls("/jwks_uri") == 1 + 5
        party.time.advance(30)
        party.claims = {"iat": NOW + 30, "exp": NOW + 300}
        for _ in range(2):
            with pytest.raises(IdTokenRejected, match="kid_unknown"):
                await party.finish()
        assert party.calls("/jwks_uri") == 1 + 5 + 1


@pytest.mark.gen_test
async def test_an_invalid_signature_causes_no_fetch_of_keys() -> None:
    async with acme(signing={"which": 1}) as party:
        with pytest.raises(IdTokenRejected, match="signature"):
            await party.finish()
        assert party.calls("/jwks_uri") == 1


@pytest.mark.gen_test
async def test_a_provider_that_signs_with_the_client_secret_needs_no_key_set() -> None:
    signing = {"alg": "HS256", "secret": CLIENT_SECRET.encode(), "kid": None}
    async with acme(signing=signing, failing={"/jwks_uri": http_response(500)}) as party:
        assert (await party.finish(id_token_algs=("HS256",))).subject == "user-1"
        assert party.calls("/jwks_uri") == 0


@pytest.mark.gen_test
async def test_two_providers_with_one_issuer_share_no_cache() -> None:
    async with acme() as party:
        await party.finish()
        await party.finish(tenant="other")
        assert party.calls("/jwks_uri") == 2


# --- refreshing


@pytest.mark.gen_test
async def test_a_refresh_returns_the_new_tokens() -> None:
    async with acme(claims={"nonce": None}, tokens={"scope": "openid"}) as party:
        new = await party.refresh(held(id_token=signed(login_claims(iss=party.wire.url("")))))
        assert (new.access_token, new.refresh_token, new.expires_at) == (
            Secret("at"),
            Secret("rt"),
            NOW + 600,
        )
        assert new.id_token == Secret(party.token_response()["id_token"])


@pytest.mark.gen_test
async def test_values_missing_in_a_refresh_response_are_kept() -> None:
    id_token = signed(login_claims())
    async with acme(tokens={"id_token": None, "refresh_token": None}) as party:
        new = await party.refresh(held(id_token=id_token, scope=("openid", "a")))
    assert (new.access_token, new.refresh_token, new.id_token) == (Secret("at"), Secret("old-rt"), id_token)
    assert new.scope == ("openid", "a")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "user-2"},
        {"aud": "x"},
        {"iss": "https://x.example"},
        {"sub": "user-2", "exp": NOW - 99, "at_hash": "x"},
        {"aud": "x", "nonce": "x"},
    ],
)
async def test_an_id_token_of_another_login_ends_the_login(claims: dict[str, Any]) -> None:
    async with acme(claims=claims) as party:
        previous = signed(login_claims(iss=party.wire.url(""), auth_time=NOW - 500))
        with pytest.raises(RefreshRejected):
            await party.refresh(held(id_token=previous))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "claims", [{"auth_time": NOW - 501}, {"nonce": "x"}, {"exp": NOW - 99}, {"at_hash": "x"}]
)
async def test_an_id_token_that_breaks_another_rule_is_ignored_and_no_token_is_lost(
    claims: dict[str, Any],
) -> None:
    async with acme(claims=claims) as party:
        previous = signed(login_claims(iss=party.wire.url(""), auth_time=NOW - 500))
        new = await party.refresh(held(id_token=previous))
        assert (new.access_token, new.refresh_token, new.id_token) == (Secret("at"), Secret("rt"), previous)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("claims", "signing", "detail"),
    [
        (
            {"auth_time": NOW - 501},
            {},
            "auth_time_changed: auth_time is 2027-01-15T07:51:39Z; that of the login is 2027-01-15T07:51:40Z",
        ),
        ({}, {"kid": "key-0", "which": 1}, "kid_unknown: kid is key-0; the provider's RS256 keys are key-1"),
        (
            {"nonce": "another"},
            {},
            "nonce_changed: nonce is a text of 7 characters; that of the login is",
        ),
        ({"exp": NOW - 99}, {}, "exp: exp is 2027-01-15T07:58:21Z; the time here is 2027-01-15T08:00:00Z"),
    ],
)
async def test_the_log_shows_the_rule_and_both_values_of_an_ignored_id_token(
    claims: dict[str, Any], signing: dict[str, Any], detail: str
) -> None:
    async with acme(claims=claims, signing=signing) as party:
        previous = signed(login_claims(iss=party.wire.url(""), auth_time=NOW - 500))
        with capture_logs() as lines:
            new = await party.refresh(held(id_token=previous))
    assert (new.access_token, new.refresh_token, new.id_token) == (Secret("at"), Secret("rt"), previous)
    (line,) = [line for line in lines if line["event"] == "id_token_not_adopted"]
    assert line["rule"] == detail.partition(":")[0]
    assert line["detail"].startswith(detail)


@pytest.mark.gen_test
async def test_a_refreshed_id_token_is_accepted_after_three_key_changes_within_30_seconds() -> None:
    async with acme(claims={"nonce": None}) as party:
        tokens = await party.refresh(held(id_token=signed(login_claims(iss=party.wire.url("")))))
        for number in (2, 3, 4):
            party.keys = [public_jwk(kid=f"key-{number}", which=number % 2)]
            party.signing = {"kid": f"key-{number}", "which": number % 2}
            tokens = await party.refresh(tokens)
            assert tokens.id_token == Secret(party.token_response()["id_token"])


@pytest.mark.gen_test
async def test_a_nonce_only_in_the_refreshed_id_token_is_accepted() -> None:
    async with acme(claims={"nonce": "of the provider"}) as party:
        new = await party.refresh(held(id_token=signed(login_claims(iss=party.wire.url(""), nonce=None))))
        assert new.id_token == Secret(party.token_response()["id_token"])


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("invalid_grant", RefreshRejected),
        ("invalid_request", RefreshRejected),
        ("unauthorized_client", RefreshRejected),
        ("unsupported_grant_type", RefreshRejected),
        ("urn:acme:expired", RefreshRejected),
        ("invalid_client", ClientRejected),
        ("use_dpop_nonce", ClientRejected),
        ("server_error", ProviderUnavailable),
        ("\n", ProviderUnavailable),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_how_a_rejected_refresh_is_classified(error: str, kind: type[PortalError], status: int) -> None:
    async with acme(failing={"/token": http_response(status, json.dumps({"error": error}))}) as party:
        with pytest.raises(PortalError) as failure:
            await party.refresh(held())
    assert type(failure.value) is kind
    if isinstance(failure.value, RefreshRejected):
        assert failure.value.error == error
        assert failure.value.detail.endswith(f"error={error}")


@pytest.mark.gen_test
async def test_unavailable_keys_after_a_refresh_lose_no_token() -> None:
    async with acme(claims={"nonce": None}) as party:
        first = await party.refresh(held())
        party.signing = {"kid": "key-2", "which": 1}
        party.failing["/jwks_uri"] = http_response(503)
        new = await party.refresh(first)
        assert (new.access_token, new.refresh_token, new.id_token) == (
            Secret("at"),
            Secret("rt"),
            first.id_token,
        )


@pytest.mark.gen_test
@pytest.mark.parametrize("fault", [{"access_token": None}, {"expires_in": "soon"}, {"token_type": "mac"}])
async def test_the_error_of_an_unusable_response_has_its_refresh_token(
    fault: dict[str, Any],
) -> None:
    async with acme(tokens=fault) as party:
        with pytest.raises(TokenResponseMalformed) as malformed:
            await party.refresh(held())
        assert malformed.value.refresh_token == Secret("rt")


@pytest.mark.gen_test
@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable", "slow_down"])
async def test_an_error_of_the_provider_itself_does_not_end_the_login(error: str) -> None:
    async with acme(failing={"/token": http_response(400, f'{{"error":"{error}"}}')}) as party:
        with pytest.raises(ProviderUnavailable):
            await party.refresh(held())


@pytest.mark.gen_test
async def test_an_invalid_refresh_token_ends_the_login() -> None:
    async with acme(failing={"/token": http_response(400, '{"error":"invalid_grant"}')}) as party:
        with pytest.raises(RefreshRejected):
            await party.refresh(held())
        assert party.calls("/token") == 1


@pytest.mark.gen_test
async def test_a_rejected_client_does_not_end_the_login() -> None:
    async with acme(failing={"/token": http_response(401, '{"error":"invalid_client"}')}) as party:
        with pytest.raises(TokenRequestRejected) as rejection:
            await party.refresh(held())
        assert rejection.value.error == "invalid_client"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "failure", [http_response(500), http_response(503), http_response(429), b"HTTP/1.1 nonsense\r\n\r\n"]
)
async def test_a_failing_provider_does_not_end_the_login_and_gets_one_request(failure: bytes) -> None:
    async with acme(failing={"/token": failure}) as party:
        with pytest.raises(ProviderUnavailable):
            await party.refresh(held())
        assert party.calls("/token") == 1


@pytest.mark.gen_test
async def test_nothing_is_refreshed_without_a_refresh_token() -> None:
    async with acme() as party:
        with pytest.raises(RefreshRejected):
            await party.refresh(held(refresh_token=None))
        assert party.wire.received == []


@pytest.mark.gen_test
async def test_unavailable_keys_use_no_refresh_token() -> None:
    async with acme(failing={"/jwks_uri": http_response(503)}) as party:
        with pytest.raises(ProviderUnavailable):
            await party.refresh(held())
        assert party.calls("/token") == 0


@pytest.mark.gen_test
async def test_a_refresh_finds_a_new_signing_key_too() -> None:
    async with acme(claims={"nonce": None}) as party:
        await party.refresh(held())
        party.keys = [public_jwk(kid="key-2", which=1)]
        party.signing = {"kid": "key-2", "which": 1}
        assert (await party.refresh(held())).access_token == Secret("at")


# --- logout


@pytest.mark.gen_test
async def test_revocation_and_logout_use_the_endpoints_of_the_metadata() -> None:
    async with acme() as party:
        provider = party.provider()
        assert not await party.relying_party.revoke(provider, Secret("rt"), hint="refresh_token")
        nowhere = await party.relying_party.logout_url(
            provider, id_token=None, post_logout_redirect_uri=CALLBACK, state="s"
        )
        assert nowhere is None
    async with acme() as party:
        party.metadata = {
            "revocation_endpoint": party.wire.url("/revoke"),
            "end_session_endpoint": party.wire.url("/end"),
        }
        provider = party.provider()
        assert await party.relying_party.revoke(provider, Secret("rt"), hint="refresh_token")
        assert party.calls("/revoke") == 1
        url = await party.relying_party.logout_url(
            provider, id_token=Secret("id"), post_logout_redirect_uri=CALLBACK, state="s"
        )
        assert url is not None
        assert url.startswith(party.wire.url("/end?id_token_hint=id&"))


@pytest.mark.gen_test
async def test_code_exchange_refresh_and_revocation_are_signed_with_the_keys_and_clock_of_the_portal() -> (
    None
):
    async with acme(client_keys=make_client_keys(), claims={"nonce": NONCE}) as party:
        changes: dict[str, Any] = {"client_auth": ClientAuth.PRIVATE_KEY_JWT, "client_secret": None}
        party.metadata["revocation_endpoint"] = party.wire.url("/revoke")
        await party.finish(**changes)
        await party.refresh(held(), **changes)
        await party.relying_party.revoke(party.provider(**changes), Secret("rt"), hint="refresh_token")
        sent = [parse_qs(request.body.decode()) for request in party.wire.received if request.body]
    issued = [jws.stored_claims(form["client_assertion"][0])["iat"] for form in sent]
    assert issued == [int(NOW)] * 3


def test_a_relying_party_can_be_made_without_an_event_loop() -> None:
    assert RelyingParty(OutboundClient()) is not None
