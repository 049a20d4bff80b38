from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portal.keys.token_codec import decode_tokens, encode_tokens
from portal.oidc.dpop import DpopKey
from portal.oidc.provider import TokenSet
from portal.secret import Secret

PLAIN = TokenSet(
    Secret("at"), 1_800_000_000.5, scope=("openid", "a"), refresh_token=Secret("rt"), id_token=Secret("id")
)
BOUND = replace(PLAIN, token_type="DPoP", dpop_key=DpopKey.generate())


@pytest.mark.parametrize("tokens", [PLAIN, BOUND, TokenSet(Secret("at"), 1.0)])
def test_a_token_set_is_decoded_as_it_was_encoded(tokens: TokenSet) -> None:
    assert decode_tokens(encode_tokens(tokens)) == tokens


def test_a_dpop_key_is_stored_with_its_token_set() -> None:
    again = decode_tokens(encode_tokens(BOUND)).dpop_key
    assert again is not None
    assert again.private_jwk() == BOUND.dpop_key.private_jwk()  # type: ignore[union-attr]


def test_tokens_of_apis_that_an_earlier_version_stored_are_decoded() -> None:
    """Without `own_grant` and `api_scopes`; an earlier version ignores both."""
    api = TokenSet(Secret("api"), 5.0, scope=("b",), issued_at=1.0)
    tokens = replace(PLAIN, api_tokens={"key": api})
    before = json.loads(encode_tokens(tokens))
    assert before.keys() == {*json.loads(encode_tokens(PLAIN)), "api_tokens"}
    assert before["api_tokens"]["key"].keys() == {
        "access_token",
        "expires_at",
        "issued_at",
        "token_type",
        "scope",
    }
    assert decode_tokens(json.dumps(before)) == tokens
    now = replace(tokens, api_tokens={"key": replace(api, own_grant=True)}, api_scopes={"key": ("b", "c")})
    assert decode_tokens(encode_tokens(now)) == now


def test_a_token_set_of_an_earlier_version_without_a_key_is_decoded() -> None:
    before = (
        '{"access_token":"at","expires_at":1800000000.5,"token_type":"Bearer","scope":["openid","a"],'
        '"refresh_token":"rt","id_token":"id"}'
    )
    assert decode_tokens(before) == PLAIN
    assert encode_tokens(PLAIN) == before


@pytest.mark.parametrize(
    "key", ["text", 5, [], {}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}]
)
def test_a_token_set_with_a_malformed_key_is_rejected(key: object) -> None:
    text = json.dumps({**json.loads(encode_tokens(PLAIN)), "dpop_key": key})
    with pytest.raises((ValueError, TypeError)):
        decode_tokens(text)
