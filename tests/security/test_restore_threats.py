"""THREATS S6 and S10: a portal with an older copy of the database sends no used refresh token."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from portal.app import running
from portal.errors import StartupError
from portal.keys.key_ring import KeyRing
from portal.stores.by_url import sqlite_path
from portal.stores.generation import GENERATION, Generation
from tests.kit.processes import PortalProcess, world_outside
from tests.kit.world import World
from tests.mongodb import fresh_database, running_server

USERS = int(os.environ.get("PORTAL_TEST_RESTORED_USERS", "3"))


@pytest.fixture(params=["sqlite", "mongodb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/portal.db"
        return
    with running_server(tmp_path / "mongodb") as server, fresh_database(server) as url:
        yield url


class Copy:
    """A backup of the whole database by its own tools, independent of the portal."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._file = sqlite_path(url)
        self._copy = folder / "copy.db"
        if self._file is not None:
            with contextlib.closing(sqlite3.connect(self._file)) as source:
                with contextlib.closing(sqlite3.connect(self._copy)) as copy:
                    source.backup(copy)
            return
        with MongoClient[dict[str, Any]](url) as client:
            database = client.get_default_database()
            self._documents = {name: list(database[name].find()) for name in database.list_collection_names()}

    def restore(self) -> None:
        if self._file is not None:
            for each in self._file.parent.glob(f"{self._file.name}*"):
                each.unlink()
            shutil.copy(self._copy, self._file)
            return
        with MongoClient[dict[str, Any]](self._url) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                database[name].delete_many({})
            for name, documents in self._documents.items():
                if documents:
                    database[name].insert_many(documents)


def portal(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the portal's command line with the settings of a world."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PORTAL_")}
    environment |= {
        "PORTAL_PUBLIC_URL": world.settings.public_url,
        "PORTAL_LISTEN": world.settings.listen,
        "PORTAL_TENANTS": str(world.settings.tenants),
        "PORTAL_DATABASE": world.settings.database,
        "PORTAL_KEYS": str(world.settings.keys),
        "PORTAL_ALLOW_PRIVATE_NETWORKS": "true",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "portal", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def _use_refresh_tokens_after_a_copy(world: World, served: PortalProcess, folder: Path) -> Copy:
    """Sign users in, copy the database, use the copied refresh tokens, and stop."""
    for _ in range(USERS):
        await world.quick_sign_in(world.browser(), "acme")
    for browser in world.browsers:
        await world.expire_access_token(browser, "acme")
    copy = Copy(world.settings.database, folder)
    for browser in world.browsers:
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    assert world.acme.requests["refresh"] == USERS
    await served.stop()
    await world.running.portal.store.close()
    return copy


@pytest.mark.gen_test(timeout=90)
async def test_a_restored_copy_sends_no_refresh_token_a_second_time(tmp_path: Path, database: str) -> None:
    async with world_outside(tmp_path, database=database) as (world, served):
        copy = await _use_refresh_tokens_after_a_copy(world, served, tmp_path)
        copy.restore()
        with pytest.raises(StartupError, match="The database is an older copy") as refused:
            async with running(world.settings, sockets=[]):
                pass
        assert "portal store restored" in refused.value.remedy
        confirmed = portal(world, "store", "restored")
        assert (confirmed.returncode, confirmed.stderr) == (0, "")
        await served.start()
        for browser in world.browsers:
            assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
            await world.quick_sign_in(browser, "acme")
            assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        assert world.acme.requests["refresh"] == USERS, "a used refresh token was sent"


@pytest.mark.gen_test(timeout=90)
async def test_the_portal_refuses_another_key_ring_and_an_older_database(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served):
        await world.quick_sign_in(world.browser(), "acme")
        store = world.running.portal.store
        current = await store.get_meta(GENERATION)
        assert current is not None
        await store.put_meta(GENERATION, replace(Generation.parse(current), number=1).text())
        await served.stop()  # it checks every minute and once more when it stops
        assert "database_refused" in served.log
        assert "The database is an older copy of 1970-01-01" in served.log
        found = await store.get_meta(GENERATION)
        assert found is not None
        assert Generation.parse(found).copy
        world.settings.keys.unlink()
        KeyRing.create(world.settings.keys)
        with pytest.raises(StartupError, match="The key ring is not the one that this database belongs to"):
            async with running(world.settings, sockets=[]):
                pass
