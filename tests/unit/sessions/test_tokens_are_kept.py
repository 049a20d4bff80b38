"""A received refresh token is never lost while the process lives, whatever fault the store has."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog.testing

from portal.errors import LoginRequired, PortalError, StoreUnavailable
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.provider import Provider, TokenSet
from portal.secret import Secret
from portal.sessions import refresh_lease, token_storing
from portal.sessions.lease_owners import LeaseOwners
from portal.sessions.opened_tokens import OpenedTokens
from portal.stores.model import Login
from tests.kit.failing_store import METHODS
from tests.kit.samples import START, sample_tokens
from tests.unit.sessions.refreshing import DEADLINE, Scene, refreshing


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.1)


@pytest.mark.gen_test
async def test_tokens_that_cannot_be_stored_are_used_for_calls_and_stored_later(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.fail("swap_login")
        for _ in range(3):  # each call has the stored login
            assert (await refresher.get_valid(s.login, s.provider)).access_token == Secret("access-2")
        assert await s.stored_refresh_token() == "refresh-1"
        s.store.recover()
        await s.wait_until_stored("refresh-2")
        assert (s.party.refreshes, s.party.revoked) == (1, [])


@pytest.mark.gen_test
async def test_a_lost_acknowledgement_loses_no_token_and_causes_no_second_write(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.lose("swap_login", times=1)
        assert (await refresher.get_valid(s.login, s.provider)).access_token == Secret("access-2")
        stored = await s.stored()
        await refresher.wait_until_idle(DEADLINE)
        assert await s.stored() == stored
        assert s.store.calls["swap_login"] == 1
        assert (s.party.refreshes, s.party.revoked) == (1, [])


@pytest.mark.gen_test
async def test_a_logout_while_tokens_are_unstored_wins_and_they_are_revoked(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.fail("swap_login")
        await refresher.get_valid(s.login, s.provider)
        await s.working.delete_login(s.login.session, s.login.tenant)
        refresher.forget(s.login.id)
        await s.until(lambda: s.party.revoked == ["refresh-2"])
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_an_unexpected_error_while_tokens_are_stored_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)

        async def swap_login(login: Login, *, expected_version: int) -> bool:
            raise RuntimeError("a bug")

        monkeypatch.setattr(s.store, "swap_login", swap_login)
        with structlog.testing.capture_logs() as lines, pytest.raises(RuntimeError):
            await s.refresher().get_valid(s.login, s.provider)
        assert [line["event"] for line in lines] == ["tokens_not_stored", "refresh_broken"]


@pytest.mark.gen_test
async def test_unstored_tokens_are_revoked_at_once_when_their_login_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 3600.0)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 3600.0)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.0)
    async with refreshing(tmp_path) as s:
        revoked: list[TokenSet] = []

        async def discard(tokens: TokenSet, provider: Provider) -> None:
            revoked.append(tokens)

        storing = token_storing.TokenStoring(
            store=s.store, vault=s.vault, opened=OpenedTokens(s.vault), discard=discard, first_pause=3600.0
        )
        s.store.fail("swap_login")
        await storing.store(s.login, sample_tokens(), s.provider, done=lambda: None)
        await s.until(lambda: s.store.calls["swap_login"])
        await s.working.delete_login(s.login.session, s.login.tenant)
        storing.wake(s.login.id)
        await s.until(lambda: revoked == [sample_tokens()])


@pytest.mark.gen_test
async def test_a_new_sign_in_while_tokens_are_unstored_is_not_overwritten(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.fail("swap_login")
        await refresher.get_valid(s.login, s.provider)
        other = sample_tokens(refresh_token=Secret("other"), expires_at=START + 9000)
        sealed = s.vault.seal_tokens(s.login.id, other)
        again = replace(s.login, tokens=sealed, signed_in_at=START + 61, version=77)
        await s.working.put_login(again)
        s.store.recover()
        await s.until(lambda: s.party.revoked == ["refresh-2"])
        assert await s.stored() == again
        assert await refresher.get_valid(again, s.provider) == other


@pytest.mark.gen_test
async def test_tokens_that_another_process_has_refreshed_again_are_not_revoked(tmp_path: Path) -> None:
    """A provider may end the whole grant when one of its tokens is revoked (RFC 7009 2.1)."""
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.fail("swap_login")
        await refresher.get_valid(s.login, s.provider)
        stored = await s.stored()
        assert stored is not None
        further = sample_tokens(refresh_token=Secret("refresh-3"), expires_at=START + 9000)
        moved = replace(stored, tokens=s.vault.seal_tokens(stored.id, further), version=stored.version + 1)
        assert await s.working.swap_login(moved, expected_version=stored.version)
        s.store.recover()
        await refresher.wait_until_idle(DEADLINE)
        assert s.party.revoked == []
        assert await s.stored() == moved


@pytest.mark.gen_test
async def test_no_other_process_uses_the_old_refresh_token_while_the_new_one_is_unstored(
    tmp_path: Path,
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.store.fail("swap_login", "extend_lease")
        await s.refresher().get_valid(s.login, s.provider)
        other = s.refresher(store=s.working, wait=0.05)
        s.clock.advance(600)  # the lease expired long ago
        current = await s.stored()
        assert current is not None
        for _ in range(3):
            with pytest.raises(ProviderUnavailable) as waited:
                await other.get_valid(current, s.provider)
            assert waited.value.retry_after is not None
        assert s.party.refreshes == 1
        s.store.recover()
        await s.wait_until_stored("refresh-2")
        stored = await s.stored()
        assert stored is not None
        assert (await other.get_valid(stored, s.provider)).access_token == Secret("access-2")
        assert (s.party.refreshes, s.party.reused) == (1, [])


@pytest.mark.gen_test
async def test_a_graceful_stop_waits_for_unstored_tokens(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.fail("swap_login")
        await refresher.get_valid(s.login, s.provider)
        stopping = asyncio.ensure_future(refresher.wait_until_idle(DEADLINE))
        await asyncio.sleep(0.02)
        assert not stopping.done()
        s.store.recover()
        await stopping
        assert await s.stored_refresh_token() == "refresh-2"


@pytest.mark.gen_test
async def test_a_graceful_stop_waits_for_a_running_request(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        refresher = s.refresher()
        s.clock.advance(45)
        s.party.gate.clear()
        await refresher.get_valid(s.login, s.provider)
        await s.until(lambda: s.party.refreshes)
        stopping = asyncio.ensure_future(refresher.wait_until_idle(DEADLINE))
        await asyncio.sleep(0.01)
        assert not stopping.done()
        s.party.gate.set()
        await stopping
        assert await s.stored_refresh_token() == "refresh-2"


@pytest.mark.gen_test
async def test_a_stop_does_not_wait_for_other_processes_and_logs_unfinished_refreshes(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        refresher, other = s.refresher(), s.refresher()
        s.clock.advance(61)
        s.store.fail("swap_login")
        await refresher.get_valid(s.login, s.provider)
        current = await s.stored()
        assert current is not None
        waiting = asyncio.ensure_future(other.get_valid(current, s.provider))
        await asyncio.sleep(0.01)
        await other.wait_until_idle(DEADLINE)
        with pytest.raises(ProviderUnavailable):
            await waiting
        with structlog.testing.capture_logs() as logs:
            await refresher.wait_until_idle(0.05)
        assert [(line["event"], line["unstored"]) for line in logs if line["log_level"] == "error"] == [
            ("refreshes_cut_off", 1)
        ]


@pytest.mark.gen_test
async def test_no_refresh_begins_while_too_many_token_sets_are_unstored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_storing, "MAX_UNSTORED", 0)
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        with pytest.raises(StoreUnavailable):
            await s.refresher().get_valid(s.login, s.provider)
        assert s.party.refreshes == 0


# --- a failure of any method


async def _calls(s: Scene, count: int) -> list[str]:
    """Make calls one after another, each with the stored login, in two processes by turns."""
    refreshers = [s.refresher(wait=0.1), s.refresher(wait=0.1)]
    outcomes = []
    for number in range(count):
        login = await s.stored()
        if login is None:
            outcomes.append("signed out")
            break
        try:
            await refreshers[number % 2].get_valid(login, s.provider)
            outcomes.append("served")
        except LoginRequired:
            outcomes.append("signed out")
        except PortalError as error:
            outcomes.append(error.code)
    s.store.recover()
    for refresher in refreshers:
        await refresher.wait_until_idle(DEADLINE)
    return outcomes


async def _methods_of_a_refresh(folder: Path) -> list[str]:
    async with refreshing(folder) as s:
        s.clock.advance(61)
        s.store.fail("swap_login", "extend_lease", times=1)
        s.store.lose("acquire_lease", times=1)
        assert "served" in await _calls(s, 4)
        return [method for method in METHODS if s.store.calls[method]]


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("fault", ["fail", "lose"])
@pytest.mark.gen_test(timeout=60)
async def test_no_failure_of_a_store_method_signs_a_user_out(tmp_path: Path, fault: str, times: int) -> None:
    methods = await _methods_of_a_refresh(tmp_path / "methods")
    assert {"acquire_lease", "release_lease", "read", "swap_login"} <= {*methods}
    for method in methods:
        async with refreshing(tmp_path / method) as s:
            s.clock.advance(61)
            getattr(s.store, fault)(method, times=times)
            outcomes = await _calls(s, 4)
            assert "signed out" not in outcomes, (method, outcomes)
            assert (s.party.reused, s.party.revoked) == ([], []), method
            assert await s.stored_refresh_token() == s.party.valid, method


# --- leases of processes that ended


_NO_PROCESS = 2**22 + 1
"""A process id above the largest that Linux gives out (proc(5): pid_max is at most 2**22)."""


def _gone() -> str:
    """Return the owner name of a process of this machine that does not run."""
    machine, _, rest = LeaseOwners().begin().partition(".")
    return f"{machine}.{_NO_PROCESS}.{rest.partition('.')[2]}"


def test_a_lease_owner_is_gone_when_its_refresh_or_its_process_has_ended() -> None:
    owners, others = LeaseOwners(), LeaseOwners()
    own, gone = owners.begin(), _gone()
    assert owners.is_local(gone)
    assert owners.is_gone(gone)
    assert not owners.is_gone(own)
    assert not others.is_gone(own), "two instances in one process are two owners"
    owners.end(own)
    assert owners.is_gone(own)
    machine, _, rest = gone.partition(".")
    for unknown in (
        f"{machine[::-1]}.{rest}",
        "killed",
        "",
        f"{machine}.x.y",
        f"{machine}.0.y",
        f"{machine}.1.y",
        f"{machine}.9999999999.y",  # no process id: the kernel cannot be asked
    ):
        assert not owners.is_gone(unknown), unknown


def test_a_process_of_another_user_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, signal: int) -> None:
        raise PermissionError

    gone = _gone()
    monkeypatch.setattr(os, "kill", refuse)
    assert not LeaseOwners().is_gone(gone)


@pytest.mark.gen_test
async def test_S10_the_lease_of_a_killed_process_is_taken_over_when_it_expires(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        await s.working.acquire_lease(s.login.id, owner=_gone(), seconds=5)
        current = await s.stored()
        assert current is not None
        waiting = asyncio.ensure_future(s.refresher().get_valid(current, s.provider))
        await asyncio.sleep(0.05)
        assert s.party.refreshes == 0
        s.clock.advance(5.1)
        assert (await waiting).access_token == Secret("access-2")


@pytest.mark.parametrize("owner", ["elsewhere.{process}.x.y", "of-an-older-version"])
@pytest.mark.gen_test
async def test_S10_an_expired_lease_of_another_machine_is_respected_for_longer(
    tmp_path: Path, owner: str
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        await s.working.acquire_lease(s.login.id, owner=owner.format(process=os.getpid()), seconds=5)
        current = await s.stored()
        assert current is not None
        s.clock.advance(600)
        with pytest.raises(ProviderUnavailable):
            await s.refresher(wait=0.1).get_valid(current, s.provider)
        assert s.party.refreshes == 0
        tokens = await s.refresher(remote_owner_grace=0.05).get_valid(current, s.provider)
        assert tokens.access_token == Secret("access-2")


@pytest.mark.gen_test
async def test_S10_an_expired_lease_of_a_running_process_of_this_machine_is_respected_for_longest(
    tmp_path: Path,
) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        await s.working.acquire_lease(s.login.id, owner=LeaseOwners().begin(), seconds=5)
        current = await s.stored()
        assert current is not None
        s.clock.advance(600)
        with pytest.raises(ProviderUnavailable):
            await s.refresher(wait=0.1, remote_owner_grace=0).get_valid(current, s.provider)
        assert s.party.refreshes == 0
        tokens = await s.refresher(local_owner_grace=0.05).get_valid(current, s.provider)
        assert tokens.access_token == Secret("access-2")


@pytest.mark.gen_test
async def test_a_waiting_process_checks_the_lease_less_and_less_often(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        await s.working.acquire_lease(s.login.id, owner="elsewhere.1.x.y", seconds=900)
        with pytest.raises(ProviderUnavailable):
            await s.refresher(wait=0.2).get_valid(s.login, s.provider)
        assert 2 <= s.store.calls["read"] <= 8, "5 ms after the first, 7.5 ms after the second, and so on"


@pytest.mark.gen_test
async def test_a_lease_that_expired_after_the_login_was_read_is_respected(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        await s.working.acquire_lease(s.login.id, owner="elsewhere.1.x.y", seconds=5)
        s.clock.advance(60)
        with pytest.raises(ProviderUnavailable):  # the login was read before the lease was granted
            await s.refresher(wait=0.1).get_valid(s.login, s.provider)
        assert s.party.refreshes == 0


@pytest.mark.gen_test
async def test_a_lease_whose_grant_was_not_acknowledged_is_released(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.lose("acquire_lease", times=1)
        s.store.fail("release_lease", times=2)
        with pytest.raises(StoreUnavailable):
            await refresher.get_valid(s.login, s.provider)
        with pytest.raises(StoreUnavailable):  # at once, without waiting
            await refresher.get_valid(s.login, s.provider)
        assert s.store.calls["acquire_lease"] == 1
        await s.until(lambda: s.store.calls["release_lease"] == 3)
        await refresher.wait_until_idle(DEADLINE)
        stored = await s.stored()
        assert stored is not None
        assert stored.lease_owner is None
        assert (await s.refresher().get_valid(stored, s.provider)).access_token == Secret("access-2")


@pytest.mark.gen_test
async def test_a_stop_does_not_wait_for_a_lease_that_cannot_be_released(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        s.store.lose("acquire_lease", times=1)
        s.store.fail("release_lease")
        with pytest.raises(StoreUnavailable):
            await refresher.get_valid(s.login, s.provider)
        with structlog.testing.capture_logs() as lines:
            await refresher.wait_until_idle(5)
        assert [line["event"] for line in lines] == ["lease_not_given_back"]


@pytest.mark.gen_test
async def test_a_lease_is_extended_during_a_slow_token_request(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        s.store.fail("extend_lease", times=1)
        waiting = asyncio.ensure_future(s.refresher(lease=0.03).get_valid(s.login, s.provider))
        await s.until(lambda: s.store.calls["extend_lease"] >= 4)
        assert s.party.refreshes == 1
        s.party.gate.set()
        assert (await waiting).access_token == Secret("access-2")
        assert await s.stored_refresh_token() == "refresh-2"


@pytest.mark.gen_test
async def test_a_lease_is_extended_well_before_it_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0.001)

    monkeypatch.setattr(refresh_lease, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        waiting = asyncio.ensure_future(s.refresher(lease=6.0).get_valid(s.login, s.provider))
        await s.until(lambda: s.store.calls["extend_lease"] >= 2)
        s.party.gate.set()
        await waiting
        assert {*pauses} == {2.0}


@pytest.mark.gen_test
async def test_all_unstored_tokens_are_stored_at_once_when_the_store_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the oldest token set is retried often; its success starts the others."""
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 3600.0)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.01)
    async with refreshing(tmp_path) as s:
        storing = token_storing.TokenStoring(
            store=s.store, vault=s.vault, opened=OpenedTokens(s.vault), discard=_never, first_pause=3600.0
        )
        logins = [replace(s.login, tenant=tenant) for tenant in ("acme", "globex", "initech", "umbrella")]
        for login in logins:
            await s.working.put_login(login)
        s.store.fail("swap_login")
        for login in logins:
            await storing.store(login, sample_tokens(), s.provider, done=lambda: None)
        s.store.recover()
        await s.until(lambda: not storing.under_way)
        _, stored = await s.working.read((), [login.id for login in logins], now=START)
        assert all(stored[login.id].tokens != login.tokens for login in logins)
        assert not any(storing.unstored_for(login) for login in logins)


