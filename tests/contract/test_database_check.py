"""Checks of the database before a portal serves it: an older copy, another key ring."""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path

import pytest

from portal.errors import StartupError
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import KEY_RING, adopt_key_ring, check_key_ring
from portal.sessions.database_check import DatabaseCheck
from portal.sessions.generation_check import GenerationCheck, GenerationRecord, _refused
from portal.stores.generation import GENERATION, Generation
from portal.stores.tenant_store import Database
from tests.contract.entries import new_event, new_login, new_tenant

ADDRESS = "sqlite:///portal.db"


class TimeOfTest:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def check_of(store: Database, host: Path, clock: TimeOfTest | None = None) -> GenerationCheck:
    """The check of a portal process on a host; `host` is the folder of its key ring."""
    record = GenerationRecord(host / "keys.json", ADDRESS)
    return GenerationCheck(store, record, clock=clock or TimeOfTest())


async def generation(store: Database) -> Generation:
    text = await store.get_meta(GENERATION)
    assert text is not None
    return Generation.parse(text)


@pytest.mark.gen_test
async def test_every_check_increases_the_generation_whatever_the_clock_says(
    store: Database, second_store: Database, tmp_path: Path
) -> None:
    behind, clock = TimeOfTest(), TimeOfTest()
    behind.seconds -= 86400
    numbers = []
    for check in (check_of(store, tmp_path, clock), check_of(second_store, tmp_path, behind)) * 3:
        await check.advance()
        numbers.append((await generation(store)).number)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == clock.seconds * 1000
    record = GenerationRecord(tmp_path / "keys.json", ADDRESS)
    assert record.seen((await generation(store)).database) == numbers[-1]
    assert ((tmp_path / "keys.json.seen").stat().st_mode & 0o777) == 0o600


@pytest.mark.gen_test
async def test_many_processes_that_start_together_agree(
    store: Database, second_store: Database, tmp_path: Path
) -> None:
    await asyncio.gather(*(check_of(each, tmp_path).advance() for each in [store, second_store] * 6))
    await check_of(store, tmp_path).advance()


