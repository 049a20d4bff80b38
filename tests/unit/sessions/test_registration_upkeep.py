"""THREATS T9: logins of a removed registration are deleted, in every process and across restarts."""

from __future__ import annotations

import asyncio
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

_TENANT_IDS = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002")


def provider(tenant: str, client: str = "portal") -> Provider:
    return Provider(tenant=tenant, id="default", issuer=f"https://{tenant}.example", client_id=client)


def entra(*tenant_ids: str) -> Provider:
    template = IssuerTemplate("https://login.example/{tenantid}/v2.0", frozenset(tenant_ids) or None)
    return replace(provider("acme"), issuer_template=template)


class Deployment:
    """Several processes on one store; `live` is what each serves."""

    def __init__(self, store: SQLiteStore, clock: OffsetClock) -> None:
        self.store = store
        self.clock = clock
        self.confirmations: list[tuple[int, int]] = []
        self.ended: list[tuple[str, str, int]] = []
        """Tenant, provider and number of logins of the registrations that were reported as ended."""
        self.refuses_removal = False

    def process(self, *live: Provider, unusable: tuple[str, ...] = ()) -> Process:
        return Process(self, live, unusable)

    async def sign_in(self, provider: Provider, issuer: str | None = None) -> Login:
        login = new_login(
            tenant=provider.tenant,
            provider=provider.id,
            registration=provider.registration,
            issuer=issuer or provider.issuer,
            signed_in_at=self.clock(),
            expires_at=self.clock() + 43_200,
        )
        await self.store.put_login(login)
        return login

    async def is_stored(self, login: Login) -> bool:
        key = login_id(login.session, login.tenant)
        return key in (await self.store.read((), (key,), now=self.clock()))[1]

    async def confirms_removal(self, missing: int, total: int) -> bool:
        self.confirmations.append((missing, total))
        return not self.refuses_removal

    async def pass_time(self, seconds: float, *processes: Process) -> None:
        """Advance the clock; the processes update every ten seconds."""
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            for process in processes:
                await process.update()


class Process:
    def __init__(self, deployment: Deployment, live: tuple[Provider, ...], unusable: tuple[str, ...]) -> None:
        self.live, self.unusable = live, unusable
        self._serving: tuple[object, LiveRegistrations] | None = None
        self.update: Callable[[], Awaitable[None]] = RegistrationUpkeep(
            deployment.store,
            serving=self.serving,
            confirms_removal=deployment.confirms_removal,
            clock=deployment.clock,
            ended=lambda *ended: deployment.ended.append(ended),
        ).update

    def serving(self) -> LiveRegistrations:
        """What it serves; the same object while that is unchanged."""
        state = self.live, self.unusable
        if self._serving is None or self._serving[0] != state:
            self._serving = state, LiveRegistrations(frozenset(registrations_of(self.live)), self.unusable)
        return self._serving[1]


@contextlib.asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Deployment]:
    store = SQLiteStore(folder / "portal.db")
    await store.open()
    try:
        yield Deployment(store, OffsetClock())
    finally:
        await store.close()


