"""The committed reference pages and JSON Schema match the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from portal.config.settings import SettingsFile
from portal.config.settings_reference import settings_reference
from portal.tenancy.loading import read_tenant
from portal.tenancy.presets import built_in
from portal.tenancy.reference import tenant_json_schema, tenant_reference, tenant_schema_text
from portal.tenancy.schema.tenant import SCHEMA_NAME, OneProviderTenantFile
from portal.tenancy.template import tenant_template
from tests.unit.tenancy.files import ACME, problems

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "tenants").glob("*.yaml"))
SECRETS = {"ACME_CLIENT_SECRET": "a", "GLOBEX_CLIENT_SECRET": "b"}


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(tenant_json_schema())


def errors(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(yaml.safe_load(text))]


def test_the_committed_schema_is_current() -> None:
    assert (ROOT / "tenants" / SCHEMA_NAME).read_text() == tenant_schema_text(), "run: portal tenant schema"


def test_the_committed_references_are_current() -> None:
    folder = ROOT / "docs" / "reference"
    assert (folder / "tenant.md").read_text() == tenant_reference(), "run: portal tenant reference"
    assert (folder / "settings.md").read_text() == settings_reference(), "run: portal settings reference"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(tenant_json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_follows_the_schema_and_loads(path: Path) -> None:
    assert errors(path.read_text()) == []
    loaded = read_tenant(path, environ=SECRETS)
    assert loaded.tenant.api is not None
    assert loaded.warnings == ()


def test_there_are_two_examples_that_need_their_secrets_from_the_environment() -> None:
    assert [path.name for path in EXAMPLES] == ["acme.yaml", "globex.yaml"]
    for path in EXAMPLES:
        with pytest.raises(Exception, match="_CLIENT_SECRET, which is not set"):
            read_tenant(path, environ={})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ACME, 0),
        ("name: A\nproviders: {a: {issuer: https://a.example, client: {id: x, auth: none}}}\n", 0),
        (ACME + "audiance: x\n", 1),
        (ACME + "audience:\n", 1),
        (ACME + "session: {idle: 30}\n", 1),
        (ACME + "branding: {color: blue}\n", 1),
        (ACME + "preset: auth00\n", 1),
        ("name: A\nproviders: {a: {issuer: https://a.example, client: {id: x}}}\naudience: x\n", 1),
        ("name: A\nissuer: https://a.example\n", 1),
        (ACME + "access: anyone\n", 0),
        (ACME + "access: all\n", 1),
        (ACME + "access: {require: []}\n", 1),
        (ACME + 'access: {require: [{claim: ["a.b"], ends_with: "@a.example", verified_by: c.d}]}\n', 0),
        (ACME + "access: {require: [{claim: a, ends_with: a.example}]}\n", 1),
        (ACME + "access: {paths: [{path: /a/, require: [{claim: a, one_of: [1, true, x]}]}]}\n", 0),
        (ACME + "access: {paths: [{path: a, require: [{claim: a, present: true}]}]}\n", 1),
    ],
)
def test_the_json_schema_refuses_what_the_portal_refuses(tmp_path: Path, text: str, found: int) -> None:
    assert len(errors(text)) == found
    assert bool(problems(tmp_path, text)) == bool(found)


def every_field(schema: Any) -> list[tuple[str, Any]]:
    definitions = schema["$defs"]
    return [
        (f"{name}.{key}", field)
        for name, definition in definitions.items()
        for key, field in definition["properties"].items()
    ]


def test_every_key_is_described() -> None:
    schema = tenant_json_schema()
    for name, field in every_field(schema):
        described = field.get("description") or schema["$defs"][field["$ref"].split("/")[-1]]["description"]
        assert len(described) > 10, name
    page = tenant_reference() + settings_reference()
    for key in [*OneProviderTenantFile.model_fields, *SettingsFile.model_fields]:
        assert f"`{key}`" in page


def test_the_reference_has_the_actual_defaults() -> None:
    page = settings_reference()
    for line in (
        "| `public_url` | text | `http://localhost:8080` |",
        "| `idle` | duration | `1h` |",
        "| `absolute` | duration | `12h` |",
        "| `database` | text | `sqlite:///var/portal.db` |",
        "| `processes` | number | `1` |",
        "| `allow_private_networks` | true, false | `false` |",
    ):
        assert line in page


@pytest.mark.parametrize("preset", built_in().names())
def test_a_new_tenant_file_lacks_only_the_values_to_fill_in(tmp_path: Path, preset: str) -> None:
    kind = built_in().find(preset)
    assert kind is not None
    text = tenant_template("acme-eu", kind)
    to_fill_in = {"issuer"} if "<" in kind.issuer_rules.example else set()
    to_fill_in |= {
        "apple": {"client.signed_secret.private_key"},
        "login_gov": {"client.certificate", "client.private_key"},
    }.get(preset, set())
    if "secret: " in text:
        to_fill_in.add("client.secret")
        assert (
            "secret: file:/run/secrets/acme-eu      # read again when it changes; ${ACME_EU_CLIENT_" in text
        )
    keys = {re.sub(r".*?: ([\w.]+) .*", r"\1", one) for one in problems(tmp_path, text)}
    assert keys == {"client.id", *to_fill_in}
