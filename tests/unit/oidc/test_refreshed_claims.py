"""A refresh returns only the claims of a new, validated ID token."""

from __future__ import annotations

from typing import Any

import pytest

from portal.oidc.errors import RefreshRejected
from tests.unit.oidc.party import acme, held
from tests.unit.oidc.signing import NOW, login_claims, signed


@pytest.mark.gen_test
async def test_the_claims_of_a_valid_id_token_are_returned() -> None:
    async with acme(claims={"nonce": None, "roles": ["staff"]}) as party:
        before = signed(login_claims(iss=party.wire.url("")))
        claims = (await party.refreshed(held(id_token=before))).claims
    assert claims is not None
    assert claims["roles"] == ["staff"]
    assert claims["sub"] == "user-1"


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 99}, {"at_hash": "x"}, {"iat": NOW + 999}, {"nonce": "x"}, {"azp": "x"}]
)
@pytest.mark.gen_test
async def test_the_claims_of_an_invalid_id_token_are_not_returned(claims: dict[str, Any]) -> None:
    async with acme(claims={"roles": ["staff"], **claims}) as party:
        before = signed(login_claims(iss=party.wire.url("")))
        try:
            returned = (await party.refreshed(held(id_token=before))).claims
        except RefreshRejected:
            returned = None
    assert returned is None


@pytest.mark.gen_test
async def test_without_a_new_id_token_no_claims_are_returned() -> None:
    async with acme(tokens={"id_token": None}) as party:
        assert (await party.refreshed(held(id_token=signed(login_claims())))).claims is None
