"""Workers share the connections of clients."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.processes import open_sockets, world_outside

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(stack: contextlib.ExitStack, port: int) -> socket.socket:
    client = stack.enter_context(socket.create_connection(("localhost", port), timeout=10))
    client.sendall(GET)
    return client


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.gen_test
async def test_no_worker_gets_more_than_60_percent_of_the_connections(tmp_path: Path, at_once: bool) -> None:
    async with world_outside(tmp_path, processes=2) as (world, portal):
        port = urlsplit(world.url).port or 0
        with contextlib.ExitStack() as stack:
            before = [open_sockets(worker) for worker in portal.workers]
            clients = []
            for _ in range(32):
                clients.append(connect(stack, port))
                if not at_once:
                    assert clients[-1].recv(12) == b"HTTP/1.1 200"
            for client in clients:
                assert not at_once or client.recv(12) == b"HTTP/1.1 200"
            after = [open_sockets(worker) for worker in portal.workers]
        new = [late - early for late, early in zip(after, before, strict=True)]
        assert sum(new) >= 32
        assert max(new) <= 0.6 * sum(new), new


@pytest.mark.gen_test
async def test_the_other_worker_accepts_what_a_stopped_one_does_not(tmp_path: Path) -> None:
    async with world_outside(tmp_path, processes=2) as (world, portal):
        with contextlib.ExitStack() as stack:
            halted = portal.workers[0]
            stack.callback(os.kill, halted, signal.SIGCONT)
            os.kill(halted, signal.SIGSTOP)
            for _ in range(10):
                assert connect(stack, urlsplit(world.url).port or 0).recv(12) == b"HTTP/1.1 200"