@pytest.mark.gen_test
async def test_an_older_copy_is_refused_by_the_host_with_a_newer_record_and_then_by_all(
    store: Database, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    here, elsewhere = check_of(store, tmp_path), check_of(store, tmp_path / "other")
    await here.advance()
    old = await store.get_meta(GENERATION)
    assert old is not None
    await elsewhere.advance()
    await here.advance()
    await store.put_meta(GENERATION, old)  # as a restore does
    times = r"older copy of 2027-01-15 08:00:00 UTC; this host has used one of 2027-01-15 08:00:00 UTC\."
    with pytest.raises(StartupError, match=times) as caught:
        await check_of(store, tmp_path).advance()
    assert "portal store restored" in caught.value.remedy
    assert (await generation(store)).copy
    (tmp_path / "third").mkdir()
    for host in ("other", "third"):
        with pytest.raises(StartupError, match="older copy"):
            await check_of(store, tmp_path / host).advance()


@pytest.mark.gen_test
async def test_an_older_copy_is_refused_when_another_process_writes_at_the_same_time(
    store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = check_of(store, tmp_path)
    await check.advance()
    old = await store.get_meta(GENERATION)
    assert old is not None
    await check.advance()
    swap, results = store.swap_meta, [False]

    async def swap_meta(meta_id: str, *, expected: str | None, value: str) -> bool:
        return results.pop() if results else await swap(meta_id, expected=expected, value=value)

    monkeypatch.setattr(store, "swap_meta", swap_meta)
    await store.put_meta(GENERATION, old)
    with pytest.raises(StartupError, match="older copy"):
        await check_of(store, tmp_path).advance()


@pytest.mark.gen_test
async def test_a_running_portal_detects_an_older_copy_without_its_record(
    store: Database, tmp_path: Path
) -> None:
    check = check_of(store, tmp_path)
    await check.advance()
    old = await store.get_meta(GENERATION)
    assert old is not None
    await check.advance()
    (tmp_path / "keys.json.seen").unlink()
    await store.put_meta(GENERATION, old)
    with pytest.raises(StartupError, match="older copy"):
        await check.advance()


@pytest.mark.gen_test
async def test_after_a_confirmed_restore_every_host_continues(store: Database, tmp_path: Path) -> None:
    ahead = TimeOfTest()
    ahead.seconds += 86400
    (tmp_path / "other").mkdir()
    elsewhere = check_of(store, tmp_path / "other", ahead)
    await elsewhere.advance()
    old = await store.get_meta(GENERATION)
    assert old is not None
    await elsewhere.advance()
    await store.put_meta(GENERATION, Generation.parse(old).text())
    here = TimeOfTest()
    await check_of(store, tmp_path, here).assign_new_identity()
    assert (await generation(store)).number == here.seconds * 1000
    await elsewhere.advance()
    await check_of(store, tmp_path / "other").advance()
    await store.put_meta(GENERATION, old)  # and the same copy once more
    with pytest.raises(StartupError, match="older copy"):
        await check_of(store, tmp_path / "other").advance()


def test_the_times_of_an_older_copy_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "TST-9")
        time.tzset()
        message = _refused(Generation("copy", 1_800_000_000_000, copy=True), 0).message
    time.tzset()
    assert message.startswith("The database is an older copy of 2027-01-15 08:00:00 UTC. Its")


@pytest.mark.gen_test
async def test_a_database_of_an_earlier_portal_is_accepted(store: Database, tmp_path: Path) -> None:
    await store.put_login(new_login())
    await check_of(store, tmp_path).advance()
    assert not (await generation(store)).copy


@pytest.mark.gen_test
async def test_a_generation_that_cannot_be_read_is_refused(store: Database, tmp_path: Path) -> None:
    await store.put_meta(GENERATION, '{"number": 1}')
    with pytest.raises(StartupError, match="damaged"):
        await check_of(store, tmp_path).advance()


@pytest.mark.gen_test
async def test_a_new_database_at_a_known_address_is_accepted(store: Database, tmp_path: Path) -> None:
    record = GenerationRecord(tmp_path / "keys.json", ADDRESS)
    record.record(Generation("gone", 2_000_000_000_000))
    await check_of(store, tmp_path).advance()
    assert not (await generation(store)).copy


@pytest.mark.gen_test
async def test_a_database_with_logins_that_lost_its_generation_is_an_older_copy(
    store: Database, tmp_path: Path
) -> None:
    GenerationRecord(tmp_path / "keys.json", ADDRESS).record(Generation("gone", 2_000_000_000_000))
    await store.put_login(new_login())
    with pytest.raises(StartupError, match=r"older copy\. Its"):  # no time of either is known
        await check_of(store, tmp_path).advance()
    assert (await generation(store)).copy


@pytest.mark.gen_test
async def test_a_host_that_cannot_write_its_record_logs_it_once_and_serves(
    store: Database, tmp_path: Path, log_lines: io.StringIO
) -> None:
    (tmp_path / "file").write_text("")
    check = check_of(store, tmp_path / "file")
    for _ in range(2):
        await check.advance()
        assert log_lines.getvalue().count("generation_not_recorded") == 1


@pytest.mark.parametrize("content", ["", "[]", '{"databases": {"a": 1}}', '{"databases": []}', "\x00"])
def test_a_damaged_record_is_logged_and_replaced(
    tmp_path: Path, content: str, log_lines: io.StringIO
) -> None:
    (tmp_path / "keys.json.seen").write_text(content)
    record = GenerationRecord(tmp_path / "keys.json", ADDRESS)
    assert record.seen("a") == 0
    assert "generation_record_unreadable" in log_lines.getvalue()
    record.record(Generation("a", 7))
    assert record.seen("a") == 7


def test_the_record_contains_the_highest_number_of_the_databases_used_last(tmp_path: Path) -> None:
    record = GenerationRecord(tmp_path / "keys.json", ADDRESS)
    for number in range(40):
        record.record(Generation(f"database {number}", number + 1))
        record.record(Generation("mine", 100 - number))
    assert record.seen("mine") == 100
    assert record.seen("database 39") == 40
    assert record.seen("database 0") == 0


# --- the key ring


@pytest.mark.gen_test
async def test_a_key_ring_without_a_common_key_is_refused_while_there_are_logins(
    store: Database, tmp_path: Path
) -> None:
    mine, foreign = KeyRing.create(tmp_path / "mine.json"), KeyRing.create(tmp_path / "foreign.json")
    await check_key_ring(store, mine)
    await check_key_ring(store, foreign)  # accepted: there are no logins to lose
    await store.put_login(new_login())
    with pytest.raises(StartupError, match="key ring is not the one") as caught:
        await check_key_ring(store, mine)
    assert "portal key adopt" in caught.value.remedy
    await check_key_ring(store, foreign)
    await adopt_key_ring(store, mine)
    await check_key_ring(store, mine)
    with pytest.raises(StartupError):
        await check_key_ring(store, foreign)


@pytest.mark.gen_test
async def test_a_key_ring_without_a_common_key_is_refused_while_there_are_tenants(
    store: Database, tmp_path: Path
) -> None:
    """As after `portal store restored`: nobody is signed in, and the tenants' secrets are sealed."""
    mine, foreign = KeyRing.create(tmp_path / "mine.json"), KeyRing.create(tmp_path / "foreign.json")
    await check_key_ring(store, mine)
    assert await store.tenants.add_tenant(new_tenant(), event=new_event())
    with pytest.raises(StartupError, match="key ring is not the one") as caught:
        await check_key_ring(store, foreign)
    assert "tenants in the database" in caught.value.remedy
    await check_key_ring(store, mine)  # the refused ring left no trace


@pytest.mark.gen_test
async def test_key_rings_with_a_common_key_are_accepted_through_every_rotation(
    store: Database, tmp_path: Path, log_lines: io.StringIO
) -> None:
    path = tmp_path / "keys.json"
    first = KeyRing.create(path)
    await store.put_login(new_login())
    await check_key_ring(store, first)
    KeyRing.rotate(path)
    second = KeyRing.load(path)
    await check_key_ring(store, second)
    await check_key_ring(store, first)  # a host that does not have the new file yet
    assert "key_ring_lacks_keys" in log_lines.getvalue()
    KeyRing.rotate(path)
    document = json.loads(path.read_text())
    del document["keys"][0]
    path.write_text(json.dumps(document))
    third = KeyRing.load(path)
    await check_key_ring(store, third)
    await check_key_ring(store, second)
    with pytest.raises(StartupError):
        await check_key_ring(store, first)


@pytest.mark.gen_test
async def test_a_key_of_the_same_name_is_not_the_same_key(store: Database, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    mine = KeyRing.create(path)
    await check_key_ring(store, mine)
    await store.put_login(new_login())
    document = json.loads(path.read_text())
    document["keys"][0]["k"] = "A" * 43
    path.write_text(json.dumps(document))
    with pytest.raises(StartupError):
        await check_key_ring(store, KeyRing.load(path))


@pytest.mark.gen_test
async def test_the_database_stores_no_key_of_a_key_ring(store: Database, tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "keys.json")
    await check_key_ring(store, ring)
    text = await store.get_meta(KEY_RING)
    assert text is not None
    assert set(json.loads(text)) == set(ring.kids)
    assert ring.newest.secret.hex() not in text
    assert json.loads((tmp_path / "keys.json").read_text())["keys"][0]["k"] not in text
    assert ring.newest.derive("a") != ring.newest.derive("b")


# --- both, at the start and while a portal runs


@pytest.mark.gen_test
async def test_a_running_portal_stops_for_an_older_copy_but_not_for_another_key_ring(
    store: Database, tmp_path: Path, log_lines: io.StringIO
) -> None:
    ring = KeyRing.create(tmp_path / "keys.json")
    generations = check_of(store, tmp_path)
    check = DatabaseCheck(store, ring, generations, interval=0.001)
    await check.start()
    old = await store.get_meta(GENERATION)
    assert old is not None
    stopped = asyncio.Event()
    watching = asyncio.create_task(check.watch(stopped))
    await store.put_login(new_login())
    await adopt_key_ring(store, KeyRing.create(tmp_path / "foreign.json"))
    while "key_ring_does_not_match" not in log_lines.getvalue():
        await asyncio.sleep(0.001)
    assert not check.refused.is_set()
    await store.put_meta(GENERATION, old)
    await asyncio.wait_for(watching, 10)
    assert check.refused.is_set()
    assert check.refusal is not None
    assert "database_refused" in log_lines.getvalue()


@pytest.mark.gen_test
async def test_the_generation_increases_when_a_portal_stops(store: Database, tmp_path: Path) -> None:
    check = DatabaseCheck(store, KeyRing.create(tmp_path / "keys.json"), check_of(store, tmp_path))
    await check.start()
    before = await generation(store)
    stopped = asyncio.Event()
    stopped.set()
    await check.watch(stopped)
    assert (await generation(store)).number == before.number, "it was stopped before it began"
    stopped.clear()
    watching = asyncio.create_task(check.watch(stopped))
    await asyncio.sleep(0)
    stopped.set()
    await watching
    assert (await generation(store)).number > before.number
