"""Workers that share memory: a process reads what a forked one wrote, and portals share what fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portal.app import running
from portal.errors import PortalError
from portal.oidc import provider_health
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.shared_health import NoNotes
from portal.ops.worker_memory import WorkersMemory
from portal.ops.worker_notes import WorkerNotes
from tests.kit.raw import until
from tests.kit.world import world


def test_a_forked_process_writes_what_its_parent_reads() -> None:
    notes = WorkerNotes(2)
    child = os.fork()
    if not child:
        notes.of(1).write(b"of the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert list(notes.of(0).others()) == [b"of the child"]


@pytest.mark.gen_test
async def test_a_worker_warns_of_a_provider_that_fails_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "UNHEALTHY_SECONDS", 0.0)
    monkeypatch.setattr(provider_health, "_CHECK_SECONDS", 0.05)
    memory = WorkersMemory(2)
    async with world(tmp_path) as found:
        settings = found.running.portal.settings
        async with (
            running(settings, sockets=[], memory=memory.of(0)) as first,
            running(settings, sockets=[], memory=memory.of(1)) as second,
        ):
            tenant = first.portal.registry.get("acme")
            assert tenant is not None
            provider = tenant.default_provider

            async def refuse() -> None:
                raise ProviderUnavailable("down")

            for _ in range(provider_health.UNHEALTHY_FAILURES):
                with pytest.raises(PortalError):
                    await first.portal.admin.health.record(provider, refuse())
            await until(lambda: second.portal.admin.health.is_unhealthy(provider), "no warning")
            memory.of(0).end()
            first.portal.admin.health.others = NoNotes()
            await until(lambda: not second.portal.admin.health.is_unhealthy(provider), "still a warning")
