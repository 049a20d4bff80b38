"""`portal doctor`: each check fails when what it checks is wrong, and says what to do."""

from __future__ import annotations

import ast
import json
import os
import resource
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.cli import live_report
from portal.cli import main as cli
from portal.cli.doctor import machine
from portal.cli.doctor.database import database_results
from portal.cli.doctor.model import Result
from portal.cli.doctor.proxy import INVENTED_CLIENT, Arrived, judged
from portal.cli.doctor.report import json_report, report_lines
from portal.cli.doctor.tenants import stored_tenants
from portal.config.settings import Settings
from portal.keys.key_ring import KeyRing
from portal.stores.examination import DatabaseFacts, StoredContents
from portal.stores.tenant_records import DomainClaim, Revision, TenantRecord
from portal.tenancy.checks.live.model import CheckResult, Context, Status
from tests.kit.bad_collector import bad_collector
from tests.kit.local_store import opened_once

ACME = """\
name: Acme
preset: keycloak
issuer: https://login.acme.example/realms/acme
client: {id: portal, secret: "file:secret"}
"""
DOCS = Path(__file__).resolve().parents[3] / "docs"
SECRET = "a-secret-that-nobody-may-see"
LIVE = CheckResult("acme", "default", "dns", Status.PASS, "login.acme.example is 203.0.113.7")


