"""The protocol of systemd: which sockets are taken, and what is told."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from portal.errors import StartupError
from portal.ops import service_manager
from portal.ops.service_manager import PassedSockets, ServiceManager, passed_sockets

OWN = str(os.getpid())


@contextlib.contextmanager
def passing(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> Iterator[dict[str, str]]:
    """Descriptors as systemd passes them, at other numbers; yields the variables without names."""
    with contextlib.ExitStack() as stack:
        numbers = []
        for kind in kinds:
            read, write = os.pipe()
            stack.callback(os.close, write)
            if kind == "pipe":
                stack.callback(os.close, read)
                numbers.append(read)
                continue
            os.close(read)
            type_ = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
            one = socket.socket(socket.AF_INET, type_)
            one.bind(("127.0.0.1", 0))
            if kind == "listening":
                one.listen()
            numbers.append(one.detach())
        first = min(numbers, default=3)
        assert numbers == list(range(first, first + len(numbers))), "the system gives the lowest free numbers"
        monkeypatch.setattr(service_manager, "_FIRST_DESCRIPTOR", first)
        yield {"LISTEN_PID": OWN, "LISTEN_FDS": str(len(kinds)), "HOME": "/"}


def close(found: PassedSockets) -> None:
    for one in (*found.listen, *found.metrics_listen):
        one.close()


def test_sockets_are_found_by_the_names_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with passing(monkeypatch, "listening") as environ:
        environ["LISTEN_FDNAMES"] = "metrics_listen"
        found = passed_sockets(environ)
        assert (len(found.listen), len(found.metrics_listen)) == (0, 1)
        assert not found.metrics_listen[0].getblocking()
        assert not found.metrics_listen[0].get_inheritable()
        assert environ == {"HOME": "/"}
        close(found)


def test_a_socket_without_a_name_is_for_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    with passing(monkeypatch, "listening") as environ:
        found = passed_sockets(environ)
        assert (len(found.listen), len(found.metrics_listen)) == (1, 0)
        close(found)


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": OWN}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}])
def test_descriptors_for_nobody_or_another_process_are_not_taken(environ: dict[str, str]) -> None:
    assert passed_sockets(environ) == PassedSockets()
    assert environ == {}


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("pipe", "listen", "is no socket"),
        ("datagram", "listen", "does not accept connections|is no socket"),
        ("bound", "listen", "does not accept connections"),
        ("listening", "portal.socket", "has another name"),
        ("listening", "listen:listen", "has 2 names for 1 descriptors"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, message: str
) -> None:
    with passing(monkeypatch, kind) as environ, pytest.raises(StartupError, match=message) as refused:
        passed_sockets({**environ, "LISTEN_FDNAMES": name})
    assert "FileDescriptorName=listen" in refused.value.remedy


@pytest.mark.parametrize("count", ["-1", "x", "", "99999", "١"])
def test_a_count_that_is_no_number_is_an_error(count: str) -> None:
    with pytest.raises(StartupError, match="not a number of descriptors"):
        passed_sockets({"LISTEN_PID": OWN, "LISTEN_FDS": count})


@pytest.mark.parametrize("abstract", [False, True])
def test_every_state_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    address = f"@portal-test-{OWN}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(f"\0{address[1:]}" if abstract else address)
        receiving.settimeout(30)
        environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
        manager = ServiceManager.from_environment(environ)
        assert environ == {"HOME": "/"}
        assert manager.beat_seconds is None
        for tell in (manager.serving, manager.stopping, manager.alive, manager.reloading):
            tell()
        told = [receiving.recv(4096).decode() for _ in range(4)]
    assert told[:3] == ["READY=1", "STOPPING=1", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_nobody_is_told_without_a_service_manager() -> None:
    with structlog.testing.capture_logs() as logged:
        ServiceManager.from_environment({}).serving()
    assert logged == []


def test_a_service_manager_that_is_gone_is_reported(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        ServiceManager(str(tmp_path / "gone")).serving()
    assert [(line["event"], line["state"]) for line in logged] == [("service_manager_not_told", "READY=1")]


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": OWN}, 15.0),
        ({"WATCHDOG_USEC": "60000000"}, 15.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_sent_four_times_within_the_time_of_the_watchdog(
    variables: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager.from_environment({"NOTIFY_SOCKET": "/x", **variables}).beat_seconds == seconds


def test_a_time_of_the_watchdog_that_is_no_number_is_an_error() -> None:
    with pytest.raises(StartupError, match="WATCHDOG_USEC"):
        ServiceManager.from_environment({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1s"})
