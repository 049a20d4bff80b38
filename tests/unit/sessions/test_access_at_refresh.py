"""A refresh that returns claims: they are stored with the tokens in one write, or the login ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.access.rules import AccessRules, Comparison, Rule
from portal.oidc.errors import RefreshRejected
from tests.unit.sessions.refreshing import refreshing
from tests.unit.sessions.test_adopted_claims import token

STAFF = (AccessRules((Rule(("roles",), Comparison.CONTAINS, ("staff",)),)),)


@pytest.mark.gen_test
async def test_new_claims_and_tokens_are_stored_in_one_write(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        scene.access = STAFF
        scene.party.claims = {"sub": "user-1", "roles": ["staff"]}
        scene.clock.advance(61)
        await scene.refresher().get_valid(scene.login, scene.provider)
        stored = await scene.stored()
        assert stored is not None
        assert stored.claims == {"sub": "user-1", "name": "Ada", "roles": ["staff"]}
        assert await scene.stored_refresh_token() == "refresh-2"


@pytest.mark.gen_test
async def test_a_claim_that_the_replaced_id_token_did_not_have_is_kept(tmp_path: Path) -> None:
    """`phone_number` came from UserInfo; `roles` was withdrawn."""
    async with refreshing(tmp_path, id_token=token({"sub": "user-1", "roles": ["staff"]})) as scene:
        claims = {"sub": "user-1", "roles": ["staff"], "phone_number": "5"}
        scene.login = replace(scene.login, claims=claims, version=2)
        assert await scene.working.swap_login(scene.login, expected_version=1)
        scene.party.claims = {"sub": "user-1"}
        scene.clock.advance(61)
        await scene.refresher().get_valid(scene.login, scene.provider)
        stored = await scene.stored()
        assert stored is not None
        assert stored.claims == {"sub": "user-1", "phone_number": "5"}


@pytest.mark.gen_test
async def test_claims_are_stored_with_the_tokens_after_a_database_outage(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        scene.party.claims = {"sub": "user-1", "roles": ["staff"]}
        scene.clock.advance(61)
        scene.store.fail("swap_login")
        refresher = scene.refresher()
        await refresher.get_valid(scene.login, scene.provider)
        before = await scene.stored()
        assert before is not None
        assert before.claims == scene.login.claims
        assert refresher.with_unstored_claims(before).claims["roles"] == ["staff"]
        signed_in_again = replace(before, tokens="another")
        assert refresher.with_unstored_claims(signed_in_again) == signed_in_again
        scene.store.recover()
        await scene.wait_until_stored("refresh-2")
        stored = await scene.stored()
        assert stored is not None
        assert stored.claims["roles"] == ["staff"]


@pytest.mark.parametrize("claims", [{"sub": "user-1", "roles": ["guest"]}, {"sub": "user-1"}, None])
@pytest.mark.gen_test
async def test_claims_that_break_a_rule_end_the_login_and_revoke_the_new_tokens(
    tmp_path: Path, claims: dict[str, object] | None
) -> None:
    async with refreshing(tmp_path) as scene:
        scene.access = STAFF
        scene.party.claims = claims
        scene.clock.advance(61)
        with pytest.raises(RefreshRejected, match="an access rule no longer holds: roles must be a list"):
            await scene.refresher().get_valid(scene.login, scene.provider)
        assert await scene.stored() is None
        assert scene.party.revoked == ["refresh-2"]
