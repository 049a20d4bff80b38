"""Who owns a host name or an e-mail domain stays the same after a restart (THREATS T1, T2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.tenancy import owner_record
from portal.tenancy.owner_record import OwnerRecord
from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ACME, ENVIRON, write
from tests.unit.tenancy.test_registry import messages, named, slugs

X = "email_domains: [x.example]\n"
Y = "email_domains: [y.example]\n"


class MetaStore:
    """The database's named values, in memory."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.reads = self.writes = 0

    async def get_meta(self, meta_id: str) -> str | None:
        self.reads += 1
        return self.values.get(meta_id)

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        if self.values.get(meta_id) != expected:
            return False
        self.values[meta_id] = value
        self.writes += 1
        return True


class Process:
    """A process of the portal."""

    def __init__(self, folder: Path, store: MetaStore) -> None:
        self.live = Registry(folder, environ=ENVIRON)
        self.live.load()
        self.record = OwnerRecord(store, self.live)

    @classmethod
    async def start(cls, folder: Path, store: MetaStore) -> Process:
        process = cls(folder, store)
        await process.record.restore()
        return process

    async def reload(self) -> None:
        self.live.load()
        await self.record.record()

    def owner_of(self, domain: str) -> list[str]:
        return [tenant.slug for tenant in self.live.search(f"ann@{domain}", most=5)]


@pytest.mark.gen_test
async def test_a_file_that_sorts_first_takes_no_name_by_a_restart(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("Victim", X), "victim.yaml")
    await Process.start(tmp_path, store)
    write(tmp_path, named("Attacker", X), "attacker.yaml")
    for _ in range(3):
        process = await Process.start(tmp_path, store)
        assert slugs(process.live) == ["victim"]
        assert process.owner_of("x.example") == ["victim"]
        assert messages(process.live) == {
            "attacker.yaml": ["email_domains contains a name that already belongs to the tenant victim"]
        }


