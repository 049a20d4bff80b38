"""The reference page and the JSON Schema of the tenant file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from portal.config.reference import NOTE, PlainSchema, added_keys, sections
from portal.tenancy.presets import Preset, Presets, built_in
from portal.tenancy.schema.api import ApiFile, NamedApiFile
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile

_INTRODUCTION = """\
One YAML file for each tenant, in the folder that the setting `tenants` names. The file's name without `.yaml`
is the tenant's slug: at most 63 lower-case letters, digits and hyphens. The keys of a single provider are at
the top level, next to `name`; several providers are a map under `providers`, and the user chooses one.
Keys in bold are required.

A duration has the form `90s`, `10m`, `12h` or `7d`. Text that YAML would read as another type, such as a
number or a value that begins with `#`, needs quotes. YAML anchors, aliases and tags are refused.

[Who may sign in](access.md) explains `access`."""


def tenant_json_schema(presets: Presets | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of tenant files, for editors and other programs.

    Parameters: presets, that tenant files can name (default: the built-in ones).
    """
    models = (OneProviderTenantFile, ManyProvidersTenantFile)
    refs, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=PlainSchema
    )
    one, many = (refs[model, "validation"] for model in models)
    for definition in schema["$defs"].values():
        if "preset" in definition["properties"]:
            definition["properties"]["preset"] |= {"enum": (presets or built_in()).names()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tenant",
        "description": "One organisation of the portal. The file name without .yaml is the tenant's slug.",
        "type": "object",
        "if": {"required": ["providers"]},
        "then": many,
        "else": one,
        **schema,
    }


def tenant_reference() -> str:
    """Return the reference page of the tenant file, in Markdown."""
    lines = [
        "# The tenant file",
        "",
        NOTE.format(command="portal tenant reference"),
        "",
        _INTRODUCTION,
        "",
        *sections(OneProviderTenantFile),
        "## apis",
        "",
        "[Several APIs](../guides/several-apis.md), each below its short name. Each has the keys of "
        "[api](#api), and:",
        "",
        *added_keys(NamedApiFile, ApiFile),
        "## providers",
        "",
        "Several providers, each under a short name. The redirect URI of each ends with its name: "
        "`/t/<tenant>/callback/<name>`. These keys then belong to each provider, not to the tenant; only "
        "`access` may be in both, and a user must meet both:",
        ", ".join(f"`{key}`" for key in ProviderFile.model_fields) + ".",
        "",
        "```yaml",
        "name: Acme Corporation",
        "providers:",
        "  staff:",
        "    label: Staff",
        "    issuer: https://login.acme.example/realms/staff",
        "    client: {id: portal, secret: '${ACME_STAFF_SECRET}'}",
        "  partners:",
        "    label: Partners",
        "    preset: google",
        "    hosted_domain: partners.example",
        "    client: {id: portal, secret: 'file:/run/secrets/acme-partners'}",
        "```",
        "",
        *_presets(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _presets() -> Iterator[str]:
    yield from (
        "## Presets",
        "",
        "The defaults for each kind of provider, which the file can override. Each has a page with the steps "
        "in the provider's console: see [Providers](../providers/README.md). An operator can add presets: "
        "[Write a preset](../guides/write-a-preset.md).",
        "",
    )
    yield "| preset | issuer | scopes | client auth | |"
    yield "|---|---|---|---|---|"
    for preset in built_in().all():
        link = f"[{preset.name}](../providers/{preset.name}.md)"
        notes = " ".join(preset.notes).replace("<", "&lt;")
        yield f"| {link} | {_issuer(preset)} | {' '.join(preset.scopes)} | {preset.client_auth} | {notes} |"
    yield ""


def _issuer(preset: Preset) -> str:
    if preset.issuer_needs == ["domain"]:
        form = str(preset.provider["issuer"]).replace("{domain}", "<domain>")
        return f"`{form}`, or `issuer`"
    return f"`{preset.default_issuer or preset.issuer_rules.example}`"


def tenant_schema_text(presets: Presets | None = None) -> str:
    """Return the JSON Schema of tenant files as the text of its file. Parameters: as `tenant_json_schema`."""
    return json.dumps(tenant_json_schema(presets), indent=2, ensure_ascii=False) + "\n"
