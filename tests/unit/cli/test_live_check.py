"""`portal tenant check --live`, and commands without the variable of a secret: output and exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.cli import live_report
from portal.cli import main as cli
from portal.tenancy.checks.live.model import CheckResult, Context, Status
from portal.tenancy.loading import read_tenant

ACME = """\
name: Acme
preset: keycloak
issuer: https://login.acme.example/realms/acme
client: {id: portal, secret: "${ACME_SECRET}"}
"""
RESULTS = [
    CheckResult("acme", "default", "dns", Status.PASS, "login.acme.example is 203.0.113.7"),
    CheckResult("acme", "default", "pkce", Status.WARN, "not announced", "sign in once"),
    CheckResult("acme", "default", "client_credentials", Status.SKIPPED, "no secret"),
    CheckResult("acme", None, "api", Status.PASS, "401"),
]
FAILED = CheckResult("acme", "default", "tls", Status.FAIL, "expired", "renew it", "issuer")


class Checks:
    """Stands for the checks: keeps their contexts, and returns `results`."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.results = [*RESULTS]

    async def __call__(
        self, contexts: list[Context], *, progress: Callable[[CheckResult], None]
    ) -> list[CheckResult]:
        self.contexts += contexts
        for result in self.results:
            progress(result)
        return self.results if contexts else []


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Replace the checks, in an empty folder without PORTAL_* variables."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("PORTAL_") or name.endswith("_SECRET"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PORTAL_PUBLIC_URL", "https://portal.example")
    Path("tenants").mkdir()
    Path("tenants/acme.yaml").write_text(ACME)
    checks = Checks()
    monkeypatch.setattr(live_report, "run_live_checks", checks)
    return checks


def test_results_are_shown_for_people(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    checks.results.append(FAILED)
    assert cli.main(["tenant", "check", "acme", "--live"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "", "no progress where standard error is not a terminal"
    assert shown.out.partition("acme, provider")[2].splitlines() == [
        " default",
        "  pass     dns                   login.acme.example is 203.0.113.7",
        "  warn     pkce                  not announced",
        "           → sign in once",
        "  skipped  client_credentials    no secret",
        "",
        "acme, API",
        "  pass     api                   401",
        "",
        "acme, provider default",
        "  fail     tls                   expired",
        "           → renew it",
        "             at issuer",
        "",
        "2 pass, 1 warn, 1 fail, 1 skipped",
    ]


def test_json_is_one_list_and_nothing_else(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tenant", "check", "tenants/acme.yaml", "--live", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed[1] == {
        "tenant": "acme",
        "provider": "default",
        "check": "pkce",
        "status": "warn",
        "seen": "not announced",
        "advice": "sign in once",
        "where": "",
    }
    assert printed[3]["provider"] is None


def test_an_invalid_file_is_not_checked_live(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tenants/bad.yaml").write_text("name: Bad\n")
    assert cli.main(["tenant", "check", "--live", "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["tenant"] == "acme"
    assert "tenants/bad.yaml" in printed.err
    assert [context.tenant.slug for context in checks.contexts] == ["acme"]


def test_the_checks_get_what_a_sign_in_uses(checks: Checks) -> None:
    cli.main(["key", "new"])
    Path("tenants/acme.yaml").write_text(f"{ACME}hosts: [acme.example]\n")
    cli.main(["tenant", "check", "acme", "--live"])
    (context,) = checks.contexts
    assert context.redirect_uris == (
        "https://portal.example/t/acme/callback",
        "https://acme.example/t/acme/callback",
    )
    assert context.guide.title == "Keycloak"
    assert context.client_keys is not None


def test_a_name_without_a_file_and_json_without_live_are_wrong_usage(
    checks: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tenant", "check", "globex", "--live"]) == 2
    assert "globex: there is no such file or folder" in capsys.readouterr().err
    assert cli.main(["tenant", "check", "acme", "--json"]) == 2
    assert "--json needs --live" in capsys.readouterr().err
    assert checks.contexts == []


def test_the_default_address_of_the_portal_is_said(
    checks: Checks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORTAL_PUBLIC_URL")
    cli.main(["tenant", "check", "acme", "--live"])
    assert "URLs use the default http://localhost:8080" in capsys.readouterr().err
    cli.main(["tenant", "check", "acme"])
    assert capsys.readouterr().err == ""


def test_progress_is_shown_on_a_terminal(
    checks: Checks, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    cli.main(["tenant", "check", "acme", "--live", "--json"])
    printed = capsys.readouterr()
    assert "checking … 2 pass, 1 warn, 1 skipped" in printed.err
    assert printed.err.endswith("\r\033[K"), "the line is removed at the end"
    assert len(json.loads(printed.out)) == 4


# --- without the variable of the secret


def test_check_warns_about_a_variable_that_is_not_set(
    checks: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tenant", "check", "acme"]) == 0
    assert (
        "tenants/acme.yaml:4:30: warning: needs the environment variable ACME_SECRET, which is not set here"
        in capsys.readouterr().out
    )


def test_check_warns_about_a_file_of_the_secret_that_is_missing(
    checks: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("tenants/acme.yaml")
    path.write_text(path.read_text().replace("${ACME_SECRET}", "file:/nowhere/acme"))
    assert cli.main(["tenant", "check", "acme"]) == 0
    printed = capsys.readouterr().out
    assert "tenants/acme.yaml:4:30: warning: needs the file /nowhere/acme, which is missing here" in printed
    assert cli.main(["key", "show", "acme"]) == 0
    assert "warning: the file /nowhere/acme is missing here" in capsys.readouterr().err
    with pytest.raises(Exception, match="needs the file /nowhere/acme: there is no such file"):
        read_tenant(path)


def test_key_show_warns_and_prints_what_to_register(
    checks: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["key", "show", "acme", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["redirect_uris"] == ["https://portal.example/t/acme/callback"]
    assert "warning: the environment variable ACME_SECRET is not set here" in printed.err


def test_a_served_tenant_still_needs_its_secret(checks: Checks) -> None:
    with pytest.raises(Exception, match="ACME_SECRET, which is not set; set it and start the portal again"):
        read_tenant(Path("tenants/acme.yaml"), environ={})


def test_other_mistakes_of_a_secret_are_still_mistakes(checks: Checks) -> None:
    for secret in ("${}", "${PORTAL_KEYS}", "file:missing"):
        Path("tenants/acme.yaml").write_text(ACME.replace("${ACME_SECRET}", secret))
        assert cli.main(["tenant", "check", "acme"]) == 2, secret


def test_a_secret_that_is_not_set_fits_every_rule_and_shows_nothing(
    checks: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ACME.replace("id: portal", "id: portal, auth: client_secret_jwt")
    Path("tenants/acme.yaml").write_text(text.replace("ACME_SECRET", "hunter2"))
    assert cli.main(["tenant", "check", "acme"]) == 0
    assert "hunter2" not in capsys.readouterr().out, "it may be a secret in braces"
