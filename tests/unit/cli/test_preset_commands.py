"""`portal preset …`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portal.tenancy.presets import built_in
from portal.tenancy.presets.pages import preset_page, reference_pages
from tests.unit.cli.test_main import Run, run, write
from tests.unit.tenancy.preset_examples import named
from tests.unit.tenancy.test_preset_files import ACME_SSO

__all__ = ["run"]
SETTINGS = ("--config", "portal.yaml")


@pytest.fixture
def folder(run: Run) -> Path:
    """A portal with a folder of presets, in the working directory."""
    write("portal.yaml", "presets: ./presets\n")
    write("presets/acme-sso.yaml", ACME_SSO)
    return Path("presets")


def test_list_names_each_preset_with_its_origin(run: Run, folder: Path) -> None:
    outcome = run("preset", "list", *SETTINGS)
    lines = [line.split() for line in outcome.out.splitlines()]
    assert outcome.code == 0
    assert [line[0] for line in lines] == ["acme-sso", *built_in().names()]
    assert lines[0] == ["acme-sso", "Acme", "SSO", "the", "folder"]
    assert lines[1][-2:] == ["built", "in"]


def test_list_reports_a_preset_that_cannot_be_used(run: Run, folder: Path) -> None:
    write("presets/bad.yaml", "title: 5\n")
    outcome = run("preset", "list", *SETTINGS)
    assert outcome.code == 2
    assert "bad              ✗ cannot be used, see below  the folder" in outcome.out
    assert "presets/bad.yaml:1:8: title must be text, found a number; put it in quotes" in outcome.err


def test_show_prints_the_page_with_the_urls_of_this_portal(run: Run, folder: Path) -> None:
    outcome = run("preset", "show", "okta", environ={"PORTAL_PUBLIC_URL": "https://p.example"})
    assert outcome.out == preset_page(named("okta"), origin="https://p.example", tenant="acme")
    assert "/t/globex/callback" in run("preset", "show", "okta", "--tenant", "globex").out
    assert run("preset", "show", "acme-sso", *SETTINGS).out.startswith("# Acme SSO\n")


def test_an_unknown_preset_gets_the_nearest_name(run: Run) -> None:
    for command in (("preset", "show", "otka"), ("tenant", "new", "acme", "--preset", "otka")):
        outcome = run(*command)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == 'otka: is not the name of a preset; did you mean "okta"?\n'
    assert not Path("tenants").exists()


def test_check_reports_every_problem(run: Run, folder: Path) -> None:
    good = run("preset", "check", "presets/acme-sso.yaml")
    assert (good.code, good.out) == (0, "✓ presets/acme-sso.yaml  Acme SSO\n")
    write("presets/bad.yaml", ACME_SSO.replace("scopes: [openid, email]", "scope: [openid]"))
    bad = run("preset", "check", "presets/acme-sso.yaml", "presets/bad.yaml")
    assert bad.code == 2
    assert bad.out.splitlines()[1:] == [
        "✗ presets/bad.yaml",
        '  presets/bad.yaml:9:3: provider: unknown key "scope"; did you mean "scopes"?',
    ]


def test_schema_prints_the_schema_of_preset_files(run: Run) -> None:
    schema = json.loads(run("preset", "schema").out)
    assert {"title", "fields", "provider", "console", "sources"} <= schema["properties"].keys()


def test_reference_writes_every_page(run: Run) -> None:
    assert run("preset", "reference", "pages").code == 0
    written = {str(path.relative_to("pages")): path.read_text() for path in Path("pages").rglob("*.*")}
    assert written == reference_pages()


def test_tenant_commands_know_the_presets_of_the_folder(run: Run, folder: Path) -> None:
    assert run("tenant", "new", "acme", "--preset", "acme-sso", *SETTINGS).code == 0
    text = Path("tenants/acme.yaml").read_text()
    assert "preset: acme-sso\nissuer: https://eu-1.sso.acme.example\n" in text
    write("tenants/acme.yaml", text.replace('"the client id"', "portal"))
    secret = {"ACME_CLIENT_SECRET": "x"}
    assert run("tenant", "check", *SETTINGS, environ=secret).code == 0
    assert "acme.yaml:9:9: preset must be one of: " in run("tenant", "check", environ=secret).out
    names = json.loads(run("tenant", "schema", *SETTINGS).out)["$defs"]["ProviderFile"]["properties"][
        "preset"
    ]
    assert "acme-sso" in names["enum"]