@pytest.mark.gen_test
async def test_only_the_oldest_unstored_token_set_is_retried_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 3600.0)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 0.001)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.0)
    tries: Counter[str] = Counter()

    async def swap_login(login: Login, *, expected_version: int) -> bool:
        tries[login.tenant] += 1
        raise StoreUnavailable("down")

    async with refreshing(tmp_path) as s:
        monkeypatch.setattr(s.store, "swap_login", swap_login)
        storing = token_storing.TokenStoring(
            store=s.store, vault=s.vault, opened=OpenedTokens(s.vault), discard=_never, first_pause=3600.0
        )
        for tenant in ("acme", "globex", "initech"):
            login = replace(s.login, tenant=tenant)
            await s.working.put_login(login)
            await storing.store(login, sample_tokens(), s.provider, done=lambda: None)
        await s.until(lambda: tries["acme"] > 20)
        assert (tries["globex"], tries["initech"]) == (1, 1)
        for task in storing.under_way:
            task.cancel()


@pytest.mark.gen_test
async def test_each_success_starts_only_a_few_further_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 3600.0)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.0)
    most, tries, busy = 60, 0, 0
    async with refreshing(tmp_path) as s:
        swap = s.store.swap_login

        async def one_at_a_time(login: Login, *, expected_version: int) -> bool:
            nonlocal tries, busy
            tries += 1
            if busy:
                raise StoreUnavailable("busy")
            busy += 1
            try:
                stored: bool = await swap(login, expected_version=expected_version)
            finally:
                busy -= 1
            return stored

        storing = token_storing.TokenStoring(
            store=s.store, vault=s.vault, opened=OpenedTokens(s.vault), discard=_never, first_pause=3600.0
        )
        logins = [replace(s.login, tenant=f"tenant-{number}") for number in range(most)]
        for login in logins:
            await s.working.put_login(login)
        s.store.fail("swap_login")
        for login in logins:
            await storing.store(login, sample_tokens(), s.provider, done=lambda: None)
        s.store.recover()
        monkeypatch.setattr(s.store, "swap_login", one_at_a_time)
        await s.until(lambda: not storing.under_way)
    assert 1.5 * most < tries <= 5 * most, "each success starts two attempts, of which one is refused"


async def _never(tokens: TokenSet, provider: Provider) -> None:
    raise AssertionError("nothing is revoked")


@pytest.mark.gen_test
async def test_S5_calls_of_one_process_that_wait_for_a_refresh_share_one_lease(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher()
        calls = [asyncio.ensure_future(refresher.get_valid(s.login, s.provider)) for _ in range(10)]
        await s.until(lambda: s.party.refreshes)
        late = asyncio.ensure_future(refresher.get_valid(s.login, s.provider))
        s.party.gate.set()
        results = await asyncio.gather(*calls, late)
        assert {tokens.access_token for tokens in results} == {Secret("access-2")}
        assert s.store.calls["acquire_lease"] == 1
        assert s.party.refreshes == 1
