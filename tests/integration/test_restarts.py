"""Restarts without an interruption: changed settings, a new version beside the old one, systemd's sockets."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.busy_client import BusyClient
from tests.integration.child import eventually as eventually_within
from tests.integration.served import ServedPortal, served_portal
from tests.unit.tenancy.files import ACME

pytestmark = pytest.mark.timeout(600)  # several processes start, and a busy machine is slow
eventually = partial(eventually_within, seconds=240.0)
PASS_ON = """
import os, sys
for number, descriptor in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(descriptor, number)  # the test passes descriptors above these
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does before it executes a service: numbers descriptors from 3, and says for whom they are."""


@contextlib.asynccontextmanager
async def load(port: int, clients: int = 8) -> AsyncIterator[list[BusyClient]]:
    """Send requests while the block runs; at the end each of them must have had its response."""
    busy = [BusyClient(port, keep_alive=number % 2 == 0) for number in range(clients)]
    running = [asyncio.create_task(client.run()) for client in busy]
    try:
        await responses_to_all(busy)
        yield busy
        await responses_to_all(busy)
    finally:
        for client in busy:
            client.stop()
        ends = await asyncio.gather(*running)
    assert ends == ["stopped"] * clients


async def responses_to_all(busy: list[BusyClient]) -> None:
    before = [client.responses for client in busy]
    await eventually(
        lambda: all(client.responses > count for client, count in zip(busy, before, strict=True)),
        "another response for each client",
    )


async def page(portal: ServedPortal, path: str = "/") -> str:
    return (await portal.browser().open(portal.at(path))).text


# --- SIGHUP


@pytest.mark.gen_test(timeout=600)
async def test_S10_changed_settings_replace_four_workers_under_load_and_fail_no_request(
    tmp_path: Path,
) -> None:
    async with served_portal(tmp_path, processes=4) as portal:
        portal.configure({}, {})
        await portal.start()
        former = portal.workers
        assert len(former) == 4
        async with load(portal.port):
            portal.write_settings(
                product={"name": "Initech Sign-in"}, log={"format": "json", "level": "debug"}
            )
            portal.child.signal(signal.SIGHUP)
            await eventually(
                lambda: len(portal.logged("process_replaced")) == 4, "all have ended", seconds=90
            )
        assert {line["pid"] for line in portal.logged("process_replaced")} == set(former)
        assert [line["exit_code"] for line in portal.logged("process_replaced")] == [0] * 4
        (changed,) = portal.logged("settings_changed")
        assert changed["keys"] == ["log", "product"]
        assert len(portal.workers) == 8
        assert "Initech Sign-in" in await page(portal)
        assert await portal.stop() == 0


@pytest.mark.gen_test(timeout=600)
async def test_S10_a_broken_settings_file_changes_nothing_and_is_reported_with_its_place(
    tmp_path: Path,
) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        await portal.start()
        serving, path = portal.workers, tmp_path / "portal.yaml"
        good = path.read_text()
        path.write_text("chooser: lst\n" + good)
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("settings_rejected"), "the rejection")
        (rejected,) = portal.logged("settings_rejected")
        assert str(rejected["problems"][0]).startswith(f"{path}:1:10: chooser is ")  # type: ignore[index]

        path.write_text(good)
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("settings_unchanged"), "the same settings")
        assert portal.workers == serving
        assert await portal.stop() == 0


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.gen_test(timeout=600)
async def test_S10_a_setting_that_needs_a_restart_is_reported_and_not_used(
    tmp_path: Path, processes: int
) -> None:
    async with served_portal(tmp_path, processes=processes) as portal:
        portal.configure({}, {})
        await portal.start()
        portal.write_settings(listen="127.0.0.1:1", tenants="./other")
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("settings_need_restart"), "the line")
        assert portal.logged("settings_need_restart")[0]["keys"] == ["listen", "tenants"]
        assert portal.accepts_connections()
        assert len(portal.workers) == processes
        assert await portal.stop() == 0


@pytest.mark.gen_test(timeout=600)
async def test_S10_one_process_alone_reports_that_every_changed_setting_needs_a_restart(
    tmp_path: Path,
) -> None:
    async with served_portal(tmp_path) as portal:
        portal.configure({}, {})
        await portal.start()
        portal.write_settings(chooser="list")
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("settings_need_restart"), "the line")
        assert portal.logged("settings_need_restart")[0]["keys"] == ["chooser"]
        assert await portal.stop() == 0


@pytest.mark.gen_test(timeout=600)
async def test_S10_workers_that_cannot_serve_with_new_settings_replace_none(tmp_path: Path) -> None:
    """An invalid tenant file: the workers still serve its last valid version, new ones could not."""
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({"acme": ACME}, {"ACME_SECRET": "secret"})
        await portal.start()
        serving, tenant = portal.workers, tmp_path / "tenants" / "acme.yaml"
        tenant.write_text(ACME.replace("issuer:", "isuer:"))
        await eventually(lambda: portal.logged("tenant_file_rejected"), "the file is rejected")
        portal.write_settings(chooser="list")
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: portal.logged("reload_failed"), "the failure")
        assert "acme" in str(portal.logged("process_failed")[0]["detail"])
        assert portal.workers == serving
        assert (await portal.browser().open(portal.at("/t/acme/signed-out"))).status == 200

        tenant.write_text(ACME)
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: len(portal.logged("process_replaced")) == 2, "the former ones have ended")
        assert "Acme" in await page(portal)
        assert await portal.stop() == 0


@pytest.mark.gen_test(timeout=600)
async def test_S10_the_log_of_the_supervisor_changes_with_that_of_the_workers(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        await portal.start()
        portal.write_settings(log={"format": "console", "level": "info"})
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: "] processes_replaced" in portal.child.errors, "the end, for people")

        portal.write_settings(
            log={"format": "json", "level": "info"}, front_ends={"app": {"path": "/app", "directory": "./no"}}
        )
        portal.child.signal(signal.SIGHUP)
        await eventually(lambda: "] reload_failed" in portal.child.errors, "the failure, for people")
        assert portal.logged("process_failed")
        assert await portal.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which signals a process blocks")
@pytest.mark.parametrize(("processes", "event"), [(1, "settings_need_restart"), (2, "settings_changed")])
@pytest.mark.gen_test(timeout=600)
async def test_S10_a_SIGHUP_during_the_start_has_its_effect(
    tmp_path: Path, processes: int, event: str
) -> None:
    async with served_portal(tmp_path, processes=processes) as portal:
        portal.configure({}, {})
        starting = asyncio.create_task(portal.start())
        await eventually(lambda: portal.has_child and _blocks_hang_ups(portal.child.pid), "signals wait")
        portal.write_settings(chooser="list")
        portal.child.signal(signal.SIGHUP)
        await starting
        await eventually(lambda: portal.logged(event), "the effect")
        assert portal.logged(event)[0]["keys"] == ["chooser"]
        assert await portal.stop() == 0


def _blocks_hang_ups(pid: int) -> bool:
    """Whether a process lets SIGHUP wait, and has read its settings by now."""
    (blocked,) = re.findall(r"^SigBlk:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    held = bool(int(blocked, 16) & 1 << (signal.SIGHUP - 1))
    return held and "socket:" in " ".join(_open_files(pid))


def _open_files(pid: int) -> Iterator[str]:
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(one)


# --- a new version beside the old one


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.gen_test(timeout=600)
async def test_S10_another_portal_takes_over_under_load_and_no_request_fails(
    tmp_path: Path, processes: int
) -> None:
    async with served_portal(tmp_path, processes=processes) as old:
        old.configure({}, {})
        await old.start()
        refused = old.successor()
        with pytest.raises(AssertionError, match="ended with 3"):
            await refused.start(name="refused")
        assert f"127.0.0.1:{old.port} is in use" in refused.child.errors

        new = old.successor()
        try:
            async with load(old.port) as clients:
                await new.start("--take-over", name="new")
                assert await old.stop() == 0
                await responses_to_all(clients)
            assert await new.stop() == 0
        finally:
            new.close()
        assert not old.accepts_connections()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.gen_test(timeout=600)
async def test_S10_a_socket_file_is_that_of_the_old_portal_again_when_the_new_one_is_stopped(
    tmp_path: Path, processes: int
) -> None:
    path = tmp_path / "portal.sock"
    async with served_portal(tmp_path, processes=processes) as old:
        old.configure({}, {})
        old.write_settings(listen=f"unix:{path}")
        await old.start()
        new = old.successor()
        try:
            await new.start("--take-over", name="new")
            assert await new.stop() == 0
        finally:
            new.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        assert [one.name for one in tmp_path.glob("portal.sock*")] == ["portal.sock"]
        assert await old.stop() == 0


# --- systemd


@contextlib.contextmanager
def notifications(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a service manager, and what it was told (sd_notify(3))."""
    address, told = str(folder / "notify"), list[str]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(address)
        receiving.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(receiving, lambda: told.extend(receiving.recv(4096).decode().split("\n")))
        try:
            yield address, told
        finally:
            loop.remove_reader(receiving)


