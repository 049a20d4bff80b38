"""Connections that are closed, and failover to another server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from portal.errors import StoreUnavailable
from portal.stores.mongo.store import MongoStore
from tests.contract.entries import NOW, new_login, new_session
from tests.contract.patience import patient_url
from tests.mongodb import MongoTestServer, fresh_database


class Relay:
    """Forwards connections to a server until `cut` closes them."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers |= {writer, to_writer}
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as url:
        yield url


@pytest.mark.gen_test(timeout=60)
async def test_every_read_survives_a_closed_connection(url: str) -> None:
    port = int(url.split("/")[2].rpartition(":")[2])
    relay = Relay(port)
    session, login = new_session(), new_login()
    async with relay.listen() as here:
        store = MongoStore(patient_url(url.replace(f":{port}", f":{here}")))
        await store.open()
        await store.add_session(session)
        await store.put_login(login)
        for _ in range(3):
            relay.cut()
            found = await store.read([session.id], [login.id], now=NOW)
            assert found == ({session.id: session}, {login.id: login})
        relay.cut()
        assert await store.list_logins(login.session, now=NOW) == [login]
        relay.cut()
        assert not await store.is_remembered("key", now=NOW)
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_indexes_are_created_on_a_new_primary_without_them(tmp_path: Path) -> None:
    server = MongoTestServer(tmp_path / "mongodb")
    server.start()
    store = MongoStore(
        f"{server.uri}/portal?timeoutMS=5000&serverSelectionTimeoutMS=5000&heartbeatFrequencyMS=500"
    )
    await store.open()
    server.terminate()
    shutil.rmtree(tmp_path / "mongodb")
    (tmp_path / "mongodb").mkdir()
    server.start()
    give_up = asyncio.get_running_loop().time() + 30
    with MongoClient[Any](server.uri) as client:
        while "secret_hash_1" not in client["portal"]["sessions"].index_information():
            assert asyncio.get_running_loop().time() < give_up
            with contextlib.suppress(StoreUnavailable):
                await store.maintain()
            await asyncio.sleep(0.05)
        assert "expires_at_1" in client["portal"]["once"].index_information()
    await store.close()
    server.terminate()
