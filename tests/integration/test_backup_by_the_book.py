"""docs/operations.md "Backup and restore": its commands, executed as they are there, on both databases."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_store import Database
from tests.contract.entries import new_event, new_revision, new_tenant
from tests.kit.processes import PortalProcess, world_outside
from tests.kit.world import World
from tests.mongodb import MongoTestServer, fresh_database

ROOT = Path(__file__).resolve().parent.parent.parent


def book(title: str) -> str:
    """The commands of docs/operations.md that have this title."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf'```bash title="{re.escape(title)}"\n(.*?)```', text, flags=re.DOTALL)
    return str(found)


def follow(title: str, world: World, folders: Mapping[str, Path]) -> str:
    """Execute commands of the book with the folders of a test in place of its own; return what they print."""
    commands = book(title)
    for name, folder in folders.items():
        assert not folder.is_relative_to(name)
        commands = commands.replace(name, str(folder))
    assert "/var/lib" not in commands
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PORTAL_")}
    environment |= {
        "PORTAL_PUBLIC_URL": world.settings.public_url,
        "PORTAL_TENANTS": str(world.settings.tenants),
        "PORTAL_DATABASE": world.settings.database,
        "PORTAL_KEYS": str(world.settings.keys),
        "PORTAL_ALLOW_PRIVATE_NETWORKS": "true",
        "PYTHONPATH": str(ROOT),
    }
    script = f'set -eu\nportal() {{ "{sys.executable}" -m portal "$@"; }}\n{commands}'
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (commands, done.stdout, done.stderr)
    return done.stdout


def database_of(world: World) -> Database:
    store = world.running.portal.store
    assert isinstance(store, SQLiteStore | MongoStore)
    return store


async def use(world: World) -> None:
    """A user, and a tenant of the database with its event."""
    await world.quick_sign_in(world.browser(), "acme")
    tenants = database_of(world).tenants
    assert await tenants.add_tenant(new_tenant("hooli"), event=new_event("made"))
    revision = new_revision(1, "hooli")
    assert await tenants.publish(revision, replaces=0, draft=None, event=new_event("published"))


async def use_further(world: World) -> None:
    """Spend the refresh token of the copy, and publish what is not in it."""
    (browser,) = world.browsers
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    tenants = database_of(world).tenants
    assert await tenants.publish(new_revision(2, "hooli"), replaces=1, draft=None, event=new_event("late"))


async def check_restored(world: World, served: PortalProcess) -> None:
    """All but sign-ins is there, as it was; the copied refresh token is not sent."""
    refreshed = world.acme.requests["refresh"]
    (browser,) = world.browsers
    await served.start()
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    assert world.acme.requests["refresh"] == refreshed
    store = database_of(world)
    await store.open()
    assert await store.tenants.list_revisions("hooli", before=None, most=9) == [new_revision(1, "hooli")]
    assert {event.kind for event in await store.tenants.list_events(tenant="initech")} == {
        "made",
        "published",
    }


async def stop(world: World, served: PortalProcess) -> None:
    await served.stop()
    await world.running.portal.store.close()


@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=240)
async def test_a_sqlite_database_is_restored_by_the_book(tmp_path: Path) -> None:
    folders = {"/var/lib/portal": tmp_path / "portal", "/backup": tmp_path / "backup"}
    for folder in folders.values():
        folder.mkdir()
    database = f"sqlite:///{folders['/var/lib/portal']}/portal.db"
    async with world_outside(tmp_path, database=database) as (world, served):
        await use(world)
        follow("SQLite: back up", world, folders)
        await use_further(world)
        await stop(world, served)
        assert "Deleted" in follow("SQLite: restore, while no portal runs", world, folders)
        await check_restored(world, served)


@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=240)
async def test_a_mongodb_folder_is_restored_by_the_book(tmp_path: Path) -> None:
    folders = {"/var/lib/mongodb": tmp_path / "mongodb", "/backup": tmp_path / "backup"}
    folders["/backup"].mkdir()
    server = MongoTestServer(folders["/var/lib/mongodb"])
    server.start()
    try:
        async with world_outside(tmp_path, database=f"{server.uri}/portal") as (world, served):
            await use(world)
            await stop(world, served)
            server.terminate()
            follow("MongoDB: copy the folder of a stopped server", world, folders)
            server.start()
            await served.start()
            await world.running.portal.store.open()
            await use_further(world)
            await stop(world, served)
            server.terminate()
            follow("MongoDB: restore the folder, while neither server nor portal runs", world, folders)
            server.start()
            last = "MongoDB: restore with mongorestore, while no portal runs"
            assert book(last).splitlines()[-1] == "portal store restored --yes"
            follow_last(last, world)
            await check_restored(world, served)
    finally:
        server.terminate()


def follow_last(title: str, world: World) -> None:
    """Execute the last command of the book with this title."""
    done = subprocess.run(
        [sys.executable, "-m", *book(title).splitlines()[-1].split()],
        env={
            **os.environ,
            "PORTAL_DATABASE": world.settings.database,
            "PORTAL_KEYS": str(world.settings.keys),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    shutil.which("mongodump") is None or "PORTAL_TEST_MONGODB_URI" not in os.environ,
    reason="needs mongodump, and a MongoDB server in PORTAL_TEST_MONGODB_URI: the test server knows neither",
)
@pytest.mark.timeout(300)
@pytest.mark.gen_test(timeout=240)
async def test_a_mongodb_dump_is_restored_by_the_book(tmp_path: Path) -> None:
    folders = {"/backup": tmp_path / "backup"}
    folders["/backup"].mkdir()
    with fresh_database(os.environ["PORTAL_TEST_MONGODB_URI"]) as database:
        async with world_outside(tmp_path, database=database) as (world, served):
            await use(world)
            follow("MongoDB: back up with mongodump", world, folders)
            await use_further(world)
            await stop(world, served)
            follow("MongoDB: restore with mongorestore, while no portal runs", world, folders)
            await check_restored(world, served)
