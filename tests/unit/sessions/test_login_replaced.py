"""Somebody signs in anew, in the same session at the same tenant, while calls of the login before go on.

Both logins have the same id. No token set of one serves a call of the other, and what ends one spares the
other.
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


async def signed_in_anew(s: Scene, subject: str = "user-2") -> Login:
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
async def test_a_call_of_the_login_before_is_not_served_with_the_new_tokens(
    tmp_path: Path, subject: str, leased: bool
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        asked = s.login
        if leased:  # by a process that ended
            held = await s.working.acquire_lease(asked.id, owner="another process", seconds=900)
            assert held is not None
            asked = held
        again = await signed_in_anew(s, subject)
        with pytest.raises(LoginRequired):
            await s.refresher().get_valid(asked, s.provider)
        stored = await s.stored()
        assert stored is not None
        assert (stored.tokens, stored.lease_owner) == (again.tokens, None)
        assert (s.party.refreshes, s.party.revoked) == (0, [])


@pytest.mark.parametrize("database", ["works", "is away"])
@pytest.mark.gen_test
async def test_a_call_of_the_new_login_does_not_join_the_refresh_of_the_one_before(
    tmp_path: Path, database: str
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher()
        before = asyncio.ensure_future(refresher.get_valid(s.login, s.provider))
        await s.until(lambda: s.party.refreshes)
        again = await signed_in_anew(s)
        after = asyncio.ensure_future(refresher.get_valid(again, s.provider, refused=Secret("another")))
        await s.until(lambda: s.party.refreshes == 2)
        if database == "is away":
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
async def test_a_login_that_ran_out_does_not_take_the_new_one_with_it(tmp_path: Path) -> None:
    async with refreshing(tmp_path, refresh_token=None) as s:
        s.clock.advance(61)
        again = await signed_in_anew(s)
        with pytest.raises(LoginRequired):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() == again


@pytest.mark.gen_test
async def test_a_refused_refresh_of_the_login_before_spares_the_new_one(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        s.party.error = RefreshRejected("the user signed in anew", error="invalid_grant")
        before = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        await s.until(lambda: s.party.refreshes)
        again = await signed_in_anew(s)
        s.party.gate.set()
        with pytest.raises(LoginRequired):
            await before
        assert await s.stored() == again
