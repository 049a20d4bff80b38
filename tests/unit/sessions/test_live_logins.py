"""Running calls continue only while their login is stored, unchanged in its sign-in, and accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.access.rules import AccessRules, Comparison, Rule
from portal.sessions.live_logins import LiveLogins
from portal.stores.model import Login
from tests.kit.samples import SampleDirectory, sample_session
from tests.unit.sessions.refreshing import Scene, refreshing

NOBODY = (AccessRules((Rule(("roles",), Comparison.CONTAINS, ("boss",)),)),)


def live_logins(scene: Scene, *, rules: tuple[AccessRules, ...] = (), client: str = "") -> LiveLogins:
    provider = replace(scene.provider, client_id=client or scene.provider.client_id)
    directory = SampleDirectory({provider.id: provider}, rules)
    return LiveLogins(store=scene.working, directory=directory, clock=scene.clock)


@pytest.mark.gen_test
async def test_the_current_state_of_each_login_is_returned_in_order(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        refreshed = replace(scene.login, tokens="new", version=2)
        assert await scene.working.swap_login(refreshed, expected_version=1)
        ended = replace(scene.login, session="another session")
        found = await live_logins(scene).recheck([ended, scene.login])
        assert found == [None, refreshed]


@pytest.mark.parametrize(
    "changes", [{"subject": "user-2"}, {"signed_in_at": 1.0}, {"registration": "another"}]
)
@pytest.mark.gen_test
async def test_a_call_ends_when_the_user_signs_in_again(tmp_path: Path, changes: dict[str, object]) -> None:
    async with refreshing(tmp_path) as scene:
        before: Login = replace(scene.login, **changes)  # type: ignore[arg-type]
        assert await live_logins(scene).recheck([before], accepted=[scene.login.version]) == [None]


@pytest.mark.gen_test
async def test_a_call_ends_with_its_session(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        scene.clock.advance(sample_session().idle_expires_at - scene.clock() + 1)
        assert await scene.stored() == scene.login
        assert await live_logins(scene).recheck([scene.login]) == [None]


@pytest.mark.gen_test
async def test_rules_and_registration_are_checked_for_versions_that_were_not_accepted_yet(
    tmp_path: Path,
) -> None:
    async with refreshing(tmp_path) as scene:
        version = scene.login.version
        for logins in (live_logins(scene, rules=NOBODY), live_logins(scene, client="another")):
            assert not logins.is_accepted(scene.login)
            assert await logins.recheck([scene.login]) == [None]
            assert await logins.recheck([scene.login], accepted=[version - 1]) == [None]
            assert await logins.recheck([scene.login], accepted=[version]) == [scene.login]
        assert live_logins(scene).is_accepted(scene.login)
        with pytest.raises(ValueError, match="longer"):
            await live_logins(scene).recheck([scene.login], accepted=[version, version])
