"""A login that the rules no longer allow is deleted and its tokens are revoked, once."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from portal.access.rules import AccessRules, Comparison, Rule
from portal.sessions.login_access import AllowedLogins
from portal.stores.model import Login
from portal.stores.store import Store
from tests.kit.samples import SampleDirectory
from tests.unit.sessions.refreshing import DEADLINE, Scene, refreshing

NOBODY = (AccessRules((Rule(("roles",), Comparison.CONTAINS, ("boss",)),)),)


def allowed_logins(scene: Scene, rules: tuple[AccessRules, ...]) -> AllowedLogins:
    directory = SampleDirectory({scene.provider.id: scene.provider}, rules)
    return AllowedLogins(store=cast(Store, scene.store), tokens=scene.refresher(), directory=directory)


@pytest.mark.gen_test
async def test_a_disallowed_login_is_ignored_at_once_and_ended_once(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        logins = allowed_logins(scene, NOBODY)
        assert [logins.allows(scene.login) for _ in range(5)] == [False] * 5
        await logins.wait_until_idle(DEADLINE)
        assert await scene.stored() is None
        assert scene.party.revoked == ["refresh-1"]
        assert scene.store.calls["delete_login"] == 1


@pytest.mark.gen_test
async def test_an_allowed_login_is_unchanged(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        logins = allowed_logins(scene, ())
        assert logins.allows(scene.login)
        await logins.wait_until_idle(DEADLINE)
        assert await scene.stored() == scene.login
        assert not scene.store.calls


@pytest.mark.gen_test
async def test_a_disallowed_login_stays_disallowed_during_an_outage_and_is_ended_later(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with refreshing(tmp_path) as scene:
        logins = allowed_logins(scene, NOBODY)
        scene.store.fail("delete_login")
        assert not logins.allows(scene.login)
        await logins.wait_until_idle(DEADLINE)
        assert "login_not_ended" in log_lines.getvalue()
        scene.store.recover()
        assert not logins.allows(scene.login)
        await logins.wait_until_idle(DEADLINE)
        assert await scene.stored() is None
        assert scene.party.revoked == ["refresh-1"]


@pytest.mark.gen_test
async def test_a_newer_sign_in_is_not_ended(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        logins = allowed_logins(scene, NOBODY)
        assert not logins.allows(scene.login)
        await scene.working.put_login(_signed_in_again(scene))
        await logins.wait_until_idle(DEADLINE)
        assert await scene.stored() == _signed_in_again(scene)
        assert scene.party.revoked == []


def _signed_in_again(scene: Scene) -> Login:
    return replace(scene.login, tokens="another", version=7)


@pytest.mark.gen_test
async def test_a_graceful_stop_waits_for_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refreshing(tmp_path) as scene:
        logins = allowed_logins(scene, NOBODY)
        released = asyncio.Event()

        async def delete_login(*_: object, **__: object) -> None:
            await released.wait()

        monkeypatch.setattr(scene.store, "delete_login", delete_login)
        assert not logins.allows(scene.login)
        async with asyncio.timeout(DEADLINE):
            await logins.wait_until_idle(0.01)
            released.set()
            await logins.wait_until_idle(DEADLINE)
