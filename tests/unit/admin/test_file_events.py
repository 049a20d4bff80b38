"""Changes of tenant files are events: once in a deployment, also those that happened while no portal ran."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from portal.admin.file_events import FileEvents
from portal.admin.user_events import UserEvents
from portal.errors import ConfigurationError, Problem
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import TenantStore
from tests.kit.samples import START


@dataclass
class Meta:
    values: dict[str, str] = field(default_factory=dict)

    async def get_meta(self, meta_id: str) -> str | None:
        return self.values.get(meta_id)

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        if self.values.get(meta_id) != expected:
            return False
        self.values[meta_id] = value
        return True


@dataclass
class Files:
    """What the registry of a process has read from the folder."""

    folder: Path
    tenants: object = field(default_factory=object)
    problems: dict[str, ConfigurationError] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def all(self) -> object:
        return self.tenants

    def is_of_operator(self, slug: str) -> bool:
        return slug in self.kept

    def read(self, **problems: str) -> None:
        """Read the folder again."""
        self.tenants = object()
        self.problems = {
            f"{slug}.yaml": ConfigurationError([Problem(f"{slug}.yaml", text)])
            for slug, text in problems.items()
        }


class Process:
    """One process of a deployment."""

    def __init__(self, meta: Meta, folder: Path) -> None:
        self.files = Files(folder)
        self.events = UserEvents(cast(TenantStore, None), clock=lambda: START, lost=lambda count: None)
        self._recorder = FileEvents(meta, folder, self.files, self.events)

    async def recorded(self) -> list[tuple[str, str]]:
        await self._recorder.record()
        made: list[Event] = list(self.events._waiting)
        self.events._waiting.clear()
        return [(event.kind.removeprefix("tenant_file_"), event.tenant) for event in made]


def write(folder: Path, slug: str, content: str) -> None:
    (folder / f"{slug}.yaml").write_text(content, encoding="utf-8")


@pytest.mark.gen_test
async def test_the_first_start_records_no_changes_and_later_ones_do(tmp_path: Path) -> None:
    meta = Meta()
    write(tmp_path, "acme", "1")
    write(tmp_path, "globex", "1")
    process = Process(meta, tmp_path)
    assert await process.recorded() == []
    write(tmp_path, "acme", "2")
    write(tmp_path, "initech", "1")
    process.files.read()
    assert await process.recorded() == [("changed", "acme"), ("added", "initech")]
    (tmp_path / "globex.yaml").unlink()
    write(tmp_path, "acme", "{")
    process.files.read(acme="is no tenant")
    assert await process.recorded() == [("refused", "acme"), ("removed", "globex")]
    assert await process.recorded() == []
    write(tmp_path, "acme", "2")
    process.files.read()
    assert await process.recorded() == [("changed", "acme")]


@pytest.mark.gen_test
async def test_a_change_is_recorded_by_one_process(tmp_path: Path) -> None:
    meta = Meta()
    write(tmp_path, "acme", "1")
    first, second = Process(meta, tmp_path), Process(meta, tmp_path)
    assert await first.recorded() == await second.recorded() == []
    write(tmp_path, "acme", "2")
    for process in (first, second):
        process.files.read()
    assert await second.recorded() == [("changed", "acme")]
    assert await first.recorded() == []


@pytest.mark.gen_test
async def test_a_change_while_no_portal_ran_is_recorded_at_the_start(tmp_path: Path) -> None:
    meta = Meta()
    for slug in ("acme", "globex", "initech"):
        write(tmp_path, slug, "1")
    assert await Process(meta, tmp_path).recorded() == []
    write(tmp_path, "acme", "2")
    (tmp_path / "globex.yaml").unlink()
    assert await Process(meta, tmp_path).recorded() == [("changed", "acme"), ("removed", "globex")]


@pytest.mark.gen_test
async def test_a_folder_that_is_not_mounted_at_the_start_removes_nothing(tmp_path: Path) -> None:
    meta, empty = Meta(), tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "full").mkdir()
    for slug in ("acme", "globex", "initech"):
        write(tmp_path / "full", slug, "1")
    assert await Process(meta, tmp_path / "full").recorded() == []
    assert await Process(meta, empty).recorded() == []
    assert await Process(meta, tmp_path / "full").recorded() == []


@pytest.mark.gen_test
async def test_a_tenant_that_is_kept_without_its_file_is_not_removed(tmp_path: Path) -> None:
    process = Process(Meta(), tmp_path)
    write(tmp_path, "acme", "1")
    assert await process.recorded() == []
    (tmp_path / "acme.yaml").unlink()
    process.files.kept = {"acme"}
    process.files.read()
    assert await process.recorded() == []
    process.files.kept = set()
    process.files.read()
    assert await process.recorded() == [("removed", "acme")]


@pytest.mark.gen_test
async def test_hosts_with_different_files_do_not_record_each_others(tmp_path: Path) -> None:
    meta = Meta()
    for host in ("one", "two"):
        (tmp_path / host).mkdir()
        write(tmp_path / host, "acme", host)
    write(tmp_path / "one", "globex", "1")
    write(tmp_path / "two", "globex", "1")
    one, two = Process(meta, tmp_path / "one"), Process(meta, tmp_path / "two")
    assert await one.recorded() == []
    assert await two.recorded() == [("changed", "acme")]
    write(tmp_path / "one", "globex", "2")
    one.files.read()
    assert await one.recorded() == [("changed", "globex")]


@contextlib.contextmanager
def pipe(path: Path) -> Iterator[None]:
    """A pipe that nobody writes to; at the end, a thread that reads it does not wait any longer."""
    os.mkfifo(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # nobody reads it
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.gen_test(timeout=60)
async def test_a_pipe_or_a_large_file_is_not_read(tmp_path: Path) -> None:
    process = Process(Meta(), tmp_path)
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(10**12)
    with pipe(tmp_path / "pipe.yaml"):
        write(tmp_path, "acme", "1")
        async with asyncio.timeout(20):
            assert await process.recorded() == []
        write(tmp_path, "acme", "2")
        process.files.read()
        assert await process.recorded() == [("changed", "acme")]