class Doctor:
    """A deployment without a problem, in a folder of its own, and `portal doctor` for it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.live = [LIVE]
        self.contexts: list[Context] = []
        self.code = 0

    async def check_live(
        self, contexts: list[Context], *, progress: Callable[[CheckResult], None]
    ) -> list[CheckResult]:
        self.contexts += contexts
        return self.live

    def run(self, *options: str) -> str:
        """What it prints."""
        self.code = cli.main(["doctor", "--config", "portal.yaml", *options])
        printed = self.capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        return printed.out

    def results(self, *options: str) -> list[dict[str, str]]:
        found = json.loads(self.run("--json", "--offline", *options))
        failed = [one for one in found["results"] if one["status"] == "fail"]
        assert found["ok"] is (not failed)
        assert self.code == (1 if failed else 0)
        assert [one for one in failed if not one["advice"]] == []
        results: list[dict[str, str]] = found["results"]
        return results

    def found(self, status: str, *options: str) -> list[tuple[str, str]]:
        """Area and check of the results with a verdict."""
        return [(one["area"], one["check"]) for one in self.results(*options) if one["status"] == status]

    def only(self, status: str) -> str:
        """What was seen by the only check with a verdict."""
        (one,) = [one for one in self.results() if one["status"] == status]
        return one["seen"]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("PORTAL_"):
            monkeypatch.delenv(name)
    Path("portal.yaml").write_text("public_url: https://portal.example\n")
    Path("tenants").mkdir(mode=0o755)
    Path("tenants/acme.yaml").write_text(ACME)
    Path("tenants/secret").write_text(SECRET)
    Path("tenants/secret").chmod(0o600)
    Path("var").mkdir(mode=0o700)
    KeyRing.create(Path("var/keys.json"))
    opened_once("sqlite:///var/portal.db", Path("var/keys.json"))
    made = Doctor(tmp_path, capsys)
    monkeypatch.setattr(live_report, "run_live_checks", made.check_live)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (65_536, 65_536))
    return made


def test_a_sound_deployment_has_no_problem(doctor: Doctor) -> None:
    assert doctor.found("fail") == []
    assert doctor.found("warn") == []
    assert doctor.found("skipped") == [
        ("addresses", "listen"),
        ("proxy", "headers"),
        ("tenants", "live checks"),
    ]
    assert {path.name for path in Path("var").iterdir()} <= {"keys.json", ".keys.json.lock", "portal.db"}


# --- settings


def test_invalid_settings_are_the_only_finding(doctor: Doctor) -> None:
    Path("portal.yaml").write_text("public_url: https://portal.example\nprocesses: many\nkey: x\n")
    assert doctor.found("fail") == [("settings", "settings")] * 2
    assert doctor.found("pass") == []


@pytest.mark.parametrize("text", ["{}", "allow_private_networks: true"])
def test_an_address_of_this_machine_only_is_a_warning(doctor: Doctor, text: str) -> None:
    Path("portal.yaml").write_text(text)
    assert "http://localhost:8080" in doctor.only("warn")


# --- keys


def test_a_key_ring_that_others_can_read_is_a_problem(doctor: Doctor) -> None:
    Path("var/keys.json").chmod(0o644)
    assert doctor.found("fail") == [("keys", "key ring")]


def test_a_missing_key_ring_is_not_checked(doctor: Doctor) -> None:
    Path("var/keys.json").unlink()
    assert ("keys", "key ring") in doctor.found("skipped")


def test_an_old_key_is_a_warning(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OLDEST_KEY", -1)
    assert doctor.found("warn") == [("keys", "key ring")]


def test_a_key_folder_that_is_not_writable_is_a_warning(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path("var"))
    assert doctor.found("warn") == [("keys", "key folder")]
    assert doctor.found("fail") == [("files", "database folder")]


# --- files


@pytest.mark.parametrize(
    ("name", "mode", "status"),
    [
        ("var/portal.db", 0o640, "pass"),
        ("var/portal.db", 0o644, "fail"),
        ("var/portal.db", 0o660, "fail"),
        ("var", 0o777, "fail"),
        ("portal.yaml", 0o666, "fail"),
        ("tenants", 0o777, "fail"),
        ("tenants/acme.yaml", 0o646, "fail"),
        ("tenants/secret", 0o602, "fail"),
        ("tenants/secret", 0o604, "warn"),
        ("var/portal.db-wal", 0o604, "fail"),
        ("tenants", 0o1777, "pass"),
    ],
)
def test_modes_of_files(doctor: Doctor, name: str, mode: int, status: str) -> None:
    Path(name).touch()
    Path(name).chmod(mode)
    found = [one for one in doctor.results() if one["area"] == "files" and name in one["seen"]]
    assert [(one["check"], one["status"]) for one in found] == (
        [("mode", status)] if status != "pass" else []
    )
    for one in found:
        assert os.system(one["advice"].removeprefix("Run: ")) == 0
    assert [one["status"] for one in doctor.results() if one["area"] == "files"] == ["pass"]


def test_a_secret_that_is_mounted_for_a_container_may_be_readable(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("tenants/secret").chmod(0o444)
    assert doctor.found("warn") == [("files", "mode")]
    monkeypatch.setattr(machine, "_MOUNTED_SECRETS", {Path("tenants")})
    assert doctor.found("warn") == []


# --- limits


@pytest.mark.parametrize(
    ("limits", "connections", "status"),
    [
        ((1024, 65_536), None, "pass"),
        ((1024, 1024), None, "warn"),
        ((1024, 1024), 100, "pass"),
        ((1024, 1024), 1000, "fail"),
        ((200, 200), None, "fail"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 100_000, "pass"),
        ((1024, resource.RLIM_INFINITY), None, "pass"),
    ],
)
def test_open_files(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], connections: int | None, status: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    settings = Settings()
    settings = replace(settings, limits=replace(settings.limits, connections=connections))
    (result,) = machine.limit_results(settings)
    assert result.status == status


# --- database


def change(statement: str, *parameters: str) -> None:
    with sqlite3.connect("var/portal.db") as database:
        database.execute(statement, parameters)
    database.close()


def test_a_missing_index_is_a_problem(doctor: Doctor) -> None:
    change("DROP INDEX logins_expiry")
    assert doctor.only("fail") == "missing: logins_expiry"


def test_a_file_of_an_earlier_format_is_a_warning_and_stays_as_it_is(doctor: Doctor) -> None:
    change("DROP INDEX events_waiting")
    change("DROP INDEX events_tenant")
    change("ALTER TABLE events DROP COLUMN waits")
    change("CREATE INDEX events_acts_again ON events (id)")
    change("PRAGMA user_version = 6")
    before = Path("var/portal.db").read_bytes()
    assert doctor.found("warn") == [("database", "format")]
    assert doctor.found("fail") == []
    assert Path("var/portal.db").read_bytes() == before


def test_a_file_of_a_much_later_format_is_a_problem(doctor: Doctor) -> None:
    change("PRAGMA user_version = 99")
    assert "newer portal" in doctor.only("fail")


def test_a_damaged_file_is_a_problem(doctor: Doctor) -> None:
    for name in ("var/portal.db-wal", "var/portal.db-shm"):
        Path(name).unlink(missing_ok=True)
    Path("var/portal.db").write_bytes(b"no database" * 1000)
    assert doctor.found("fail") == [("database", "database")]


def test_the_key_ring_of_another_database_is_a_problem(doctor: Doctor) -> None:
    Path("var/keys.json").unlink()
    KeyRing.create(Path("var/keys.json"))
    assert "another key ring" in doctor.only("fail")


def test_a_key_ring_that_lacks_a_key_is_a_warning(doctor: Doctor) -> None:
    values = KeyRing.load(Path("var/keys.json")).check_values()
    change("UPDATE meta SET value = ? WHERE id = 'key_ring'", json.dumps({**values, "newer": "x"}))
    assert "lacks keys that other hosts have: newer" in doctor.only("warn")


@pytest.mark.parametrize("text", ["no JSON", "[]"])
def test_a_damaged_record_of_the_key_ring_is_a_problem(doctor: Doctor, text: str) -> None:
    change("UPDATE meta SET value = ? WHERE id = 'key_ring'", text)
    assert "damaged" in doctor.only("fail")


def test_an_empty_database_is_not_made(doctor: Doctor) -> None:
    for path in Path("var").glob("portal.db*"):
        path.unlink()
    assert ("database", "indexes") in doctor.found("skipped")
    assert [*Path("var").glob("portal.db*")] == []


SOUND = DatabaseFacts(
    "MongoDB 7.0.2, replica set rs0",
    True,
    2,
    2,
    replica_set="rs0",
    write_concern="w: majority",
    clock_ahead=0.1,
)


@pytest.mark.parametrize(
    ("changes", "check", "status"),
    [
        ({}, "version", "pass"),
        ({"supported": False}, "version", "fail"),
        ({"missing_indexes": ("logins (session)",)}, "indexes", "fail"),
        ({"weak_indexes": ("logins (expires_at): expireAfterSeconds",)}, "index options", "warn"),
        ({}, "write concern", "pass"),
        ({"lasting_writes": False, "write_concern": "w: 1"}, "write concern", "fail"),
        ({}, "clock", "pass"),
        ({"clock_ahead": -5.1}, "clock", "warn"),
        ({"clock_ahead": 60.1}, "clock", "fail"),
        ({"clock_ahead": -60.1}, "clock", "fail"),
        ({"format": 1}, "format", "warn"),
    ],
)
def test_the_state_of_a_database_server_is_judged(changes: dict[str, Any], check: str, status: str) -> None:
    settings = Settings(database="mongodb://user:password@db/portal?tlsCertificateKeyFilePassword=secret")
    found = [*database_results(settings, replace(SOUND, **changes))]
    assert [one.status for one in found if one.check == check] == [status]
    assert "password" not in repr(found)
    assert "secret" not in repr(found)


# --- proxy

DIRECT = Arrived(
    "198.51.100.1", trusted=False, client="198.51.100.1", host="h", forwarded_for=INVENTED_CLIENT
)
PROXIED = Arrived("127.0.0.1", trusted=True, client="198.51.100.1", host="h", forwarded_for="198.51.100.1")


@pytest.mark.parametrize(
    ("arrived", "url", "failed"),
    [
        (PROXIED, "https://h", []),
        (replace(PROXIED, forwarded_for=f"{INVENTED_CLIENT}, 198.51.100.1"), "https://h", []),
        (replace(PROXIED, host="H:443"), "https://h", []),
        (DIRECT, "http://h", []),
        (DIRECT, "https://h", ["client address"]),
        (replace(DIRECT, forwarded_for="198.51.100.7"), "http://h", ["client address"]),
        (replace(PROXIED, forwarded_for=INVENTED_CLIENT), "https://h", ["client address"]),
        (replace(PROXIED, forwarded_for=None), "https://h", ["client address"]),
        (replace(PROXIED, host="127.0.0.1:8080"), "https://h", ["host"]),
        (replace(PROXIED, host="h:x"), "https://h", ["host"]),
    ],
)
def test_how_a_request_arrives_is_judged(arrived: Arrived, url: str, failed: list[str]) -> None:
    found = [*judged(arrived, url)]
    assert [one.check for one in found if one.status == "fail"] == failed
    assert [one.check for one in found if one.status == "pass"] == [
        check for check in ("host", "client address") if check not in failed
    ]


def test_a_client_in_a_network_of_proxies_chooses_its_address() -> None:
    """The proxy adds to X-Forwarded-For, and trusted_proxies has the network of clients too."""
    added = f"{INVENTED_CLIENT}, 192.0.2.8"
    found = [*judged(replace(PROXIED, client=INVENTED_CLIENT, forwarded_for=added), "https://h")]
    assert [(one.check, one.status) for one in found] == [("host", "pass"), ("client address", "warn")]
    assert found[1].seen.startswith("192.0.2.8, where this request came from, is in trusted_proxies")


def test_a_portal_that_does_not_respond_is_not_checked(doctor: Doctor) -> None:
    Path("portal.yaml").write_text("public_url: http://localhost:1\n")
    found = json.loads(doctor.run("--json"))["results"]
    (proxy,) = [one for one in found if one["area"] == "proxy"]
    assert proxy["status"] == "skipped"
    assert "http://localhost:1 does not respond from here" in proxy["seen"]
    assert "was not checked" in proxy["advice"]


# --- traces


def collector_result(doctor: Doctor, endpoint: str) -> dict[str, str]:
    Path("portal.yaml").write_text(
        f"public_url: http://localhost:1\ntraces: {{endpoint: '{endpoint}'}}\ntenants: none\n"
    )
    results: list[dict[str, str]] = json.loads(doctor.run("--json"))["results"]
    [found] = [one for one in results if one["area"] == "traces"]
    assert (found["check"], endpoint in found["seen"]) == ("collector", True)
    return found


def test_a_collector_that_takes_spans_is_good(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={SECRET}")
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with bad_collector(lambda connection: connection.sendall(ok)) as collector:
        assert collector_result(doctor, collector.endpoint)["status"] == "pass"
        [head] = collector.heads
    assert f"x-key: {SECRET}" in head


@pytest.mark.parametrize("headers", ["x-key=wrong", f"{SECRET}", f"x-key={SECRET}%0A"])
def test_a_collector_that_refuses_spans_is_a_warning(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    refused = f"HTTP/1.1 401 {SECRET}\r\nContent-Length: 0\r\n\r\n".encode()
    with bad_collector(lambda connection: connection.sendall(refused)) as collector:
        found = collector_result(doctor, collector.endpoint)
    assert found["status"] == "warn"
    assert "takes no spans: status 401" in found["seen"] or "InvalidHeader" in found["seen"]
    assert "traces.endpoint" in found["advice"]


def test_a_collector_that_is_not_there_is_a_warning(doctor: Doctor) -> None:
    found = collector_result(doctor, "http://127.0.0.1:9/v1/traces")
    assert (found["status"], "ConnectionError" in found["seen"]) == ("warn", True)


def test_without_its_packages_traces_are_a_problem(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("portal.yaml").write_text("traces: {endpoint: 'http://127.0.0.1:9/v1/traces'}\n")
    assert ("traces", "collector") in doctor.found("skipped")
    for name in [one for one in sys.modules if one.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert doctor.found("fail") == [("traces", "packages")]


# --- tenants


def test_an_invalid_tenant_file_is_a_problem(doctor: Doctor) -> None:
    Path("tenants/globex.yaml").write_text("name: Globex\n")
    assert set(doctor.found("fail")) == {("tenants", "files")}


def test_what_is_not_advisable_in_a_tenant_file_is_a_warning(doctor: Doctor) -> None:
    Path("tenants/acme.yaml").write_text(ACME.replace("file:secret", "typed-in-the-file"))
    assert set(doctor.found("warn")) == {("tenants", "files")}


def test_a_missing_tenants_folder_is_a_problem(doctor: Doctor) -> None:
    Path("portal.yaml").write_text("public_url: https://portal.example\ntenants: ./elsewhere\n")
    assert doctor.found("fail") == [("tenants", "files")]


@pytest.mark.parametrize("name", ["a file", "unreadable"])
def test_a_tenants_folder_that_cannot_be_read_is_a_problem(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Reading it as another user than its owner fails, whoever runs this test."""
    if name == "a file":
        Path("portal.yaml").write_text("public_url: https://portal.example\ntenants: ./tenants/acme.yaml\n")
    else:
        listed = os.listdir

        def refused(path: Any) -> list[str]:
            if Path(path) == Path("tenants"):
                raise PermissionError(13, "Permission denied")
            return listed(path)

        monkeypatch.setattr(os, "listdir", refused)
    (found,) = [one for one in doctor.results() if one["status"] == "fail"]
    assert (found["area"], found["check"]) == ("tenants", "files")
    assert "cannot be read" in found["seen"]


