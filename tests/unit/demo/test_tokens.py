"""The development provider's token endpoint, userinfo, revocation and keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jose import jwt

from tests.kit.samples import ManualClock
from tests.unit.demo.parties import (
    CALLBACK,
    CLIENT,
    PUBLIC,
    SECRET,
    VERIFIER,
    claims,
    document,
    error,
    serving,
)


@pytest.mark.gen_test
async def test_another_library_accepts_the_tokens(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens()
        keys = document(await party.get("/jwks"))
        identity = jwt.decode(
            tokens["id_token"],
            keys,
            algorithms=["RS256"],
            audience=CLIENT.client_id,
            issuer=party.provider.issuer,
            access_token=tokens["access_token"],
        )
        assert identity["nonce"] == "the-nonce"
        assert identity["azp"] == CLIENT.client_id
        assert identity["sub"] == "sub-alice"
        assert identity["name"] == "Alice Archer"
        assert identity["email"] == "alice@acme.example"
        assert identity["roles"] == ["sales"]
        access = jwt.decode(
            tokens["access_token"], keys, algorithms=["RS256"], audience="https://api.acme.example"
        )
        assert access["iss"] == party.provider.issuer
        assert access["exp"] - access["iat"] == 60
        assert set(access["scope"].split()) >= {"read:orders", "write:orders"}


@pytest.mark.gen_test
async def test_claims_follow_the_scope(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens(scope="openid email unheard:of")
        identity = claims(tokens["id_token"])
        assert identity["email"] == "alice@acme.example"
        assert "name" not in identity
        assert "roles" not in identity
        assert tokens["scope"] == "openid email"
        assert "refresh_token" not in tokens


@pytest.mark.parametrize("name", ["audience", "resource"])
@pytest.mark.gen_test
async def test_the_access_token_is_for_the_requested_api(signing_key: RSAPrivateKey, name: str) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens(**{name: "https://reports.acme.example"})
        assert claims(tokens["access_token"])["aud"] == "https://reports.acme.example"
        refreshed = document(await party.refresh(tokens["refresh_token"]))
        assert claims(refreshed["access_token"])["aud"] == "https://reports.acme.example"
        wider = await party.refresh(refreshed["refresh_token"], resource="https://api.acme.example")
        assert error(wider) == "invalid_target"


@pytest.mark.gen_test
async def test_a_code_is_valid_once_and_its_replay_revokes_the_tokens(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        code = (await party.sign_in())["code"]
        tokens = document(await party.exchange(code))
        assert (await party.get("/userinfo", tokens["access_token"])).code == 200
        assert error(await party.exchange(code)) == "invalid_grant"
        assert (await party.get("/userinfo", tokens["access_token"])).code == 401
        assert error(await party.refresh(tokens["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"code_verifier": VERIFIER[:42]}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": CALLBACK + "/"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"code": None}, "invalid_request"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
        ({"code_verifier": [VERIFIER, VERIFIER]}, "invalid_request"),
    ],
)
@pytest.mark.gen_test
async def test_a_wrong_code_exchange_is_refused(
    signing_key: RSAPrivateKey, changes: dict[str, Any], code: str
) -> None:
    async with serving(signing_key) as party:
        given = {"code": (await party.sign_in())["code"], **changes}
        response = await party.exchange(**given)
        assert response.code == 400
        assert error(response) == code


@pytest.mark.gen_test
async def test_a_malformed_request_gets_a_json_error(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        response = await party.http.fetch(
            f"{party.provider.issuer}/token", method="POST", body=b"grant_type=%ff%fe", raise_error=False
        )
        assert response.code == 400
        assert error(response) == "invalid_request"
        assert (await party.get("/token")).code == 405


@pytest.mark.gen_test
async def test_a_code_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        code = (await party.sign_in())["code"]
        clock.advance(60)
        assert error(await party.exchange(code)) == "invalid_grant"


@pytest.mark.gen_test
async def test_a_code_of_one_client_is_invalid_for_another(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        code = (await party.sign_in())["code"]
        stolen = {
            "grant_type": "authorization_code",
            "client_id": PUBLIC.client_id,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        assert error(await party.post("/token", stolen)) == "invalid_grant"
        assert (await party.exchange(code)).code == 200


@pytest.mark.gen_test
async def test_a_client_authenticates_in_the_header_or_in_the_body(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        refresh = {"grant_type": "refresh_token", "refresh_token": "unknown"}
        credentials = {"client_id": CLIENT.client_id, "client_secret": SECRET}
        assert error(await party.post("/token", {**refresh, **credentials})) == "invalid_grant"
        assert error(await party.token(**refresh)) == "invalid_grant"
        assert error(await party.post("/token", {**refresh, "client_id": "public"})) == "invalid_grant"


@pytest.mark.parametrize(
    ("basic", "body", "code"),
    [
        (None, {"client_id": "the portal", "client_secret": "guess"}, "invalid_client"),
        (None, {"client_id": "the portal"}, "invalid_client"),
        (None, {"client_id": "public", "client_secret": "x"}, "invalid_client"),
        (None, {"client_id": "other_client", "client_secret": SECRET}, "invalid_client"),
        (None, {}, "invalid_client"),
        (("the portal", "guess"), {}, "invalid_client"),
        (("the portal", SECRET), {"client_secret": SECRET}, "invalid_request"),
        (("the portal", SECRET), {"client_id": "public"}, "invalid_request"),
    ],
)
@pytest.mark.gen_test
async def test_failed_client_authentication_is_refused(
    signing_key: RSAPrivateKey, basic: tuple[str, str] | None, body: dict[str, str], code: str
) -> None:
    async with serving(signing_key) as party:
        parameters = {"grant_type": "refresh_token", "refresh_token": "unknown", **body}
        response = await party.post("/token", parameters, basic=basic)
        assert error(response) == code
        if code == "invalid_client":
            assert response.code == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.gen_test
async def test_a_refresh_rotates_the_token_and_keeps_the_identity(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        first = await party.tokens()
        clock.advance(70)
        second = document(await party.refresh(first["refresh_token"]))
        assert second["refresh_token"] != first["refresh_token"]
        before, after = claims(first["id_token"]), claims(second["id_token"])
        assert {k: after[k] for k in ("iss", "sub", "aud", "sid", "auth_time")} == {
            k: before[k] for k in ("iss", "sub", "aud", "sid", "auth_time")
        }
        assert "nonce" not in after
        assert claims(second["access_token"])["exp"] == claims(first["access_token"])["exp"] + 70
        assert party.provider.requests["refresh"] == 1


@pytest.mark.gen_test
async def test_reusing_a_refresh_token_revokes_the_whole_grant(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        first = await party.tokens()
        second = document(await party.refresh(first["refresh_token"]))
        assert error(await party.refresh(first["refresh_token"])) == "invalid_grant"
        assert error(await party.refresh(second["refresh_token"])) == "invalid_grant"
        assert (await party.get("/userinfo", second["access_token"])).code == 401


@pytest.mark.gen_test
async def test_a_refresh_can_narrow_the_scope_but_not_widen_it(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        token = (await party.tokens(scope="openid offline_access read:orders"))["refresh_token"]
        assert error(await party.refresh(token, scope="openid write:orders")) == "invalid_scope"
        narrowed = document(await party.refresh(token, scope="openid"))
        assert narrowed["scope"] == "openid"
        again = document(await party.refresh(narrowed["refresh_token"]))
        assert again["scope"].split() == ["openid", "offline_access", "read:orders"]


@pytest.mark.gen_test
async def test_a_refresh_token_expires(signing_key: RSAPrivateKey) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock, refresh_token_seconds=3600) as party:
        token = (await party.tokens())["refresh_token"]
        clock.advance(3600)
        assert error(await party.refresh(token)) == "invalid_grant"


@pytest.mark.gen_test
async def test_userinfo_returns_the_claims_of_the_scope_until_the_token_expires(
    signing_key: RSAPrivateKey,
) -> None:
    clock = ManualClock()
    async with serving(signing_key, clock=clock) as party:
        token = (await party.tokens(scope="openid email"))["access_token"]
        response = document(await party.get("/userinfo", token))
        assert response == {"sub": "sub-alice", "email": "alice@acme.example", "email_verified": True}
        clock.advance(60)
        response = await party.get("/userinfo", token)
        assert response.code == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert (await party.get("/userinfo")).code == 401


@pytest.mark.gen_test
async def test_revoking_an_access_token_ends_only_that_one(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens()
        response = await party.post(
            "/revoke", {"token": tokens["access_token"]}, basic=(CLIENT.client_id, SECRET)
        )
        assert response.code == 200
        assert (await party.get("/userinfo", tokens["access_token"])).code == 401
        assert (await party.refresh(tokens["refresh_token"])).code == 200


@pytest.mark.gen_test
async def test_revoking_a_refresh_token_revokes_the_whole_grant(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        tokens = await party.tokens()
        response = await party.post(
            "/revoke",
            {"token": tokens["refresh_token"], "token_type_hint": "refresh_token"},
            basic=(CLIENT.client_id, SECRET),
        )
        assert response.code == 200
        assert (await party.get("/userinfo", tokens["access_token"])).code == 401
        assert error(await party.refresh(tokens["refresh_token"])) == "invalid_grant"


@pytest.mark.gen_test
async def test_revocation_requires_the_right_client_and_accepts_unknown_tokens(
    signing_key: RSAPrivateKey,
) -> None:
    async with serving(signing_key) as party:
        token = (await party.tokens())["refresh_token"]
        other_client = await party.post("/revoke", {"token": token, "client_id": PUBLIC.client_id})
        assert error(other_client) == "invalid_grant"
        unauthenticated = await party.post("/revoke", {"token": token, "client_id": CLIENT.client_id})
        assert unauthenticated.code == 401
        unknown = await party.post("/revoke", {"token": "unknown"}, basic=(CLIENT.client_id, SECRET))
        assert unknown.code == 200
        assert (await party.refresh(token)).code == 200


@pytest.mark.gen_test
async def test_an_administrator_can_revoke_all_grants_of_a_user(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        alice = await party.tokens()
        bob = await party.tokens("bob", "pw-bob", prompt="login")
        party.provider.state.revoke_grants("alice")
        assert error(await party.refresh(alice["refresh_token"])) == "invalid_grant"
        assert (await party.refresh(bob["refresh_token"])).code == 200


@pytest.mark.gen_test
async def test_rotated_keys_sign_and_old_ones_stay_published(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        before = await party.tokens()
        party.provider.rotate_keys()
        after = await party.tokens()
        keys = document(await party.get("/jwks"))
        assert len(keys["keys"]) == 2
        for tokens in (before, after):
            jwt.decode(
                tokens["id_token"],
                keys,
                algorithms=["RS256"],
                options={"verify_at_hash": False},
                audience=CLIENT.client_id,
            )
        assert (
            jwt.get_unverified_header(before["id_token"])["kid"]
            != jwt.get_unverified_header(after["id_token"])["kid"]
        )
        assert (await party.get("/userinfo", before["access_token"])).code == 200
        party.provider.keys.retire()
        assert len(document(await party.get("/jwks"))["keys"]) == 1


@pytest.mark.gen_test
async def test_metadata_names_the_issuer_and_endpoints_below_it(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        metadata = document(await party.get("/.well-known/openid-configuration"))
        assert metadata["issuer"] == party.provider.issuer
        for name in ("authorization", "token", "userinfo", "revocation", "end_session"):
            assert metadata[f"{name}_endpoint"].startswith(f"{party.provider.issuer}/")
        assert metadata["code_challenge_methods_supported"] == ["S256"]
        assert metadata["authorization_response_iss_parameter_supported"] is True


@pytest.mark.gen_test
async def test_an_issuer_can_have_a_trailing_slash(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, path="/") as party:
        assert party.provider.issuer.endswith("/")
        metadata = document(await party.get("/.well-known/openid-configuration"))
        assert metadata["issuer"] == party.provider.issuer
        assert metadata["token_endpoint"] == f"{party.provider.issuer}token"
        tokens = await party.tokens()
        assert claims(tokens["id_token"])["iss"] == party.provider.issuer


@pytest.mark.gen_test
async def test_all_issued_codes_and_tokens_are_recorded(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        code = (await party.sign_in())["code"]
        tokens = document(await party.exchange(code))
        given = {code, tokens["access_token"], tokens["refresh_token"], tokens["id_token"]}
        assert given <= set(party.provider.state.issued)
        assert not any(value in json.dumps(str(party.provider.received)) for value in given)
