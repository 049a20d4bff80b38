"""THREATS T9 and S10: the folder of tenant files is lost while several processes serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.child import ROOT, eventually
from tests.integration.served import ServedPortal, served_portal
from tests.unit.tenancy.files import ACME

_TENANTS = ("acme", "globex", "initech", "umbrella")


async def _ready(portal: ServedPortal) -> dict[str, object]:
    response = await portal.browser().open(portal.at("/readyz"))
    assert response.status == 200
    found: dict[str, object] = json.loads(response.text)
    return found


async def _reload(folder: Path, *options: str) -> str:
    command = ("-m", "portal", "tenant", "reload", "--config", str(folder / "portal.yaml"), *options)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.gen_test(timeout=90)
async def test_a_lost_folder_keeps_tenants_live_and_one_confirmation_covers_all_processes(
    tmp_path: Path,
) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure(dict.fromkeys(_TENANTS, ACME), {"ACME_SECRET": "secret"})
        await portal.start()
        folder, kept = tmp_path / "tenants", tmp_path / "kept"
        folder.rename(kept)
        folder.mkdir()
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: len(portal.logged("tenants_lost")) == 2, "both processes notice")
        ready = await _ready(portal)
        assert (ready["tenants"], ready["tenants_without_file"]) == (4, 4)
        assert (await portal.browser().open(portal.at("/t/acme/signed-out"))).status == 200

        os.kill(portal.workers[0], signal.SIGKILL)
        await eventually(lambda: portal.logged("process_failed"), "a worker refuses to start without them")
        assert str(portal.logged("process_failed")[0]["detail"]).startswith("The files of 4 of 4 tenants")
        assert (await portal.browser().open(portal.at("/t/acme/signed-out"))).status == 200

        for slug in _TENANTS:
            (kept / f"{slug}.yaml").rename(folder / f"{slug}.yaml")
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("tenants_lost_no_more"), "the files are back")
        await eventually(lambda: len(portal.workers) == 3, "a new process")
        assert (await _ready(portal))["tenants_without_file"] == 0

        for slug in ("acme", "globex", "initech"):
            (folder / f"{slug}.yaml").unlink()
        portal.child.signal(signal.SIGHUP)
        await eventually(
            lambda: len(portal.logged("tenants_lost")) == 4, "both processes suspend the removal"
        )
        assert "Served without a file, or just removed: acme, globex, initech." in await _reload(tmp_path)
        assert len(portal.logged("tenant_removed")) == 0
        assert "remove tenants without a file within seconds" in await _reload(tmp_path, "--accept-removals")
        await eventually(lambda: len(portal.logged("tenant_removed")) == 6, "both processes remove three")
        ready = await _ready(portal)
        assert (ready["tenants"], ready["tenants_without_file"]) == (1, 0)
        assert (await portal.browser().open(portal.at("/t/acme/signed-out"))).status == 404
        assert (await portal.browser().open(portal.at("/t/umbrella/signed-out"))).status == 200
        assert await portal.stop() == 0