def test_a_portal_without_any_tenant_is_a_warning(doctor: Doctor) -> None:
    Path("tenants/acme.yaml").unlink()
    assert doctor.only("warn") == "there is no tenant: nobody can sign in"


def test_presets_that_cannot_be_used_are_a_problem(doctor: Doctor) -> None:
    text = Path("portal.yaml").read_text()
    Path("portal.yaml").write_text(f"{text}presets: ./presets\n")
    assert doctor.found("fail") == [("folders", "presets")]
    Path("presets").mkdir()
    assert doctor.found("fail") == []
    Path("presets/broken.yaml").write_text("title: [")
    assert doctor.found("fail") == [("folders", "presets")]


def test_a_front_end_without_its_page_is_a_problem(doctor: Doctor) -> None:
    text = Path("portal.yaml").read_text()
    Path("portal.yaml").write_text(f"{text}front_ends: {{desk: {{path: /desk, directory: ./dist}}}}\n")
    assert doctor.found("fail") == [("folders", "front_ends")]
    Path("dist").mkdir()
    Path("dist/index.html").write_text("<!doctype html>")
    assert doctor.found("fail") == []


@pytest.mark.parametrize("name", ["var/keys.json", "var/portal.db", "tenants/globex.yaml"])
def test_a_named_pipe_in_place_of_a_file_does_not_hang(doctor: Doctor, name: str) -> None:
    Path(name).unlink(missing_ok=True)
    os.mkfifo(name, 0o600)
    failed = [one for one in doctor.results() if one["status"] == "fail"]
    assert ["is not a regular file" in one["seen"] for one in failed] == [True]


