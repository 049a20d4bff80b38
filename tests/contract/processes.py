"""Other portal processes on the same database; `python -m tests.contract.processes URL` is one.

It reads JSON commands from its standard input, one per line, and responds to each with one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from portal.stores.store import Store
from portal.stores.tenant_store import Database
from tests.contract.entries import new_event, new_login, new_revision, new_tenant
from tests.contract.patience import patient_store

_ROOT = Path(__file__).parent.parent.parent
_HEAD_START = 0.01


@contextlib.asynccontextmanager
async def other_process(*arguments: str) -> AsyncIterator[Process]:
    """Run this file as another process, which is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.processes", *arguments, stdin=PIPE, stdout=PIPE, cwd=_ROOT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        with contextlib.suppress(ConnectionError):
            process.stdin.close()  # type: ignore[union-attr]
            await process.stdin.wait_closed()  # type: ignore[union-attr]


class Competitor:
    """Another process that performs one operation on the database per command."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, url: str) -> AsyncIterator[Competitor]:
        async with other_process("compete", url) as process:
            competitor = cls(process)
            assert await competitor._read_response() == "ready"
            yield competitor

    async def compete(self, what: str, key: str, *, version: int = 0) -> bool:
        """Perform an operation at an agreed time; return whether this process succeeded."""
        assert self._process.stdin is not None
        command = {"what": what, "key": key, "version": version, "at": time.time() + _HEAD_START}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return bool(await self._read_response())

    async def _read_response(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the other process ended")
        return json.loads(line)


def _print(response: object) -> None:
    print(json.dumps(response), flush=True)


async def _compete(store: Store) -> None:
    _print("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        key, version = command["key"], command["version"]
        while time.time() < command["at"]:
            pass
        won: object
        if command["what"] == "take":
            won = await store.take_attempt(key, tenant="acme", binding_hash="b" * 64, now=0.0)
        elif command["what"] == "lease":
            won = await store.acquire_lease(key, owner=str(os.getpid()), seconds=60)
        elif command["what"] == "once":
            now = round(command["at"], 3)
            won = await store.remember_once(key, expires_at=now + 60, now=now)
        else:
            newer = new_login(key.partition(":")[0], tokens=str(os.getpid()), version=version + 1)
            won = await store.swap_login(newer, expected_version=version)
        _print(bool(won))


async def _write(store: Store) -> None:
    """Store versions 1, 2, 3 … of a login, and print each when it is stored, until killed."""
    login = new_login("s" * 22)
    version = 0
    while True:
        version += 1
        await store.put_login(replace(login, version=version, tokens=str(version) * 1000))
        _print(version)


async def _publish(store: Database) -> None:
    """Publish revisions 1, 2, 3 … of a tenant, and print each when it is live, until killed."""
    await store.tenants.add_tenant(new_tenant(), event=new_event())
    for number in itertools.count(1):
        revision = new_revision(number, content=str(number) * 1000)
        event = new_event(target=f"revision {number}")
        assert await store.tenants.publish(revision, replaces=number - 1, draft=None, event=event)
        _print(number)


async def _write_together(store: Store) -> None:
    """Store logins, forty at a time, and print number and size of each when it is stored, until killed."""
    numbers = itertools.count()

    async def write() -> None:
        for number in numbers:
            size = number % 5_000
            await store.put_login(new_login("s" * 22, tenant=f"tenant{number}", tokens="t" * size))
            print(number, size, flush=True)

    await asyncio.gather(*(write() for _ in range(40)))


async def _main(role: str, url: str) -> None:
    store = patient_store(url)
    await store.open()
    if role == "leave":
        return  # without closing
    roles = {
        "compete": _compete,
        "publish": _publish,
        "write": _write,
        "write_together": _write_together,
    }
    await roles[role](store)
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
