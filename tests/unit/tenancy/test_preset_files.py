"""Preset files: the format, the built-in ones, and their pages."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from portal.errors import ConfigurationError
from portal.tenancy.available_presets import available_presets, check_provider, example_provider
from portal.tenancy.loading import read_tenant
from portal.tenancy.presets import Hooks, built_in
from portal.tenancy.presets.logo import contrast, logo_svg, text_color
from portal.tenancy.presets.pages import (
    preset_json_schema,
    preset_page,
    preset_urls,
    reference_pages,
)
from portal.tenancy.presets.preset_files import read_preset_file
from portal.tenancy.presets.schema import PresetFile
from portal.tenancy.template import tenant_template
from tests.unit.tenancy.files import ENVIRON, write
from tests.unit.tenancy.preset_examples import PRESETS, key_files, named

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "portal" / "tenancy" / "presets"
ACME_SSO = """\
title: Acme SSO
logo: {letters: As, color: "#1f6feb"}
fields:
  region: {label: Region, help: Shown at the top of the console., example: eu-1}
  client_id: {label: Client ID, help: Below it., example: portal}
  client_secret: {label: Secret, help: Below it., example: s3cret}
provider:
  issuer: https://{region}.sso.acme.example
  scopes: [openid, email]
issuer: {example: https://eu-1.sso.acme.example}
sources: [{facts: all, unverified: true}]
"""


def problems(folder: Path, text: str, name: str = "acme-sso.yaml") -> list[str]:
    """The problems of a preset file with this text, with paths relative to its folder."""
    try:
        read_preset_file(write(folder, text, name), check_provider)
    except ConfigurationError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []


def test_a_preset_file_can_be_short(tmp_path: Path) -> None:
    assert problems(tmp_path, ACME_SSO) == []
    preset = read_preset_file(tmp_path / "acme-sso.yaml")
    assert (preset.name, preset.title) == ("acme-sso", "Acme SSO")
    assert preset.issuer(None, None, {"region": "eu-1"}) == "https://eu-1.sso.acme.example"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("title:", "titel:", '1:1: unknown key "titel"; did you mean "title"?'),
        ("title: Acme SSO\n", "", '1:1: this file lacks the key "title": the provider\'s name'),
        ('"#1f6feb"', "blue", '2:28: logo.color must be a colour such as "#1f6feb" (in quotes: '),
        ("help: Shown", "hlep: Shown", '4:27: unknown key "hlep" in fields.<name>; did you mean "help"?'),
        ("  region:", "  Region:", "4:3: fields.<name> must be a name of small letters, digits and _, "),
        (
            "example: eu-1}",
            "example: eu-1, pattern: '['}",
            "4:91: fields.<name>.pattern must be a regular expression of Python, ",
        ),
        (
            "{region}.sso",
            "{regoin}.sso",
            "8:3: provider has a placeholder that is not the name of a field; add it",
        ),
        (
            "scopes: [openid, email]",
            "scope: [openid]",
            '9:3: provider: unknown key "scope"; did you mean "scopes"?',
        ),
        (
            "scopes: [openid, email]",
            "scopes: [email]",
            '9:11: provider: scopes lacks "openid", which every sign-in needs; add it',
        ),
        (
            "scopes: [openid, email]",
            "response_mode: post",
            "9:18: provider: response_mode must be one of: query, form_post, ",
        ),
        (
            "scopes: [openid, email]",
            "logout: {url: https://a.example}",
            "8:3: provider has logout.url; write it next to provider",
        ),
        (
            "example: eu-1}",
            "example: eu-1, key: client.id}",
            "4:3: fields has two fields at client.id; write another key for one",
        ),
        (
            "example: eu-1}",
            "example: eu-1, key: client}",
            "4:3: fields has two fields at client; write another key for one",
        ),
        (
            "unverified: true",
            "read: today",
            "11:30: sources[1].read must be a day such as 2026-11-22, found text",
        ),
        (", unverified: true", "", "11:11: sources[1] lacks url and read; or write unverified: true"),
        (
            "sources:",
            "console: ['Write {callback}']\nsources:",
            "11:11: console[1] has an unknown placeholder; these exist: callback_url, ",
        ),
        (
            "sources:",
            "hooks: entre\nsources:",
            '11:8: hooks is not the name of built-in hooks; did you mean "entra"?',
        ),
        (
            "sources:",
            "logout: {url: 'https://{host}/out'}\nsources:",
            "11:15: logout.url must have no placeholders but {domain}, ",
        ),
        (
            "sources:",
            "mistakes: [{place: client, pattern: a, advice: b}]\nsources:",
            "11:20: mistakes[1].place must be one of: domain, issuer, ",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_position_and_remedy(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in ACME_SSO
    found = problems(tmp_path, ACME_SSO.replace(old, new, 1))
    assert [one for one in found if one.startswith(f"acme-sso.yaml:{problem}")] == found[-1:]


@pytest.mark.parametrize("name", ["Acme.yaml", "1.yaml", "a b.yaml", f"{'a' * 41}.yaml"])
def test_the_name_of_a_preset_file_is_checked(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, ACME_SSO, name)
    assert problem.startswith(f"{name}: is not a valid name for a preset file: use at most 40 ")


# --- the built-in presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_built_in_preset_passes_the_checks_of_others(name: str) -> None:
    read_preset_file(FOLDER / f"{name}.yaml", check_provider)


@pytest.mark.parametrize("name", PRESETS)
def test_a_built_in_preset_explains_itself(name: str) -> None:
    preset = named(name)
    assert any("{callback_url}" in step for step in preset.console)
    assert {"client_id"} <= preset.fields.keys()
    assert preset.sources
    for source in preset.sources:
        assert source.unverified or (source.url and source.read)
    assert contrast(preset.logo.color, text_color(preset.logo.color)) >= 4.5
    assert logo_svg(preset.logo).count("<") == 5


@pytest.mark.parametrize("name", ["auth0", "okta", "entra", "google", "keycloak"])
def test_an_administrator_fills_in_at_most_five_fields(name: str) -> None:
    assert len(named(name).fields) <= 5


@pytest.mark.parametrize("name", PRESETS)
def test_an_issuer_belongs_to_one_preset_at_most(name: str) -> None:
    keys = example_provider(named(name))
    issuer = (
        named(name).issuer(None, None, {**_texts(keys.get("fields")), **_texts(keys)})
        if name != "generic"
        else None
    )
    owners = [one.name for one in built_in().all() if issuer and one.recognizes(issuer)]
    expected = {"generic": [], "gitlab": ["gitlab"], "fusionauth": []}
    assert owners == expected.get(name, [name])


def _texts(value: object) -> dict[str, str]:
    return {key: one for key, one in value.items() if isinstance(one, str)} if isinstance(value, dict) else {}


# --- pages


def test_the_committed_pages_are_current() -> None:
    folder = ROOT / "docs" / "providers"
    pages = reference_pages()
    committed = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert committed == pages.keys()
    for name, text in pages.items():
        assert (folder / name).read_text() == text, "run: portal preset reference docs/providers"


@pytest.mark.parametrize("name", PRESETS)
def test_the_tenant_file_of_a_page_loads(tmp_path: Path, name: str) -> None:
    text = preset_page(named(name)).split("```yaml\n")[1].partition("```")[0]
    for old, path in key_files(tmp_path, named(name)).items():
        text = text.replace(old, f"file:{path}")
    text = text.replace("${ACME_CLIENT_SECRET}", "${ACME_SECRET}")
    text = re.sub(r"^domain: .*\n", "", text, flags=re.MULTILINE) if "\nissuer: " in text else text
    if name in {"google", "gitlab"} and "access:" not in text:
        text += "access: anyone\n"
    assert read_tenant(write(tmp_path, text), environ=ENVIRON).tenant.name == "Acme Corporation"


@pytest.mark.parametrize("name", PRESETS)
def test_a_page_has_no_placeholder_left_and_names_what_is_not_verified(name: str) -> None:
    preset = named(name)
    page = preset_page(preset, origin="https://p.example", tenant="globex")
    assert "https://p.example/t/globex/callback" in page
    assert not any(f"{{{url}}}" in page for url in preset_urls("", ""))
    assert page.count("(not verified") == sum(source.unverified for source in preset.sources)


def test_the_json_schema_accepts_the_built_in_presets() -> None:
    schema = preset_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in sorted(FOLDER.glob("*.yaml")):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []
    assert list(validator.iter_errors(json.loads("{}")))


# --- patterns and the guide

LONGEST = 20_000


@pytest.mark.parametrize("name", PRESETS)
def test_the_patterns_of_built_in_presets_take_linear_time(name: str) -> None:
    preset = named(name)
    parts = ("a", "a-", "a.", "/", "0-", "/realms/", "/application/o/", "-admin.okta", ".com", "AADSTS")
    for part in parts:
        text = f"https://{part * (LONGEST // len(part))}!"
        began = time.process_time()
        preset.recognizes(text)
        for place in ("domain", "issuer", "error", "metadata"):
            preset.advice(place, text)
        assert time.process_time() - began < 0.1, part


def test_the_examples_of_the_guide_work(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guides" / "write-a-preset.md").read_text()
    preset, tenant = (part.partition("```")[0] for part in guide.split("```yaml\n")[1:])
    path = write(tmp_path / "presets", preset, "acme-sso.yaml")
    tenant = tenant.replace("'file:/run/secrets/globex'", "s3cret")
    loaded = read_tenant(write(tmp_path, tenant), environ={}, presets=available_presets(path.parent))
    assert loaded.tenant.default_provider.issuer == "https://eu-1.sso.acme.example"
    assert available_presets(path.parent).problems() == {}
    code = guide.split("```python\n")[1].partition("```")[0]
    names: dict[str, type[Hooks]] = {}
    exec(code.replace("from portal.tenancy.presets import Hooks\n", ""), {"Hooks": Hooks}, names)
    assert names["AcmeHooks"]().error_code("acme_cancelled", "") == "access_denied"


def test_the_guide_explains_every_key() -> None:
    guide = (ROOT / "docs" / "guides" / "write-a-preset.md").read_text()
    table = guide.partition("## The keys")[2].partition("The value of a field")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert explained == PresetFile.model_fields.keys()


def test_a_new_tenant_file_has_placeholders_for_fields_that_are_refused(tmp_path: Path) -> None:
    text = tenant_template("acme", named("apple")).replace('"the client id"', "com.acme.portal")
    assert 'fields: {team_id: "<Team ID>", key_id: "<Key ID>"}' in text
    for old, path in key_files(tmp_path, named("apple")).items():
        text = text.replace(old, f"file:{path}")
    with pytest.raises(ConfigurationError) as refused:
        read_tenant(write(tmp_path, text), environ={})
    assert refused.value.problems[0].message == (
        "fields has a team_id that is not one; expected a value such as A1B2C3D4E5"
    )