STORED = """\
name: Globex
issuer: https://login.globex.example
client: {id: portal, auth: none}
hosts: [proven.example, claimed.example]
"""


def stored(slug: str = "globex", *, status: str = "live", content: str = STORED, format_: int = 1) -> Any:
    """The contents of a database with one tenant."""
    revision = Revision(slug, 3, content, format_, "{}", "", "", 1.0)
    claims = [
        DomainClaim(name, slug, "hosts", "", "", proven_at, 0.0, 0.0)
        for name, proven_at in (("proven.example", 1.0), ("claimed.example", 0.0))
    ]
    return StoredContents({slug: TenantRecord(slug, status, 3, 1.0, 1.0)}, {slug: revision}, claims)


def test_a_tenant_of_the_database_is_read_as_it_is_served(doctor: Doctor) -> None:
    settings = Settings()
    (read,), (found,) = stored_tenants(settings, stored())
    assert read.tenant is not None
    assert read.tenant.hosts == ("proven.example",)
    assert read.presets.keys() == {"default"}
    assert (found.status, found.seen) == ("pass", "1 in the database, 1 served")
    for other in (stored("acme"), stored(status="suspended")):
        assert stored_tenants(settings, other)[0] == []


def test_a_revision_that_cannot_be_served_is_a_problem(doctor: Doctor) -> None:
    lost = stored()
    lost.live.clear()
    for contents in (lost, stored(format_=99), stored(content="name: [")):
        read, results = stored_tenants(Settings(), contents)
        assert read == []
        failed = [one for one in results if one.status == "fail"]
        assert failed
        assert all("portal tenant history globex" in one.advice for one in failed)


