"""A faulty logout token is processed once, regardless of the number of providers (THREATS S14)."""

from __future__ import annotations

import pytest

from portal.oidc import logout_token
from portal.oidc.errors import IdTokenRejected, LogoutTokenRejected
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.secret import Secret
from tests.unit.oidc.signing import b64, registration
from tests.unit.oidc.test_logout_token_bounds import readings  # noqa: F401


def test_decryption_is_tried_once_per_encryption() -> None:
    way = IdTokenEncryption("RSA-OAEP", "A256GCM")
    providers = [registration(id=f"p{number}", id_token_encryption=way) for number in range(20)]
    tried: list[str] = []

    def decrypt(token: Secret, provider: Provider) -> Secret:
        tried.append(provider.id)
        raise IdTokenRejected("decryption", "the token cannot be decrypted")

    with pytest.raises(LogoutTokenRejected) as rejection:
        logout_token.find_registration(Secret("a.b.c.d.e"), providers, decrypt=decrypt)
    assert rejection.value.rule == "decryption"
    assert tried == ["p0"]


def test_an_unreadable_token_is_parsed_once(readings: list[str]) -> None:  # noqa: F811
    providers = [registration(id=f"p{number}") for number in range(20)]
    token = Secret(f"{b64(b'{}')}.{b64(b'no JSON')}.eA")
    with pytest.raises(LogoutTokenRejected):
        logout_token.find_registration(token, providers, decrypt=lambda token, _: token)
    assert len(readings) == 1