@pytest.mark.gen_test
async def test_T9_a_registration_that_returns_within_a_minute_keeps_its_logins(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        process = portal.process(provider("acme"))
        await process.update()
        login = await portal.sign_in(provider("acme"))
        await portal.pass_time(300, process)
        process.live = ()
        await portal.pass_time(60, process)
        process.live = (provider("acme"),)
        await portal.pass_time(300, process)
        assert await portal.is_stored(login)


@pytest.mark.parametrize("back", [(), (provider("acme", "another client"),)], ids=["removed", "changed"])
@pytest.mark.gen_test
async def test_T9_logins_of_a_removed_registration_are_deleted_and_later_logins_are_not(
    tmp_path: Path, back: tuple[Provider, ...]
) -> None:
    async with deployed(tmp_path) as portal:
        process = portal.process(provider("acme"), provider("globex"))
        await process.update()
        await portal.pass_time(300, process)
        logins = [await portal.sign_in(provider(slug)) for slug in ("acme", "acme", "globex")]
        process.live = (provider("globex"), *back)
        new = [await portal.sign_in(changed) for changed in back]
        await portal.pass_time(120, process)
        assert [await portal.is_stored(login) for login in logins] == [False, False, True]
        assert portal.ended == [("acme", logins[0].provider, 2)]
        assert all([await portal.is_stored(login) for login in new])
        process.live = (provider("acme"), provider("globex"))
        new.append(await portal.sign_in(provider("acme")))
        await portal.pass_time(300, process)
        assert all([await portal.is_stored(login) for login in new[-1:]])


@pytest.mark.gen_test
async def test_T9_a_login_made_just_before_the_removal_ends_too(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        process = portal.process(provider("acme"))
        await process.update()
        for _ in range(3):  # at different times since the last record
            await portal.pass_time(10, process)
            login = await portal.sign_in(provider("acme"))
            process.live = ()
            await portal.pass_time(120, process)
            assert not await portal.is_stored(login)
            process.live = (provider("acme"),)
            await portal.pass_time(30, process)


@pytest.mark.gen_test
async def test_T9_a_registration_that_one_process_serves_keeps_its_logins(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        early, late = portal.process(provider("acme")), portal.process(provider("acme"))
        await early.update()
        login = await portal.sign_in(provider("acme"))
        early.live = ()
        await portal.pass_time(600, early, late)
        assert await portal.is_stored(login)
        late.live = ()
        await portal.pass_time(120, early, late)
        assert not await portal.is_stored(login)


@pytest.mark.gen_test
async def test_T9_logins_of_a_tenant_removed_while_no_process_ran_are_deleted_after_the_start(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"), provider("globex"))
        await before.update()
        logins = [await portal.sign_in(provider(slug)) for slug in ("acme", "globex")]
        portal.clock.advance(3600)
        after = portal.process(provider("globex"))
        await after.update()
        assert await portal.is_stored(logins[0]), "other hosts may still be starting"
        await portal.pass_time(120, after)
        assert [await portal.is_stored(login) for login in logins] == [False, True]
        assert portal.confirmations == [(1, 2)]


@pytest.mark.gen_test
async def test_T9_the_grace_period_of_a_process_begins_at_its_first_update_by_the_clock_of_the_database(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"), provider("globex"))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        after = portal.process(provider("globex"))
        portal.clock.advance(3600)  # as when the database is opened and its clock is measured
        await after.update()
        assert await portal.is_stored(login), "other hosts may still be starting"
        await portal.pass_time(120, after)
        assert not await portal.is_stored(login)


@pytest.mark.parametrize("tenants", [["acme"], ["acme", "globex"]], ids=len)
@pytest.mark.gen_test
async def test_T9_a_start_with_a_missing_folder_ends_no_login_until_the_removal_is_confirmed(
    tmp_path: Path, tenants: list[str]
) -> None:
    async with deployed(tmp_path) as portal:
        portal.refuses_removal = True
        before = portal.process(*map(provider, tenants))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        portal.clock.advance(3600)
        after = portal.process()
        with capture_logs() as lines:
            await portal.pass_time(600, after)
        assert await portal.is_stored(login)
        assert [line["tenants"] for line in lines if line["event"] == "logins_of_lost_tenants_kept"] == [
            len(tenants)
        ]
        assert set(portal.confirmations) == {(len(tenants), len(tenants))}
        portal.refuses_removal = False
        await portal.pass_time(10, after)
        assert not await portal.is_stored(login)


@pytest.mark.gen_test
async def test_T9_a_removal_of_served_tenants_needs_no_second_confirmation(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        portal.refuses_removal = True
        process = portal.process(provider("acme"), provider("globex"))
        await process.update()
        login = await portal.sign_in(provider("acme"))
        process.live = ()
        await portal.pass_time(120, process)
        assert not await portal.is_stored(login)
        assert portal.confirmations == []


@pytest.mark.gen_test
async def test_T9_a_login_made_after_the_registration_returned_is_kept_when_another_process_ends_old_ones(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        late = portal.process(provider("acme"))
        await late.update()
        old = await portal.sign_in(provider("acme"))
        late.live = ()
        await portal.pass_time(80, late)
        new = await portal.sign_in(provider("acme"))  # where it has returned unrecorded
        await portal.pass_time(10, late)
        assert [await portal.is_stored(login) for login in (old, new)] == [False, True]


@pytest.mark.gen_test
async def test_T9_an_unusable_file_at_start_up_ends_no_login(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        before = portal.process(provider("acme"))
        await before.update()
        login = await portal.sign_in(provider("acme"))
        portal.clock.advance(3600)
        after = portal.process(unusable=("acme",))
        await portal.pass_time(600, after)
        assert await portal.is_stored(login)


@pytest.mark.gen_test
async def test_T9_a_directory_removed_from_the_list_loses_only_its_own_logins(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        process = portal.process(entra(*_TENANT_IDS))
        await process.update()
        issuers = [f"https://login.example/{tid}/v2.0" for tid in _TENANT_IDS]
        logins = [await portal.sign_in(entra(), issuer) for issuer in issuers]
        process.live = (entra(),)  # any directory: no login ends
        await portal.pass_time(120, process)
        process.live = (entra(_TENANT_IDS[0]),)
        await portal.pass_time(120, process)
        process.live = (entra(*_TENANT_IDS),)
        await portal.pass_time(60, process)
        process.live = (entra(_TENANT_IDS[0]),)
        await portal.pass_time(120, process)
        assert [await portal.is_stored(login) for login in logins] == [True, False]


@pytest.mark.parametrize("text", ["{", "[1]", '[["a"]]', "{}", "null", '[["a","b","c","","x"]]'])
@pytest.mark.gen_test
async def test_a_damaged_record_is_rewritten(tmp_path: Path, text: str) -> None:
    async with deployed(tmp_path) as portal:
        await portal.store.put_meta("registrations", text)
        await portal.process(provider("acme")).update()
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}


@pytest.mark.gen_test
async def test_a_tenant_counts_as_served_for_a_minute_after_it_was_recorded(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        await portal.process(provider("acme")).update()
        portal.clock.advance(30)
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}
        portal.clock.advance(31)
        assert await served_tenants(portal.store, now=portal.clock()) == set()


@pytest.mark.gen_test
async def test_T9_a_list_that_replaces_any_directory_deletes_the_logins_of_the_others(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        process = portal.process(entra())
        await process.update()
        issuers = [f"https://login.example/{tid}/v2.0" for tid in _TENANT_IDS]
        logins = [await portal.sign_in(entra(), issuer) for issuer in issuers]
        await portal.pass_time(60, process)
        process.live = (entra(_TENANT_IDS[0]),)
        await portal.pass_time(120, process)
        assert [await portal.is_stored(login) for login in logins] == [True, False]


@pytest.mark.gen_test
async def test_T9_a_list_that_any_directory_replaces_does_not_keep_the_logins_of_other_registrations(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        others = [provider(f"tenant-{number}") for number in range(10)]
        process = portal.process(entra(*_TENANT_IDS), *others)
        await process.update()
        logins = [await portal.sign_in(other) for other in others]
        process.live = (entra(),)
        await portal.pass_time(120, process)
        assert not any([await portal.is_stored(login) for login in logins])


@pytest.mark.parametrize("late_deletes", [False, True])
@pytest.mark.gen_test
async def test_T9_a_directory_that_another_host_already_serves_keeps_its_logins(
    tmp_path: Path, late_deletes: bool
) -> None:
    async with deployed(tmp_path) as portal:
        early, late = portal.process(entra(_TENANT_IDS[1])), portal.process(entra(_TENANT_IDS[0]))
        for _ in range(3):
            await portal.pass_time(10, early, late)
        login = await portal.sign_in(entra(), f"https://login.example/{_TENANT_IDS[1]}/v2.0")
        late.live = (entra("00000000-0000-0000-0000-000000000003"),)
        await portal.pass_time(300, *((late, early) if late_deletes else (early, late)))
        assert await portal.is_stored(login)


@pytest.mark.gen_test
async def test_D5_replacing_a_long_list_costs_one_write(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        store = FailingStore(portal.store)
        portal.store = cast(SQLiteStore, store)
        before, after = (
            [f"00000000-0000-0000-{group:04d}-{number:012d}" for number in range(1_000)] for group in (1, 2)
        )
        process = portal.process(entra(*before))
        await process.update()
        process.live = (entra(*after),)
        await portal.pass_time(120, process)
        assert store.calls["delete_logins_of"] == 1
        assert store.calls.total() < 50


@pytest.mark.gen_test
async def test_D5_an_unchanged_record_is_written_at_every_second_update_at_most(tmp_path: Path) -> None:
    async with deployed(tmp_path) as portal:
        store = FailingStore(portal.store)
        portal.store = cast(SQLiteStore, store)
        process = portal.process(provider("acme"))
        await process.update()
        await portal.pass_time(120, process)
        assert store.calls["swap_meta"] <= 1 + 6


@pytest.mark.gen_test
async def test_D5_an_unchanged_record_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10,000 tenants it has 1 MB; each update would take 70 ms."""
    parsed = []
    parse = registrations._parse

    def counted(text: str | None) -> dict[registrations.Registration, float]:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(registrations, "_parse", counted)
    async with deployed(tmp_path) as portal:
        process, other = portal.process(provider("acme")), portal.process(provider("globex"))
        await process.update()
        await portal.pass_time(120, process)
        assert parsed == []
        await other.update()
        await process.update()
        assert len(parsed) == 2, "each process reads what the other wrote"


@pytest.mark.gen_test
async def test_D5_an_unchanged_state_is_compared_only_when_a_renewal_or_removal_is_due(
    tmp_path: Path,
) -> None:
    async with deployed(tmp_path) as portal:
        acme, globex = provider("acme"), provider("globex")
        both = LiveRegistrations(registrations_of([acme, globex]))
        one = LiveRegistrations(registrations_of([acme]))
        serving = both
        upkeep = RegistrationUpkeep(
            portal.store,
            serving=lambda: serving,
            confirms_removal=portal.confirms_removal,
            clock=portal.clock,
        )
        login = await portal.sign_in(globex)
        await upkeep.update()
        written = await portal.store.get_meta("registrations")
        await upkeep.update()
        assert upkeep._compare(written, portal.clock()) is None
        assert upkeep._compare(written, portal.clock() + 21) is not None
        assert upkeep._compare("[]", portal.clock()) is not None
        upkeep._compare(written, portal.clock())
        serving = one
        assert upkeep._compare(written, portal.clock()) is not None
        for _ in range(13):
            portal.clock.advance(10)
            await upkeep.update()
        assert not await portal.is_stored(login)


@pytest.mark.gen_test
async def test_D5_a_renewal_of_all_writes_what_a_renewal_one_by_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10,000 registrations it takes a tenth of the time."""
    texts = []
    async with deployed(tmp_path) as portal:
        process = portal.process(provider("globex"), provider("acme"), provider("acme", "another client"))
        await process.update()
        one_by_one = registrations._text
        monkeypatch.setattr(registrations, "_text", lambda *_: pytest.fail("renewed one by one"))
        for _ in range(3):
            await portal.pass_time(30, process)
            texts.append(await portal.store.get_meta("registrations"))
        monkeypatch.undo()
    assert len(set(texts)) == 3
    for text in texts:
        times = registrations._parse(text)
        assert len(times) == 3
        starts = {entry: registrations._start(entry) for entry in times}
        assert text == one_by_one(dict(sorted(times.items())), starts)
    assert max(registrations._parse(texts[-1]).values()) > max(registrations._parse(texts[0]).values())


@pytest.mark.gen_test
async def test_D5_the_registrations_of_all_tenants_are_compared_outside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tens of thousands of registrations, parsing and writing the record take 10 to 20 ms each."""
    threads: set[int] = set()

    def record_thread(name: str) -> None:
        work = getattr(registrations, name)

        def run(*arguments: object) -> object:
            threads.add(threading.get_ident())
            return work(*arguments)

        monkeypatch.setattr(registrations, name, run)

    for name in ("_parse", "_text"):
        record_thread(name)
    async with deployed(tmp_path) as portal:
        await portal.process(provider("acme")).update()
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}
        assert threading.get_ident() in threads  # at the start of a process, before it serves
        threads.clear()
        await portal.process(provider("acme"), provider("globex")).update()
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.gen_test
async def test_updates_are_repeated_until_the_portal_stops_and_a_failure_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "_INTERVAL_SECONDS", 0)
    async with deployed(tmp_path) as portal:
        store, stop = FailingStore(portal.store), asyncio.Event()
        store.fail("get_meta", times=2)

        def serving() -> LiveRegistrations:
            stop.set()
            return LiveRegistrations(registrations_of([provider("acme")]))

        upkeep = RegistrationUpkeep(
            cast(SQLiteStore, store),
            serving=serving,
            confirms_removal=portal.confirms_removal,
            clock=portal.clock,
        )
        with capture_logs() as lines:
            async with asyncio.timeout(20):
                await upkeep.run(stop)
        assert [line["event"] for line in lines] == ["registrations_not_recorded"] * 2
        assert await served_tenants(portal.store, now=portal.clock()) == {"acme"}
