"""Workers share the connections of clients. How evenly: tests/unit/web/test_server.py."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.processes import world_outside

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(stack: contextlib.ExitStack, port: int) -> socket.socket:
    client = stack.enter_context(socket.create_connection(("localhost", port), timeout=10))
    client.sendall(GET)
    return client


@pytest.mark.gen_test
async def test_the_other_worker_accepts_what_a_stopped_one_does_not(tmp_path: Path) -> None:
    async with world_outside(tmp_path, processes=2) as (world, portal):
        with contextlib.ExitStack() as stack:
            halted = portal.workers[0]
            stack.callback(os.kill, halted, signal.SIGCONT)
            os.kill(halted, signal.SIGSTOP)
            for _ in range(10):
                assert connect(stack, urlsplit(world.url).port or 0).recv(12) == b"HTTP/1.1 200"