# --- providers and the report


def test_providers_are_checked_live_and_their_failures_are_problems(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor.live += [
        CheckResult("acme", "default", "tls", Status.FAIL, "expired", "renew it", "issuer"),
        CheckResult("acme", None, "api", Status.SKIPPED, "no api"),
        CheckResult("acme", None, "other", Status.SKIPPED, "no api"),
    ]
    monkeypatch.setattr("portal.cli.doctor.examination._of_this_portal", _nothing)
    printed = doctor.run()
    assert doctor.code == 1
    assert [context.tenant.slug for context in doctor.contexts] == ["acme"]
    assert printed[printed.index("✓ acme, provider") :].splitlines() == [
        "✓ acme, provider default login.acme.example is 203.0.113.7",
        "✗ acme, provider default tls: expired",
        "             → renew it; at issuer",
        "- acme, API  api, other: no api",
        "",
        "1 problem, 0 warnings, 2 not checked, 11 good",
    ]


async def _nothing(settings: Settings) -> list[Result]:
    return []


def test_a_report_of_many_good_checks_is_short_and_cannot_control_the_terminal() -> None:
    many = [Result("a\x1b[2J", f"check {number}", Status.PASS, "good\x1b") for number in range(70)]
    lines = [*report_lines([*many, Result("b", "c", Status.WARN, "x\ny", "z\x07")])]
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert json_report(many).isascii()


def test_progress_is_on_standard_error(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--config", "portal.yaml", "--offline", "--json"])
    printed = capsys.readouterr()
    assert printed.err.splitlines()[:3] == [
        "checking the settings",
        "checking files and limits",
        "checking the database",
    ]
    json.loads(printed.out)


@pytest.mark.reads_source
def test_the_reference_has_every_check() -> None:
    folder, page = Path(machine.__file__).parent, (DOCS / "reference" / "doctor.md").read_text("utf-8")
    checks = {
        str(node.args[0].value)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("passed", "warned", "failed", "skipped")
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(checks) >= 15
    assert [check for check in checks if f"| `{check}` |" not in page and check != "live checks"] == []
