"""Cached entries of a SQLite file are never older than the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portal.stores.sqlite.memory import SQLiteMemory
from portal.stores.sqlite.store import SQLiteStore
from tests.kit.samples import START, sample_login, sample_session


class CountingStore(SQLiteStore):
    """Counts the reads of the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        to_file = self._file.read

        async def counted(work):  # type: ignore[no-untyped-def]
            self.reads += 1
            return await to_file(work)

        self._file.read = counted  # type: ignore[method-assign]


@pytest.mark.gen_test
async def test_a_second_read_does_not_read_the_file_if_it_is_unchanged(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session)
    await store.put_login(login)
    for _ in range(5):
        found = await store.read([session.id], [login.id, "nobody"], now=START)
        assert found == ({session.id: session}, {login.id: login})
    assert store.reads == 1
    await store.close()


@pytest.mark.gen_test
async def test_a_change_of_another_connection_is_seen_at_the_next_read(tmp_path: Path) -> None:
    here, there = SQLiteStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await here.open()
    await there.open()
    session, login = sample_session(), sample_login()
    await there.add_session(session)
    assert await here.read([session.id], [login.id], now=START) == ({session.id: session}, {})
    await there.put_login(login)
    assert (await here.read([session.id], [login.id], now=START))[1] == {login.id: login}
    await there.delete_login(login.session, login.tenant)
    assert (await here.read([session.id], [login.id], now=START))[1] == {}
    await there.delete_session(session.id)
    assert (await here.read([session.id], [login.id], now=START))[0] == {}
    await here.close()
    await there.close()


@pytest.mark.gen_test
async def test_the_stores_own_changes_are_seen_at_the_next_read(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session)
    await store.put_login(login)
    await store.read([session.id], [login.id], now=START)
    moved = replace(login, version=2, access_expires_at=START + 99)
    assert await store.swap_login(moved, expected_version=1)
    assert (await store.read([session.id], [login.id], now=START))[1] == {login.id: moved}
    assert await store.rotate_session(
        session.id,
        old_secret_hash=session.secret_hash,
        new_secret_hash="1" * 64,
        last_seen_at=START,
        idle_expires_at=session.idle_expires_at,
    )
    assert (await store.read([session.id], [], now=START))[0][session.id].secret_hash == "1" * 64
    await store.close()


@pytest.mark.gen_test
async def test_cached_entries_expire(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login(expires_at=START + 10)
    await store.add_session(session)
    await store.put_login(login)
    assert (await store.read([session.id], [login.id], now=START))[1] == {login.id: login}
    assert await store.read([session.id], [login.id], now=START + 10) == ({session.id: session}, {})
    assert await store.read([session.id], [login.id], now=session.idle_expires_at) == ({}, {})
    assert store.reads == 1
    await store.close()


@pytest.mark.gen_test
async def test_a_read_that_began_before_a_change_is_not_kept_after_it() -> None:
    memory, login = SQLiteMemory(), sample_login()
    assert memory.look(1, [], [login.id], START) is None
    assert memory.look(2, [], [login.id], START) is None
    await memory.keep(1, [], [login.id], ({}, {login.id: login}))
    assert memory.look(2, [], [login.id], START) is None
    await memory.keep(2, [], [login.id], ({}, {}))
    assert memory.look(2, [], [login.id], START) == ({}, {})


@pytest.mark.gen_test
async def test_D5_cached_logins_use_limited_memory_and_a_tenant_evicts_its_own() -> None:
    memory = SQLiteMemory(login_bytes=1_000_000)
    quiet = sample_login(tenant="globex")
    memory.look(1, [], [quiet.id], START)
    await memory.keep(1, [], [quiet.id], ({}, {quiet.id: quiet}))
    for number in range(100):
        large = sample_login(session=f"session-{number}", tenant="acme", claims={"groups": "g" * 10_000})
        await memory.keep(1, [], [large.id], ({}, {large.id: large}))
    assert memory.look(1, [], [quiet.id], START) == ({}, {quiet.id: quiet})
    assert memory.look(1, [], ["session-0:acme"], START) is None
    assert memory.look(1, [], ["session-99:acme"], START) is not None