class Activated:
    """What systemd passes: a listening socket for each setting, which stay open in this process."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        self.ports = [int(one.getsockname()[1]) for one in sockets]
        # above the numbers that they get in the portal
        self._passed = [_number_above(10, one, stack) for one in sockets]

    async def start(self, portal: ServedPortal, name: str, **variables: str) -> None:
        await portal.start(
            name=name,
            through=(sys.executable, "-c", PASS_ON, ",".join(map(str, self._passed))),
            environment={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "listen:metrics_listen", **variables},
            passed=self._passed,
        )


def _number_above(least: int, one: socket.socket, stack: contextlib.ExitStack) -> int:
    number = fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, least)
    stack.callback(os.close, number)
    return number


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.gen_test(timeout=600)
async def test_S10_portals_serve_the_sockets_of_systemd_one_after_the_other(
    tmp_path: Path, processes: int
) -> None:
    async with served_portal(tmp_path, processes=processes) as old:
        old.configure({}, {})
        old.write_settings(listen="127.0.0.1:1")
        with contextlib.ExitStack() as stack:
            activated = Activated(stack)
            port, metrics_port = activated.ports
            address, told = stack.enter_context(notifications(tmp_path))
            variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
            await activated.start(old, "old", **variables)
            await eventually(lambda: "READY=1" in told, "READY=1")
            await eventually(lambda: told.count("WATCHDOG=1") >= 3, "signs of life")
            assert old.logged("serving")[0]["listen"] == [f"127.0.0.1:{port}"]
            metrics = (await old.browser().open(f"http://127.0.0.1:{metrics_port}/metrics")).text
            for name in ("portal_connections", "portal_event_loop_lag", "portal_store_operation_duration"):
                assert name in metrics, "counted as with `metrics_listen` in the settings"
            old.child.signal(signal.SIGHUP)
            event = "settings_unchanged" if processes > 1 else "reloading_tenant_files"
            await eventually(lambda: old.logged(event), "nothing has changed")
            assert not old.logged("settings_need_restart")

            new = old.successor()
            stack.callback(new.close)
            async with load(port) as clients:
                await activated.start(new, "new")
                assert await old.stop() == 0
                await responses_to_all(clients)
            assert told.index("STOPPING=1") > told.index("READY=1")
            assert await new.stop() == 0

            # nobody serves: a connection waits, and the next portal accepts it
            client = BusyClient(port, keep_alive=False)
            waiting = asyncio.create_task(client.run())
            third = old.successor()
            stack.callback(third.close)
            await activated.start(third, "third")
            await eventually(lambda: client.responses, "a response to who waited")
            client.stop()
            assert await waiting == "stopped"
            assert await third.stop() == 0


@pytest.mark.gen_test(timeout=600)
async def test_S10_systemd_is_told_about_a_reload(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        with notifications(tmp_path) as (address, told):
            await portal.start(environment={"NOTIFY_SOCKET": address})
            await eventually(lambda: told == ["READY=1"], "READY=1")
            portal.write_settings(chooser="list")
            portal.child.signal(signal.SIGHUP)
            await eventually(lambda: told.count("READY=1") == 2, "READY=1 again")
            assert told[1] == "RELOADING=1"
            assert int(told[2].removeprefix("MONOTONIC_USEC=")) > 0
            assert portal.logged("processes_replaced")
            assert await portal.stop() == 0
            assert told[-1] == "STOPPING=1"