@pytest.mark.gen_test
async def test_without_a_record_the_first_file_by_name_is_live_and_stays_it(tmp_path: Path) -> None:
    store = MetaStore()
    for slug in ("a", "b"):
        write(tmp_path, named(slug, X), f"{slug}.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["a"]
    write(tmp_path, named("0", X), "0.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["a"]


@pytest.mark.parametrize("how", ["removed", "another domain"])
@pytest.mark.gen_test
async def test_a_name_that_its_owner_no_longer_claims_is_free_at_a_start(tmp_path: Path, how: str) -> None:
    store = MetaStore()
    path = write(tmp_path, named("Old", X), "old.yaml")
    await Process.start(tmp_path, store)
    if how == "removed":
        path.unlink()
    else:
        write(tmp_path, named("Old", Y), "old.yaml")
    write(tmp_path, named("Young", X), "young.yaml")
    process = await Process.start(tmp_path, store)
    assert process.owner_of("x.example") == ["young"]
    write(tmp_path, named("Old", X), "old.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["young"]


@pytest.mark.gen_test
async def test_an_owner_with_an_invalid_file_keeps_its_names_over_a_restart(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("Victim", X), "victim.yaml")
    await Process.start(tmp_path, store)
    write(tmp_path, "bad", "victim.yaml")
    write(tmp_path, named("Attacker", X), "attacker.yaml")
    process = await Process.start(tmp_path, store)
    assert slugs(process.live) == []
    assert sorted(process.live.problems) == ["attacker.yaml", "victim.yaml"]
    write(tmp_path, named("Victim", X), "victim.yaml")
    await process.reload()
    assert process.owner_of("x.example") == ["victim"]
    assert list(process.live.problems) == ["attacker.yaml"]


@pytest.mark.gen_test
async def test_an_owner_whose_file_is_repaired_without_the_name_releases_it(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("Old", X), "old.yaml")
    await Process.start(tmp_path, store)
    write(tmp_path, "bad", "old.yaml")
    write(tmp_path, named("Young", X), "young.yaml")
    process = await Process.start(tmp_path, store)
    write(tmp_path, named("Old", Y), "old.yaml")
    await process.reload()
    assert (process.owner_of("x.example"), process.owner_of("y.example")) == (["young"], ["old"])
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["young"]


@pytest.mark.gen_test
async def test_a_rejected_file_holds_no_name_that_it_does_not_claim(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("Old", X), "old.yaml")
    write(tmp_path, named("C", Y), "c.yaml")
    await Process.start(tmp_path, store)
    write(tmp_path, "bad", "old.yaml")
    write(tmp_path, named("Young", X), "young.yaml")
    process = await Process.start(tmp_path, store)
    write(tmp_path, named("Old", Y), "old.yaml")
    await process.reload()
    assert (process.owner_of("x.example"), process.owner_of("y.example")) == (["young"], ["c"])


@pytest.mark.gen_test
async def test_two_tenants_can_exchange_names_between_two_runs(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("A", X), "a.yaml")
    write(tmp_path, named("B", Y), "b.yaml")
    await Process.start(tmp_path, store)
    write(tmp_path, named("A", Y), "a.yaml")
    write(tmp_path, named("B", X), "b.yaml")
    process = await Process.start(tmp_path, store)
    assert (process.owner_of("x.example"), process.owner_of("y.example")) == (["b"], ["a"])
    assert process.live.problems == {}


@pytest.mark.gen_test
async def test_a_renamed_file_keeps_its_names(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("Acme", X), "acme.yaml").rename(tmp_path / "acme-corp.yaml")
    write(tmp_path, named("Acme", X), "acme.yaml")
    (tmp_path / "acme-corp.yaml").unlink()
    await Process.start(tmp_path, store)
    (tmp_path / "acme.yaml").rename(tmp_path / "acme-corp.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["acme-corp"]


@pytest.mark.gen_test
async def test_a_change_of_an_owner_is_recorded_while_the_portal_runs(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("B", X), "b.yaml")
    process = await Process.start(tmp_path, store)
    write(tmp_path, named("B"), "b.yaml")
    await process.reload()
    write(tmp_path, named("C", X), "c.yaml")
    await process.reload()
    write(tmp_path, named("A", X), "a.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["c"]


@pytest.mark.gen_test
async def test_nothing_is_read_or_written_while_no_owner_changes(tmp_path: Path) -> None:
    store = MetaStore()
    write(tmp_path, named("A", X), "a.yaml")
    process = await Process.start(tmp_path, store)
    before = store.reads
    write(tmp_path, named("Another name", X), "a.yaml")
    await process.reload()
    assert store.reads == before
    await Process.start(tmp_path, store)
    assert store.writes == 1


@pytest.mark.gen_test
async def test_the_process_that_records_a_name_first_decides_who_has_it_after_a_restart(
    tmp_path: Path,
) -> None:
    store = MetaStore()
    write(tmp_path, named("C"), "c.yaml")
    first, second = [await Process.start(tmp_path, store) for _ in range(2)]
    write(tmp_path, named("B", X), "b.yaml")
    await first.reload()
    write(tmp_path, named("A", X), "a.yaml")
    write(tmp_path, named("C", Y), "c.yaml")
    await second.reload()
    assert second.owner_of("x.example") == ["a"], "it has read both files at once"
    third = await Process.start(tmp_path, store)
    assert (third.owner_of("x.example"), third.owner_of("y.example")) == (["b"], ["c"])


@pytest.mark.gen_test
async def test_a_record_that_another_process_changes_at_the_same_time_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MetaStore()
    write(tmp_path, named("B", X), "b.yaml")

    async def get_meta(meta_id: str) -> str | None:
        store.values["name-owners"] = "{}"
        return None

    with monkeypatch.context() as patches:
        patches.setattr(store, "get_meta", get_meta)
        process = await Process.start(tmp_path, store)
    assert store.writes == 0
    await process.record.record()
    write(tmp_path, named("A", X), "a.yaml")
    assert (await Process.start(tmp_path, store)).owner_of("x.example") == ["b"]


@pytest.mark.gen_test
async def test_a_lost_folder_at_a_start_loses_no_owner(tmp_path: Path) -> None:
    store = MetaStore()
    for slug in "bcd":
        write(tmp_path / "full", named(slug, f"hosts: [{slug}.example]\n"), f"{slug}.yaml")
    await Process.start(tmp_path / "full", store)
    (tmp_path / "empty").mkdir()
    await Process.start(tmp_path / "empty", store)
    write(tmp_path / "full", named("A", "hosts: [c.example]\n"), "a.yaml")
    process = await Process.start(tmp_path / "full", store)
    assert list(process.live.problems) == ["a.yaml"]


@pytest.mark.parametrize("damaged", ["{", "[]", '{"a": 1}', '{"a": [1]}', "null"])
@pytest.mark.gen_test
async def test_a_damaged_record_is_reported_and_replaced(tmp_path: Path, damaged: str) -> None:
    store = MetaStore()
    store.values["name-owners"] = damaged
    write(tmp_path, ACME + X)
    with capture_logs() as lines:
        process = await Process.start(tmp_path, store)
    assert "name_owners_damaged" in {line["event"] for line in lines}
    assert process.owner_of("x.example") == ["acme"]
    assert owner_record._parse(store.values["name-owners"]) == {"acme": (("email_domains", "x.example"),)}
