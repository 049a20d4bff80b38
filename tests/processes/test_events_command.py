"""`portal events --follow` as a process: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind
from portal.clock import now
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Event
from tests.kit.raw import PATIENCE

_ROOT = Path(__file__).resolve().parents[2]


def event(subject: str, *, ago: float = 0.0) -> Event:
    act = Act(Actor(ActorType.USER, subject, "https://id.acme.example"))
    return act.event(EventKind.SIGNED_IN, tenant="acme", at=round(now() - ago, 3))


def store_in(path: Path, stored: Event) -> None:
    async def work() -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.tenants.add_events([stored])
        await store.close()

    asyncio.run(work())


def test_follow_prints_new_events_once_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """Also an event that is stored after one that happened, or seems to have happened, later."""
    path = tmp_path / "portal.db"
    store_in(path, event("old", ago=7200))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "portal", "events", "--follow", "--json", "--since", "1h"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "PORTAL_DATABASE": f"sqlite:///{path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        steps = (("new", 0.0), ("late", 5.0), ("future", -7200.0), ("last", 0.0))
        for subject, ago in steps:  # the clock of a host was ahead for a while
            store_in(path, event(subject, ago=ago))
            assert json.loads(process.stdout.readline())["actor"]["subject"] == subject
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert (out, err.strip()) == ("", "")
