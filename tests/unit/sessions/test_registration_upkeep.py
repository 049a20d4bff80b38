"""THREATS T9: logins of a registration that stays away end, in every process and over restarts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from portal.oidc.issuer import IssuerTemplate
from portal.oidc.provider import Provider
from portal.sessions import registrations
from portal.sessions.registrations import (
    LiveRegistrations,
    RegistrationUpkeep,
    registrations_of,
    served_tenants,
)
from portal.stores.model import Login, login_id
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_login
from tests.kit.failing_store import FailingStore
from tests.kit.world import OffsetClock

_LIST = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002")


def provider(tenant: str, client: str = "portal") -> Provider:
    return Provider(tenant=tenant, id="default", issuer=f"https://{tenant}.example", client_id=client)


def entra(*tenant_ids: str) -> Provider:
    template = IssuerTemplate("https://login.example/{tenantid}/v2.0", frozenset(tenant_ids) or None)
    return replace(provider("acme"), issuer_template=template)


class Deployment:
    """Some processes on one store; `live` is what each serves."""

    def __init__(self, store: SQLiteStore, clock: OffsetClock) -> None:
        self.store = store
        self.clock = clock
        self.doubts: list[tuple[int, int]] = []
        self.doubtful = False

    def process(self, *live: Provider, unusable: tuple[str, ...] = ()) -> Process:
        return Process(self, live, unusable)

    async def sign_in(self, one: Provider, issuer: str | None = None) -> Login:
        login = new_login(
            tenant=one.tenant,
            provider=one.id,
            registration=one.registration,
            issuer=issuer or one.issuer,
            signed_in_at=self.clock(),
            expires_at=self.clock() + 43_200,
        )
        await self.store.put_login(login)
        return login

    async def is_there(self, login: Login) -> bool:
        key = login_id(login.session, login.tenant)
        return key in (await self.store.read((), (key,), now=self.clock()))[1]

    async def confirms_removal(self, lost: int, before: int) -> bool:
        self.doubts.append((lost, before))
        return not self.doubtful

    async def pass_time(self, seconds: float, *processes: Process) -> None:
        """Let the processes look every ten seconds."""
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            for one in processes:
                await one.update()


class Process:
    def __init__(self, deployment: Deployment, live: tuple[Provider, ...], unusable: tuple[str, ...]) -> None:
        self.live, self.unusable = live, unusable
        self.update: Callable[[], Awaitable[None]] = RegistrationUpkeep(
            deployment.store,
            serving=lambda: LiveRegistrations(registrations_of(self.live), self.unusable),
            confirms_removal=deployment.confirms_removal,
            clock=deployment.clock,
        ).update


@contextlib.asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Deployment]:
    store = SQLiteStore(folder / "portal.db")
    await store.open()
    try:
        yield Deployment(store, OffsetClock())
    finally:
        await store.close()


@pytest.mark.gen_test
async def test_T9_a_registration_that_is_back_within_a_minute_keeps_its_logins(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        one = portal.process(provider("acme"))
        await one.update()
        login = await portal.sign_in(provider("acme"))
        await portal.pass_time(300, one)
        one.live = ()
        await portal.pass_time(60, one)
        one.live = (provider("acme"),)
        await portal.pass_time(300, one)
        assert await portal.is_there(login)


@pytest.mark.parametrize("back", [(), (provider("acme", "another client"),)], ids=["removed", "changed"])
@pytest.mark.gen_test
async def test_T9_logins_of_a_registration_that_stays_away_are_deleted_and_later_ones_are_not(
    tmp_path: Path, back: tuple[Provider, ...]
) -> None:
    async with deployed(tmp_path) as portal:
        one = portal.process(provider("acme"), provider("globex"))
        await one.update()
        await portal.pass_time(300, one)
        logins = [await portal.sign_in(provider(slug)) for slug in ("acme", "acme", "globex")]
        one.live = (provider("globex"), *back)
        new = [await portal.sign_in(changed) for changed in back]
        await portal.pass_time(120, one)
        assert [await portal.is_there(login) for login in logins] == [False, False, True]
        assert all([await portal.is_there(login) for login in new])
        one.live = (provider("acme"), provider("globex"))
        new.append(await portal.sign_in(provider("acme")))
        await portal.pass_time(300, one)
        assert all([await portal.is_there(login) for login in new[-1:]])


@pytest.mark.gen_test
async def test_T9_a_login_made_just_before_the_removal_ends_too(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        one = portal.process(provider("acme"))
        await one.update()
        for _ in range(3):  # whenever it was recorded last
            await portal.pass_time(10, one)
            login = await portal.sign_in(provider("acme"))
            one.live = ()
            await portal.pass_time(120, one)
            assert not await portal.is_there(login)
            one.live = (provider("acme"),)
            await portal.pass_time(30, one)


@pytest.mark.gen_test
async def test_T9_one_process_that_has_a_registration_keeps_its_logins_for_all(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        early, late = portal.process(provider("acme")), portal.process(provider("acme"))
        await early.update()
        login = await portal.sign_in(provider("acme"))
        early.live = ()
        await portal.pass_time(600, early, late)
        assert await portal.is_there(login)
        late.live = ()
        await portal.pass_time(120, early, late)
        assert not await portal.is_there(login)


@pytest.mark.gen_test
async def test_T9_a_tenant_that_was_removed_while_nothing_ran_ends_after_the_start(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"), provider("globex"))
        await before.update()
        logins = [await portal.sign_in(provider(slug)) for slug in ("acme", "globex")]
        portal.clock.advance(3600)
        after = portal.process(provider("globex"))
        await after.update()
        assert await portal.is_there(logins[0]), "another host may need a moment to start"
        await portal.pass_time(120, after)
        assert [await portal.is_there(login) for login in logins] == [False, True]
        assert portal.doubts == [(1, 2)]


@pytest.mark.gen_test
async def test_T9_a_process_whose_host_was_an_hour_behind_the_database_begins_with_its_first_look(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"), provider("globex"))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        after = portal.process(provider("globex"))
        portal.clock.advance(3600)  # as when the database is opened and its clock is measured
        await after.update()
        assert await portal.is_there(login), "another host may need a moment to start"
        await portal.pass_time(120, after)
        assert not await portal.is_there(login)


@pytest.mark.gen_test
async def test_T9_a_start_with_a_lost_folder_ends_nothing_until_it_is_believed(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        portal.doubtful = True
        before = portal.process(provider("acme"), provider("globex"))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        portal.clock.advance(3600)
        after = portal.process()
        with capture_logs() as lines:
            await portal.pass_time(600, after)
        assert await portal.is_there(login)
        assert [line["tenants"] for line in lines if line["event"] == "logins_of_lost_tenants_kept"] == [2]
        assert set(portal.doubts) == {(2, 2)}
        portal.doubtful = False
        await portal.pass_time(10, after)
        assert not await portal.is_there(login)


@pytest.mark.gen_test
async def test_T9_what_a_process_has_given_up_itself_is_not_doubted_once_more(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        portal.doubtful = True
        one = portal.process(provider("acme"), provider("globex"))
        await one.update()
        login = await portal.sign_in(provider("acme"))
        one.live = ()
        await portal.pass_time(120, one)
        assert not await portal.is_there(login)
        assert portal.doubts == []


@pytest.mark.gen_test
async def test_T9_a_login_made_after_the_return_lives_though_a_late_process_ends_the_old(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        late = portal.process(provider("acme"))
        await late.update()
        old = await portal.sign_in(provider("acme"))
        late.live = ()
        await portal.pass_time(80, late)
        new = await portal.sign_in(provider("acme"))  # where it is back, but not recorded yet
        await portal.pass_time(10, late)
        assert [await portal.is_there(login) for login in (old, new)] == [False, True]


@pytest.mark.gen_test
async def test_T9_a_file_that_cannot_be_used_at_a_start_ends_nothing(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        portal.clock.advance(3600)
        after = portal.process(unusable=("acme",))
        await portal.pass_time(600, after)
        assert await portal.is_there(login)


@pytest.mark.gen_test
async def test_T9_a_directory_that_is_taken_off_the_list_ends_its_logins_alone(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        one = portal.process(entra(*_LIST))
        await one.update()
        issuers = [f"https://login.example/{tid}/v2.0" for tid in _LIST]
        logins = [await portal.sign_in(entra(), issuer) for issuer in issuers]
        one.live = (entra(),)  # any directory: nobody's login ends
        await portal.pass_time(120, one)
        one.live = (entra(_LIST[0]),)
        await portal.pass_time(120, one)
        one.live = (entra(*_LIST),)
        await portal.pass_time(60, one)
        one.live = (entra(_LIST[0]),)
        await portal.pass_time(120, one)
        assert [await portal.is_there(login) for login in logins] == [True, False]


@pytest.mark.parametrize("text", ["{", "[1]", '[["a"]]', "{}", "null", '[["a","b","c","","x"]]'])
@pytest.mark.gen_test
async def test_a_record_that_is_damaged_is_written_anew(tmp_path: Path, text: str) -> None:
    async with deployed(tmp_path) as portal:
        await portal.store.put_meta("registrations", text)
        await portal.process(provider("acme")).update()
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}


@pytest.mark.gen_test
async def test_a_tenant_counts_as_served_for_a_moment_after_it_was_recorded(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        await portal.process(provider("acme")).update()
        portal.clock.advance(30)
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}
        portal.clock.advance(31)
        assert await served_tenants(portal.store, now=portal.clock()) == set()


@pytest.mark.gen_test
async def test_T9_a_list_that_takes_the_place_of_any_directory_ends_the_others_for_good(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        one = portal.process(entra())
        await one.update()
        issuers = [f"https://login.example/{tid}/v2.0" for tid in _LIST]
        logins = [await portal.sign_in(entra(), issuer) for issuer in issuers]
        await portal.pass_time(60, one)
        one.live = (entra(_LIST[0]),)
        await portal.pass_time(120, one)
        assert [await portal.is_there(login) for login in logins] == [True, False]


@pytest.mark.gen_test
async def test_T9_a_directory_that_another_host_serves_already_keeps_its_logins(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        early, late = portal.process(entra(_LIST[1])), portal.process(entra(_LIST[0]))
        for _ in range(3):
            await portal.pass_time(10, early, late)
        login = await portal.sign_in(entra(), f"https://login.example/{_LIST[1]}/v2.0")
        late.live = (entra("00000000-0000-0000-0000-000000000003"),)
        await portal.pass_time(300, early, late)
        assert await portal.is_there(login)


@pytest.mark.gen_test
async def test_D5_a_long_list_that_is_replaced_costs_one_write_for_all(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        store = FailingStore(portal.store)
        portal.store = cast(SQLiteStore, store)
        before, after = (
            [f"00000000-0000-0000-{group:04d}-{number:012d}" for number in range(1_000)] for group in (1, 2)
        )
        one = portal.process(entra(*before))
        await one.update()
        one.live = (entra(*after),)
        await portal.pass_time(120, one)
        assert store.calls["delete_logins_of"] == 1
        assert store.calls.total() < 50


@pytest.mark.gen_test
async def test_D5_the_registrations_of_all_tenants_are_not_compared_in_the_thread_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be tens of thousands: reading and writing their record takes 10 to 20 ms each."""
    threads: set[int] = set()

    def noted(name: str) -> None:
        work = getattr(registrations, name)

        def run(*arguments: object) -> object:
            threads.add(threading.get_ident())
            return work(*arguments)

        monkeypatch.setattr(registrations, name, run)

    for name in ("_parse", "_text"):
        noted(name)
    async with deployed(tmp_path) as portal:
        await portal.process(provider("acme")).update()
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}
        assert threading.get_ident() in threads  # at the start of a process, before it serves
        threads.clear()
        await portal.process(provider("acme"), provider("globex")).update()
    assert threads
    assert threading.get_ident() not in threads
