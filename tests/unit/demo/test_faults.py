"""Each fault of the faulty provider works, and has no effect when it is off."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jose import jwt
from jose.exceptions import JOSEError
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import HTTPStreamClosedError

from portal.demo.compact import unb64
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.faulty.forged_tokens import public_pem
from tests.kit.faulty.provider_faults import OTHER_PARTY, Faults
from tests.unit.demo.parties import CLIENT, SECRET, claims, document, error, returned, serving

SPOILED_CLAIMS: list[tuple[Callable[[Faults], Any], Callable[[dict[str, Any]], bool]]] = [
    (lambda f: setattr(f, "wrong_iss", True), lambda c: c["iss"] == OTHER_PARTY),
    (lambda f: setattr(f, "wrong_aud", True), lambda c: c["aud"] == OTHER_PARTY),
    (lambda f: setattr(f, "wrong_nonce", True), lambda c: c["nonce"] != "the-nonce"),
    (lambda f: setattr(f, "wrong_at_hash", True), lambda c: c["at_hash"] == "A" * 22),
    (lambda f: setattr(f, "expired", True), lambda c: c["exp"] - c["iat"] == 3600),
    (lambda f: f.missing_claims.update({"sub", "iat"}), lambda c: not {"sub", "iat"} & set(c)),
    (
        lambda f: setattr(f, "mutate_id_token", lambda header, claims: claims.update(extra=1)),
        lambda c: c["extra"] == 1,
    ),
]


@pytest.mark.parametrize(("switch", "spoiled"), SPOILED_CLAIMS)
@pytest.mark.gen_test
async def test_the_contents_of_the_id_token_can_be_spoiled(
    signing_key: RSAPrivateKey, switch: Callable[[Faults], Any], spoiled: Callable[[dict[str, Any]], bool]
) -> None:
    async with serving(signing_key) as party:
        switch(party.provider.faults)
        token = (await party.tokens())["id_token"]
        assert spoiled(claims(token))
        assert party.provider.keys.verify(token), "the signature must stay valid"
        party.provider.faults.clear()
        valid = claims((await party.tokens())["id_token"])
        assert valid["iss"] == party.provider.issuer
        assert valid["aud"] == CLIENT.client_id
        assert valid["nonce"] == "the-nonce"
        assert "extra" not in valid
        assert {"sub", "iat"} <= set(valid)


@pytest.mark.parametrize(
    "signature",
    ["bad_signature", "alg_none", "hs256_with_public_key", "hs256_with_client_secret", "unpublished_key"],
)
@pytest.mark.gen_test
async def test_the_signature_of_the_id_token_can_be_spoiled(
    signing_key: RSAPrivateKey, signature: Any
) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.signature = signature
        token = (await party.tokens())["id_token"]
        keys = party.provider.keys.jwks()
        with pytest.raises(JOSEError):
            jwt.decode(
                token,
                keys,
                algorithms=["RS256"],
                audience=CLIENT.client_id,
                options={"verify_at_hash": False},
            )
        header = jwt.get_unverified_header(token)
        expected = {"alg_none": "none", "bad_signature": "RS256", "unpublished_key": "RS256"}
        assert header["alg"] == expected.get(signature, "HS256")
        assert claims(token)["nonce"] == "the-nonce"


@pytest.mark.gen_test
async def test_an_hs256_token_verifies_with_the_secret_it_was_signed_with(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        options = {"verify_aud": False, "verify_at_hash": False, "verify_signature": True}
        party.provider.faults.signature = "hs256_with_client_secret"
        token = (await party.tokens())["id_token"]
        assert jwt.decode(token, SECRET, algorithms=["HS256"], options=options)["sub"] == "sub-alice"
        party.provider.faults.signature = "hs256_with_public_key"
        token = (await party.tokens())["id_token"]
        text, _, signature = token.rpartition(".")
        pem = public_pem(signing_key.public_key())
        assert hmac.compare_digest(unb64(signature), hmac.new(pem, text.encode(), hashlib.sha256).digest())


@pytest.mark.gen_test
async def test_the_kid_can_be_unknown_or_missing(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.signature = "unknown_kid"
        header = jwt.get_unverified_header((await party.tokens())["id_token"])
        assert header["kid"] == "never-published"
        party.provider.faults.signature = "no_kid"
        assert "kid" not in jwt.get_unverified_header((await party.tokens())["id_token"])


@pytest.mark.gen_test
async def test_the_id_token_can_be_replaced(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.replace_id_token = lambda token: token + "x"
        assert (await party.tokens())["id_token"].endswith("x")


@pytest.mark.gen_test
async def test_token_responses_can_be_spoiled(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        faults = party.provider.faults
        faults.token_type = "mac"
        faults.mutate_token_response = lambda response: response.update(expires_in="soon")
        tokens = await party.tokens()
        assert tokens["token_type"] == "mac"
        assert tokens["expires_in"] == "soon"


@pytest.mark.gen_test
async def test_refused_grants_stay_valid(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        code = (await party.sign_in())["code"]
        party.provider.faults.code_error = "invalid_client"
        assert error(await party.exchange(code)) == "invalid_client"
        party.provider.faults.code_error = None
        token = document(await party.exchange(code))["refresh_token"]
        party.provider.faults.refresh_error = "invalid_grant"
        assert error(await party.refresh(token)) == "invalid_grant"
        party.provider.faults.refresh_error = None
        assert (await party.refresh(token)).code == 200


@pytest.mark.gen_test
async def test_the_authorization_response_can_be_spoiled(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        faults = party.provider.faults
        await party.sign_in()
        faults.wrong_state = True
        assert returned(await party.ask())["state"] != "the-state"
        faults.clear()
        faults.response_iss = "missing"
        assert "iss" not in returned(await party.ask())
        faults.response_iss = "wrong"
        assert returned(await party.ask())["iss"] == OTHER_PARTY
        faults.clear()
        faults.authorization_error = ("temporarily_unavailable", "<b>later</b>")
        response = returned(await party.ask())
        assert response["error"] == "temporarily_unavailable"
        assert response["error_description"] == "<b>later</b>"
        assert "code" not in response


@pytest.mark.gen_test
async def test_metadata_and_keys_can_be_spoiled(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        faults, where = party.provider.faults, "/.well-known/openid-configuration"
        faults.wrong_metadata_issuer = True
        assert document(await party.get(where))["issuer"] == OTHER_PARTY
        faults.clear()
        faults.mutate_metadata = lambda metadata: metadata.pop("end_session_endpoint")
        assert "end_session_endpoint" not in document(await party.get(where))
        faults.empty_jwks = True
        assert document(await party.get("/jwks")) == {"keys": []}
        faults.clear()
        faults.mutate_jwks = lambda keys: keys.update(more=1)
        assert document(await party.get("/jwks"))["more"] == 1
        faults.clear()
        assert "end_session_endpoint" in document(await party.get(where))
        assert len(document(await party.get("/jwks"))["keys"]) == 1


@pytest.mark.gen_test
async def test_an_endpoint_can_be_down_for_a_number_of_requests(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        code = (await party.sign_in())["code"]
        party.provider.faults.endpoints["token"] = EndpointFault(response=Response(), remaining=2)
        assert [(await party.exchange(code)).code for _ in range(3)] == [500, 500, 200]
        assert party.provider.requests["token"] == 3


@pytest.mark.gen_test
async def test_a_fault_of_the_refresh_endpoint_does_not_affect_codes(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.endpoints["refresh"] = EndpointFault(
            response=Response(503, b"", {"Retry-After": "7"})
        )
        token = (await party.tokens())["refresh_token"]
        response = await party.refresh(token)
        assert (response.code, response.headers["Retry-After"]) == (503, "7")
        del party.provider.faults.endpoints["refresh"]
        assert (await party.refresh(token)).code == 200


@pytest.mark.gen_test
async def test_a_blocked_endpoint_responds_when_it_is_released(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        token = (await party.tokens())["refresh_token"]
        gate = asyncio.Event()
        party.provider.faults.endpoints["refresh"] = EndpointFault(hold=gate)
        waiting = asyncio.ensure_future(party.refresh(token))
        await until(lambda: party.provider.requests["refresh"] == 1)
        assert not waiting.done()
        assert party.provider.state.refresh_token(token).spent is False  # type: ignore[union-attr]
        gate.set()
        assert (await waiting).code == 200


@pytest.mark.gen_test
async def test_a_blocked_request_whose_client_disconnects_has_no_effect(
    signing_key: RSAPrivateKey,
) -> None:
    async with serving(signing_key) as party:
        token = (await party.tokens())["refresh_token"]
        gate = asyncio.Event()
        party.provider.faults.endpoints["refresh"] = EndpointFault(hold=gate, remaining=1)
        with pytest.raises(HTTPClientError):
            await party.http.fetch(
                f"{party.provider.issuer}/token",
                method="POST",
                body=urlencode(
                    {
                        "grant_type": "refresh_token",
                        "refresh_token": token,
                        "client_id": CLIENT.client_id,
                        "client_secret": SECRET,
                    }
                ),
                request_timeout=0.1,
            )
        assert party.provider.requests["refresh"] == 1
        gate.set()
        assert (await party.refresh(token)).code == 200


@pytest.mark.gen_test
async def test_an_endpoint_can_stay_silent_until_the_client_disconnects(
    signing_key: RSAPrivateKey,
) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.endpoints["jwks"] = EndpointFault(never_responds=True)
        with pytest.raises(HTTPClientError):
            await party.http.fetch(f"{party.provider.issuer}/jwks", request_timeout=0.1)
        assert party.provider.requests["jwks"] == 1


@pytest.mark.gen_test
async def test_an_endpoint_can_be_slow(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.endpoints["jwks"] = EndpointFault(delay=0.15)
        with pytest.raises(HTTPClientError):
            await party.http.fetch(f"{party.provider.issuer}/jwks", request_timeout=0.05)
        response = await party.get("/jwks")
        assert response.code == 200
        assert response.request_time is not None
        assert response.request_time >= 0.15


@pytest.mark.gen_test
async def test_an_endpoint_can_respond_byte_by_byte(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.endpoints["jwks"] = EndpointFault(drip=0.01)
        received = 0

        def count(chunk: bytes) -> None:
            nonlocal received
            received += len(chunk)

        with pytest.raises(HTTPClientError):
            await party.http.fetch(
                f"{party.provider.issuer}/jwks", request_timeout=0.3, streaming_callback=count
            )
        assert 1 <= received <= 40


@pytest.mark.gen_test
async def test_an_endpoint_can_send_a_huge_response(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.endpoints["jwks"] = EndpointFault(huge=5 * 1024 * 1024)
        response = await party.get("/jwks")
        assert len(response.body) > 5 * 1024 * 1024
        assert set(json.loads(response.body)["filler"]) == {"x"}


@pytest.mark.gen_test
async def test_a_response_can_be_dropped_after_the_request_was_processed(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        token = (await party.tokens())["refresh_token"]
        party.provider.faults.endpoints["refresh"] = EndpointFault(drop_response=True, remaining=1)
        with pytest.raises((HTTPStreamClosedError, StreamClosedError)):
            await party.refresh(token)
        assert party.provider.state.refresh_token(token).spent is True  # type: ignore[union-attr]
        assert error(await party.refresh(token)) == "invalid_grant"


@pytest.mark.gen_test
async def test_logout_tokens_can_be_spoiled(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        party.provider.faults.mutate_logout_token = lambda header, claims: claims.update(nonce="n")
        token = party.provider.mint.logout_token(CLIENT.client_id, subject="s", sid="1")
        assert claims(token)["nonce"] == "n"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
