"""`portal serve` with a wrong configuration or environment: one clear message and the right exit code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from portal.keys.key_ring import KeyRing

ROOT = Path(__file__).resolve().parents[2]
ACME = """\
name: Acme Corporation
issuer: https://login.acme.example
client: {id: portal, secret: "${ACME_SECRET}"}
"""
GLOBEX = "name: Globex\nissuer: https://login.globex.example\nclient: {id: portal, auth: none}\n"
START_SECONDS = 60.0
"""Time limit of a failing start, below the start timeout of service managers (systemd: 90 s)."""


class Operator:
    """An operator at a command line, with a folder that has a working configuration."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.processes = processes
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.settings: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "tenants": "./tenants",
            "database": "sqlite:///portal.db",
            "keys": "./keys.json",
            "processes": processes,
            "log": {"format": "json", "level": "info"},
        }
        (folder / "tenants").mkdir()
        (folder / "tenants" / "globex.yaml").write_text(GLOBEX)
        KeyRing.create(folder / "keys.json")

    def write_settings(self, **changes: Any) -> None:
        text = yaml.safe_dump({**self.settings, **changes}, sort_keys=False)
        (self.folder / "portal.yaml").write_text(text)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "portal", "serve", "--config", str(self.folder / "portal.yaml")]

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PORTAL_") and not name.endswith("_SECRET")
        }
        return {**kept, "NO_COLOR": "1"}

    def fails(self) -> tuple[int, list[str]]:
        """Start the portal, which must fail; return its exit code and its output except for the log."""
        done = subprocess.run(
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
        log = [json.loads(line) for line in lines if line.startswith("{")]
        assert [line for line in log if line["event"] in {"serving", "process_died"}] == []
        return done.returncode, [line for line in lines if not line.startswith("{")]

    @contextlib.contextmanager
    def serves(self) -> Iterator[list[dict[str, Any]]]:
        """Start the portal, wait until every process serves, and yield the log so far."""
        with subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            log: list[dict[str, Any]] = []
            try:
                while sum(line["event"] == "serving" for line in log) < self.processes:
                    line = process.stderr.readline()
                    assert line, f"the portal ended: {log}"
                    log.append(json.loads(line))
                yield log
            finally:
                process.send_signal(signal.SIGTERM)
                left = process.stderr.read()
            assert process.wait(START_SECONDS) == 0
            assert "Traceback" not in left


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Operator:
    return Operator(tmp_path, request.param)


@dataclass(frozen=True)
class Mistake:
    """A mistake and the expected output; `{folder}` and `{port}` are those of the operator."""

    make: Callable[[Operator], object]
    code: int
    output: tuple[str, ...]


def _write(name: str, text: str) -> Callable[[Operator], object]:
    return lambda operator: (operator.folder / name).write_text(text)


def _setting(**changes: str) -> Callable[[Operator], object]:
    return lambda operator: operator.write_settings(**changes)


ANOTHER_DATABASE = "set `database` or PORTAL_DATABASE to another."
WRITABLE = f"Give the portal's user write access to the file and its folder, or {ANOTHER_DATABASE}"
MISTAKES = {
    "no settings file": Mistake(
        lambda operator: (operator.folder / "portal.yaml").unlink(),
        2,
        ("{folder}/portal.yaml: there is no such file",),
    ),
    "settings that are not YAML": Mistake(
        _write("portal.yaml", "listen: 127.0.0.1:1\nlog: {format: [json}\n"),
        2,
        ("{folder}/portal.yaml:2:15: the [ that begins here is not closed by ]",),
    ),
    "an unknown setting": Mistake(
        _setting(listn="127.0.0.1:1"),
        2,
        ('{folder}/portal.yaml:9:1: unknown key "listn"; did you mean "listen"?',),
    ),
    "a key ring that others may read": Mistake(
        lambda operator: (operator.folder / "keys.json").chmod(0o644),
        2,
        ("{folder}/keys.json: can be read by others (mode 0644); run `chmod 600 {folder}/keys.json`",),
    ),
    "a key ring that is not one": Mistake(
        _write("keys.json", '{"keys": "none"}'),
        2,
        (
            '{folder}/keys.json: is not a key ring (expected {{"keys": [...]}}); '
            "restore the file from a backup",
        ),
    ),
    "a database that is down": Mistake(
        _setting(database="mongodb://portal:hunter2@127.0.0.1:1/x?tlsCertificateKeyFilePassword=hunter3"),
        3,
        (
            "The database mongodb://127.0.0.1:1/x cannot be used: MongoDB does not respond: "
            "ServerSelectionTimeoutError.",
            f"Start it, or {ANOTHER_DATABASE}",
        ),
    ),
    "a database file that is not a database": Mistake(
        _write("portal.db", "minutes of the last meeting\n" * 100),
        3,
        (
            "The database sqlite:///{folder}/portal.db cannot be used: "
            "the file is not a database (SQLITE_NOTADB).",
            WRITABLE,
        ),
    ),
    "a database file that is a folder": Mistake(
        lambda operator: (operator.folder / "portal.db").mkdir(),
        3,
        (
            "The database sqlite:///{folder}/portal.db cannot be used: "
            "the file cannot be opened (SQLITE_CANTOPEN).",
            WRITABLE,
        ),
    ),
    "no folder of tenants": Mistake(
        _setting(tenants="./nowhere"),
        2,
        (
            "{folder}/nowhere: the folder of tenant files cannot be read: No such file or directory; "
            "create it, or set `tenants` or PORTAL_TENANTS to another folder",
        ),
    ),
    "a socket in no folder": Mistake(
        _setting(listen="unix:/nowhere/portal.sock"),
        3,
        (
            "The address unix:/nowhere/portal.sock cannot be used: there is no folder /nowhere.",
            "Make the folder, or choose another with `listen` or PORTAL_LISTEN.",
        ),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_failed_start_reports_cause_place_and_remedy(operator: Operator, name: str) -> None:
    mistake = MISTAKES[name]
    operator.write_settings()
    mistake.make(operator)
    code, output = operator.fails()
    expected = [line.format(folder=operator.folder, port=operator.port) for line in mistake.output]
    assert (code, output) == (mistake.code, expected)
    assert not any("hunter" in line for line in output)


def test_an_address_in_use_is_reported_and_no_database_is_created(operator: Operator) -> None:
    operator.write_settings()
    with socket.create_server(("127.0.0.1", operator.port)):
        assert operator.fails() == (
            3,
            [
                f"The address 127.0.0.1:{operator.port} is in use.",
                "Stop what listens there, or choose another with `listen` or PORTAL_LISTEN.",
            ],
        )
    assert not (operator.folder / "portal.db").exists()


def test_a_tenant_without_its_secret_does_not_affect_other_tenants(operator: Operator) -> None:
    operator.write_settings()
    (operator.folder / "tenants" / "acme.yaml").write_text(ACME)
    with operator.serves() as log:
        assert {line["tenants"] for line in log if line["event"] == "serving"} == {1}
        (message,) = {
            problem for line in log if line["event"] == "tenant_file_rejected" for problem in line["problems"]
        }
        assert message.startswith(f"{operator.folder}/tenants/acme.yaml:3:30: ")
        assert "ACME_SECRET, which is not set" in message
