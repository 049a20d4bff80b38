"""Changes to the folder of tenant files while the portal runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.tenancy import registry
from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ACME, ENVIRON, write


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry looks at its folder five times a second: the test is not about how soon it does."""
    monkeypatch.setattr(registry, "_CHECK_INTERVAL", 0.2)


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Registry]:
    """A loaded registry that follows its folder."""
    live = Registry(folder, environ=ENVIRON)
    live.load()
    stop = asyncio.Event()
    watching = asyncio.create_task(live.watch(stop))
    try:
        yield live
    finally:
        stop.set()
        await asyncio.wait_for(watching, 5)


async def until(condition: Callable[[], bool], *, seconds: float = 10) -> float:
    """Wait until `condition()` is true; return the seconds that this took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "timeout"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def names(live: Registry) -> list[str]:
    return [tenant.name for tenant in live.all()]


def has(live: Registry, name: str) -> bool:
    return name in names(live)


@pytest.mark.gen_test
async def test_new_changed_and_removed_files_are_live_within_seconds(tmp_path: Path) -> None:
    write(tmp_path, ACME)
    async with watched(tmp_path) as live:
        write(tmp_path, ACME.replace("Acme", "Globex"), "globex.yaml")
        assert await until(lambda: len(names(live)) == 2) < 3
        write(tmp_path, ACME.replace("Acme", "New"))
        assert await until(lambda: "New Corporation" in names(live)) < 3
        (tmp_path / "globex.yaml").unlink()
        assert await until(lambda: names(live) == ["New Corporation"]) < 3


@pytest.mark.gen_test
async def test_an_invalid_file_changes_nothing_and_a_valid_one_goes_live(tmp_path: Path) -> None:
    path = write(tmp_path, ACME)
    async with watched(tmp_path) as live:
        path.write_text("bad")
        await until(lambda: "acme.yaml" in live.problems)
        assert names(live) == ["Acme Corporation"]
        path.write_text(ACME.replace("Acme", "New"))
        await until(lambda: names(live) == ["New Corporation"])
        assert live.problems == {}


@pytest.mark.gen_test
async def test_a_save_by_renaming_never_removes_the_tenant(tmp_path: Path) -> None:
    path = write(tmp_path, ACME)
    write(tmp_path, ACME.replace("Acme", "Globex"), "globex.yaml")
    with capture_logs() as lines:
        async with watched(tmp_path) as live:
            for number in range(5):
                path.rename(tmp_path / "acme.yaml~")
                write(tmp_path, ACME.replace("Acme", f"New {number}"))
                await until(partial(has, live, f"New {number} Corporation"))
    assert "tenant_changed" in {line["event"] for line in lines}
    assert not {"tenant_removed", "tenant_added"} & {line["event"] for line in lines}


@pytest.mark.usefixtures("often")
@pytest.mark.gen_test
async def test_a_folder_that_disappears_keeps_tenants_live_and_is_followed_again(tmp_path: Path) -> None:
    folder = tmp_path / "tenants"
    write(folder, ACME)
    async with watched(folder) as live:
        shutil.rmtree(folder)
        write(tmp_path / "other", ACME.replace("Acme", "New"))
        await until(lambda: str(folder) in live.problems)
        assert names(live) == ["Acme Corporation"]
        assert live.without_file == 1
        (tmp_path / "other").rename(folder)
        await until(lambda: names(live) == ["New Corporation"])
        assert live.problems == {}
        assert live.without_file == 0


@pytest.mark.usefixtures("often")
@pytest.mark.gen_test
async def test_a_changed_secret_outside_the_folder_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one")
    os.utime(write(tmp_path / "tenants", ACME.replace("${ACME_SECRET}", "file:../secret")), (1, 1))
    async with watched(tmp_path / "tenants") as live:
        before = live.get("acme")
        (tmp_path / "secret").write_text("two")
        await until(lambda: live.get("acme") is not before)


@pytest.mark.usefixtures("often")
@pytest.mark.gen_test
async def test_a_folder_that_returns_unchanged_is_no_longer_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "tenants"
    os.utime(write(folder, ACME), (1, 1))
    async with watched(folder) as live:
        folder.rename(tmp_path / "away")
        await until(lambda: str(folder) in live.problems)
        (tmp_path / "away").rename(folder)
        await until(lambda: live.problems == {})
        assert names(live) == ["Acme Corporation"]


@pytest.mark.gen_test
async def test_a_save_is_noticed_before_the_next_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_CHECK_INTERVAL", 3600.0)
    write(tmp_path, ACME)
    async with watched(tmp_path) as live:

        def saved_and_noticed() -> bool:
            write(tmp_path, ACME.replace("Acme", "New"))
            return names(live) == ["New Corporation"]

        await until(saved_and_noticed)


@pytest.mark.gen_test
async def test_a_change_of_one_file_is_live_without_a_check_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_CHECK_INTERVAL", 3600.0)
    path = write(tmp_path)
    write(tmp_path, ACME.replace("Acme", "Other"), "other.yaml")
    text = ACME.replace("Acme", "New")

    def saved_in_place() -> bool:
        path.write_text(text)
        return has(live, "New Corporation")

    def saved_by_renaming() -> bool:
        (tmp_path / ".acme.swap").write_text(text.replace("New", "Newer"))
        (tmp_path / ".acme.swap").rename(path)
        return has(live, "Newer Corporation")

    async with watched(tmp_path) as live:
        monkeypatch.setattr(live._folder, "names", lambda: pytest.fail("all files are checked"))
        await until(saved_in_place)
        await until(saved_by_renaming)


@pytest.mark.gen_test
async def test_changes_of_one_file_do_not_delay_the_next_check_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_CHECK_INTERVAL", 1.0)
    (tmp_path / "secret").write_text("one")
    os.utime(write(tmp_path / "tenants", ACME.replace("${ACME_SECRET}", "file:../secret")), (1, 1))
    write(tmp_path / "tenants", ACME, "busy.yaml")
    async with watched(tmp_path / "tenants") as live:
        before = live.get("acme")
        (tmp_path / "secret").write_text("two")
        number = 0

        def changed() -> bool:
            nonlocal number
            number += 1
            write(tmp_path / "tenants", f"{ACME}# {number}\n", "busy.yaml")
            return live.get("acme") is not before

        await until(changed)


@pytest.mark.gen_test
async def test_watching_ends_when_stop_is_set(tmp_path: Path) -> None:
    async with watched(tmp_path):
        began = time.monotonic()
    assert time.monotonic() - began < 2


@pytest.mark.gen_test
async def test_checks_of_many_files_are_rarer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def checks_within(seconds: float) -> int:
        live, stop, checks = Registry(tmp_path, environ=ENVIRON), asyncio.Event(), 0

        def count(_: float) -> None:
            nonlocal checks
            checks += 1

        live.load()
        watching = asyncio.create_task(live.watch(stop, count_without_file=count))
        await asyncio.sleep(seconds)
        stop.set()
        await asyncio.wait_for(watching, 5)
        return checks

    write(tmp_path)
    monkeypatch.setattr(registry, "_CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(registry, "_CHECK_SHARE", 1.0)
    assert await checks_within(0.4) > 3
    monkeypatch.setattr(registry, "_CHECK_SHARE", 1e-6)  # as if there were very many files
    assert await checks_within(0.4) <= 3
