"""`session_expiry` of the ID token: a login ends with the provider's session, and never later than stated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.errors import LoginRequired
from portal.oidc.errors import RefreshRejected
from portal.sessions.adopted_claims import adopted_claims
from portal.sessions.directory import Limits
from portal.sessions.session_expiry import limited, provider_limit
from tests.kit.samples import START
from tests.unit.sessions.refreshing import Scene, refreshing
from tests.unit.sessions.test_session_limits import SignedIn, signed_in


def test_the_claim_only_shortens() -> None:
    assert limited(START, {}) == START
    assert limited(START, {"session_expiry": int(START) - 5}) == START - 5
    assert limited(START, {"session_expiry": START + 5}) == START


@pytest.mark.parametrize("value", [None, True, "1", [1], {}])
def test_a_stored_value_that_is_no_number_limits_nothing(value: object) -> None:
    assert provider_limit({"session_expiry": value}) is None


def test_a_refresh_does_not_lengthen_it() -> None:
    stored = {"session_expiry": 500, "team": "a"}
    assert adopted_claims(stored, None, {"session_expiry": 400})["session_expiry"] == 400
    assert adopted_claims(stored, None, {"session_expiry": 900})["session_expiry"] == 500
    assert adopted_claims(stored, None, {"team": "b"}) == {"session_expiry": 500, "team": "b"}
    assert adopted_claims({}, None, {"session_expiry": 900}) == {"session_expiry": 900}
    assert "session_expiry" not in adopted_claims({}, None, {"team": "b"})


async def _limit(made: SignedIn, at: float) -> None:
    found = await made.request()
    assert found is not None
    assert found.login is not None
    limited_login = replace(
        found.login, claims={**found.login.claims, "session_expiry": at}, version=found.login.version + 1
    )
    assert await made.scene.working.swap_login(limited_login, expected_version=found.login.version)


@pytest.mark.gen_test
async def test_using_a_login_does_not_lengthen_it(tmp_path: Path) -> None:
    async with signed_in(tmp_path, idle=43_200, of_login=Limits(1_000, 43_200)) as made:
        await _limit(made, START + 1_200)
        made.scene.clock.advance(900)
        assert await made.login() is not None
        found = await made.request()
        assert found is not None
        assert found.login is not None
        assert found.login.expires_at == START + 1_200
        session, logins = await made.service.extend(found.session, [found.login])
        assert [login.expires_at for login in logins] == [START + 1_200]
        assert session.idle_expires_at > START + 1_200
        made.scene.clock.advance(301)
        assert await made.login() is None


async def _refreshed(scene: Scene, claims: dict[str, object]) -> None:
    scene.party.claims = claims
    scene.clock.advance(61)
    await scene.refresher().get_valid(scene.login, scene.provider)


@pytest.mark.gen_test
async def test_a_refresh_that_states_an_end_shortens_the_login(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        await _refreshed(scene, {"sub": "user-1", "session_expiry": START + 600})
        stored = await scene.stored()
        assert stored is not None
        assert stored.expires_at == START + 600


@pytest.mark.gen_test
async def test_a_refresh_after_the_providers_session_ends_the_login(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        with pytest.raises((LoginRequired, RefreshRejected)):
            await _refreshed(scene, {"sub": "user-1", "session_expiry": START + 30})
        assert await scene.stored() is None
        assert scene.party.revoked
