"""A rejected tenant file is one log line, written by one of several worker processes."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.integration.child import eventually
from tests.integration.served import ServedPortal, served_portal
from tests.unit.tenancy.files import ACME

WORKERS = 3
BAD = ACME.replace("issuer:", "isuer:")


def rejected(portal: ServedPortal) -> list[str]:
    return [str(line["file"]) for line in portal.logged("tenant_file_rejected")]


def has_workers(portal: ServedPortal, count: int) -> bool:
    return len(portal.workers) >= count


async def reloaded(portal: ServedPortal, tenants: Path, times: int) -> None:
    """Make all workers read the files, and wait until all have published the change of one more tenant."""
    path = tenants / f"more-{times}.yaml"
    path.write_text(ACME.replace("name: Acme", f"name: More {times}").replace("id: portal", f"id: p{times}"))
    portal.child.signal(signal.SIGHUP)

    def seen() -> int:
        return len([line for line in portal.logged("tenant_added") if line["tenant"] == f"more-{times}"])

    await eventually(lambda: seen() == WORKERS, "all workers have read the files")


@pytest.mark.gen_test(timeout=90)
async def test_one_worker_reports_a_rejected_file_and_another_one_after_its_end(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=WORKERS) as portal:
        portal.configure({"acme": ACME, "early": BAD}, {"ACME_SECRET": "secret"})
        await portal.start()
        assert rejected(portal) == ["early.yaml"], "at the start"

        tenants = tmp_path / "tenants"
        (tenants / "late.yaml").write_text(BAD)
        await reloaded(portal, tenants, 1)
        assert rejected(portal) == ["early.yaml", "late.yaml"]

        for pid in portal.workers[:WORKERS]:  # whichever reports
            served = len(portal.workers) + 1
            os.kill(pid, signal.SIGKILL)
            await eventually(partial(has_workers, portal, served), "the worker is replaced")
        before = len(rejected(portal))
        (tenants / "last.yaml").write_text(BAD)
        await reloaded(portal, tenants, 2)
        assert rejected(portal)[before:] == ["last.yaml"]

        (tenants / "last.yaml").unlink()
        await reloaded(portal, tenants, 3)
        assert [line["file"] for line in portal.logged("tenant_file_accepted")] == ["last.yaml"]
