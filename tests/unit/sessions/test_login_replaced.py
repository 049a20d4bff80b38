"""A user signs in again in the same session at the same tenant while calls of the old login are running.

Both logins have the same id. The tokens of one are never used for a call of the other, and ending one does
not end the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from portal.errors import LoginRequired
from portal.oidc.errors import ProviderUnavailable, RefreshRejected
from portal.secret import Secret
from portal.stores.model import Login
from tests.kit.samples import START, sample_tokens
from tests.unit.sessions.refreshing import DEADLINE, Scene, refreshing


async def sign_in_again(s: Scene, subject: str = "user-2") -> Login:
    tokens = sample_tokens(
        access_token=Secret("another"), refresh_token=Secret("another"), expires_at=START + 9000
    )
    sealed = s.vault.seal_tokens(s.login.id, tokens)
    login = replace(s.login, subject=subject, signed_in_at=s.clock(), version=77, tokens=sealed)
    await s.working.put_login(login)
    return login


@pytest.mark.parametrize("subject", ["user-1", "user-2"])
@pytest.mark.parametrize("leased", [False, True])
@pytest.mark.gen_test
async def test_a_call_of_the_old_login_does_not_get_the_new_tokens(
    tmp_path: Path, subject: str, leased: bool
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        old_login = s.login
        if leased:  # by a process that ended
            leased_login = await s.working.acquire_lease(old_login.id, owner="another process", seconds=900)
            assert leased_login is not None
            old_login = leased_login
        again = await sign_in_again(s, subject)
        with pytest.raises(LoginRequired):
            await s.refresher().get_valid(old_login, s.provider)
        stored = await s.stored()
        assert stored is not None
        assert (stored.tokens, stored.lease_owner) == (again.tokens, None)
        assert (s.party.refreshes, s.party.revoked) == (0, [])


@pytest.mark.parametrize("database", ["works", "is down"])
@pytest.mark.gen_test
async def test_a_call_of_the_new_login_does_not_join_the_refresh_of_the_old_one(
    tmp_path: Path, database: str
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher()
        before = asyncio.ensure_future(refresher.get_valid(s.login, s.provider))
        await s.until(lambda: s.party.refreshes)
        again = await sign_in_again(s)
        after = asyncio.ensure_future(refresher.get_valid(again, s.provider, refused=Secret("another")))
        await s.until(lambda: s.party.refreshes == 2)
        if database == "is down":
            s.store.fail()
        s.party.gate.set()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ProviderUnavailable):  # the API and the provider refused once
                await after
            await asyncio.gather(before, return_exceptions=True)
        s.store.recover()
        await refresher.wait_until_idle(DEADLINE)
        assert s.party.revoked == ["refresh-3"]
        assert await s.stored_refresh_token() == "another"


@pytest.mark.gen_test
async def test_an_expired_login_does_not_end_the_new_one(tmp_path: Path) -> None:
    async with refreshing(tmp_path, refresh_token=None) as s:
        s.clock.advance(61)
        again = await sign_in_again(s)
        with pytest.raises(LoginRequired):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() == again


@pytest.mark.gen_test
async def test_a_refused_refresh_of_the_old_login_does_not_end_the_new_one(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        s.party.error = RefreshRejected("the user signed in again", error="invalid_grant")
        before = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        await s.until(lambda: s.party.refreshes)
        again = await sign_in_again(s)
        s.party.gate.set()
        with pytest.raises(LoginRequired):
            await before
        assert await s.stored() == again


@pytest.mark.gen_test
async def test_a_login_that_another_process_refreshes_while_it_is_being_ended_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.error = RefreshRejected("the token expired")
        read, renewed = s.store.read, list[Login]()

        async def read_before_the_other_process_writes(*ids: object, now: float) -> object:
            found = await read(*ids, now=now)
            current = await s.stored()
            if s.party.refreshes and not renewed and current is not None:
                renewed.append(replace(current, tokens="renewed", version=current.version + 1))
                assert await s.working.swap_login(renewed[0], expected_version=current.version)
            return found

        monkeypatch.setattr(s.store, "read", read_before_the_other_process_writes)
        with pytest.raises(RefreshRejected):
            await s.refresher().get_valid(s.login, s.provider)
        stored = await s.stored()
        assert stored is not None
        assert stored.tokens == "renewed"
