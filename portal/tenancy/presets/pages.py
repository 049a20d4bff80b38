"""The pages about presets, and the JSON Schema of preset files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from portal.config.reference import NOTE, PlainSchema
from portal.tenancy.presets.catalog import built_in
from portal.tenancy.presets.logo import logo_svg
from portal.tenancy.presets.model import Mistake, Preset, Source
from portal.tenancy.presets.schema import PresetFile
from portal.tenancy.presets.templates import fill_known

_NOTE = NOTE.format(command="portal preset reference docs/providers").replace(
    "the descriptions in the code; change those", "the preset; change that"
)
_UNVERIFIED = "not verified in the provider's documentation"
_MISTAKE_PLACES = {
    "domain": "`domain`",
    "issuer": "`issuer`",
    "error": "error",
    "metadata": "metadata",
}
_INTRODUCTION = """\
What an administrator does to sign users in with each kind of provider: the steps in its console with the
URLs to copy, what the portal asks for, and known mistakes. In these pages, `https://portal.example.com`
stands for the portal's `public_url` and `acme` for the tenant; `portal preset show NAME --tenant SLUG` prints
a page with your own.

The facts come from the providers' own documentation, which each page names. What could not be read there is
marked. A provider that is missing here works with `generic` if it follows OpenID Connect; to describe it once
for many tenants, [write a preset](../guides/write-a-preset.md)."""


def preset_urls(origin: str, tenant: str, provider: str | None = None) -> Mapping[str, str]:
    """Return the portal's URLs for the placeholders of a preset's steps.

    Parameters: origin, of the portal; tenant, its slug; provider, the id of one of several, each of which has
    its own callback URL (decision 018); None: it is the only one.
    """
    base = f"{origin}/t/{tenant}"
    return {
        "portal_url": origin,
        "callback_url": f"{base}/callback" + (f"/{provider}" if provider else ""),
        "signed_out_url": f"{base}/signed-out",
        "backchannel_logout_url": f"{base}/backchannel-logout",
        "frontchannel_logout_url": f"{base}/frontchannel-logout",
        "initiate_login_url": f"{base}/initiate-login",
        "jwks_url": f"{base}/jwks.json",
    }


def preset_page(preset: Preset, *, origin: str = "https://portal.example.com", tenant: str = "acme") -> str:
    """Return the page about a preset, in Markdown. Parameters: as `preset_urls`."""
    urls = {name: f"`{url}`" for name, url in preset_urls(origin, tenant).items()}
    lines = [
        f"# {_title(preset)}",
        "",
        _NOTE,
        "",
        *_steps("In the provider's console", preset.console, urls),
        *_asked(preset),
        *_tenant_file(preset),
        *_steps("Logout", preset.logout.registration, urls),
        *_claims(preset),
        *_listed("Good to know", preset.notes),
        *_mistakes(preset.mistakes),
        *_sources(preset.sources),
    ]
    return "\n".join(lines).rstrip() + "\n"


def reference_pages() -> dict[str, str]:
    """Return the pages of the built-in presets, their index and their pictures, by the name of the file."""
    presets = list(built_in().all())
    index = ["# Providers", "", _NOTE, "", _INTRODUCTION, "", "| | provider | `preset` | asks for |"]
    index.append("|---|---|---|---|")
    for preset in presets:
        asked = ", ".join(one.label for one in preset.fields.values() if not one.optional)
        link = f"[{_title(preset)}]({preset.name}.md)"
        index.append(f"| ![](logos/{preset.name}.svg) | {link} | `{preset.name}` | {asked} |")
    return {
        "README.md": "\n".join(index) + "\n",
        **{f"{one.name}.md": preset_page(one) for one in presets},
        **{f"logos/{preset.name}.svg": logo_svg(preset.logo) for preset in presets},
    }


def preset_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of preset files."""
    schema = PresetFile.model_json_schema(schema_generator=PlainSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Preset", **schema}


def preset_schema_text() -> str:
    """Return the JSON Schema of preset files as the text of its file."""
    return json.dumps(preset_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _title(preset: Preset) -> str:
    return preset.title[0].upper() + preset.title[1:]


def _steps(title: str, steps: tuple[str, ...], urls: Mapping[str, str]) -> Iterator[str]:
    if steps:
        numbered = (f"{number}. {fill_known(step, urls)}" for number, step in enumerate(steps, 1))
        yield from (f"## {title}", "", *map(_escaped, numbered), "")


def _asked(preset: Preset) -> Iterator[str]:
    yield from ("## What the portal asks for", "", "| value | key | example | |", "|---|---|---|---|")
    for one in preset.fields.values():
        label = one.label + (" (optional)" if one.optional else "")
        yield f"| {label} | `{'.'.join(one.key)}` | `{one.example}` | {_escaped(one.help)} |"
    yield ""


def _tenant_file(preset: Preset) -> Iterator[str]:
    yield from ("## In a tenant file", "", "```yaml", "name: Acme Corporation")
    required = {name: one.example for name, one in preset.fields.items() if not one.optional}
    yield from _yaml(preset.tenant_keys(required), "")
    if preset.public_accounts and "hosted_domain" not in preset.fields:
        yield from (
            "access:",
            "  require:",
            '    - {claim: email, ends_with: "@acme.example"}',
            '    - {claim: email_verified, one_of: [true, "true"]}',
        )
    yield from ("```", "")
    yield from _defaults(preset)


def _defaults(preset: Preset) -> Iterator[str]:
    yield f"The issuer is `{preset.provider.get('issuer') or preset.issuer_rules.example}`. The preset sets:"
    yield from ("", "```yaml")
    yield from _yaml({key: one for key, one in preset.provider.items() if key != "issuer"}, "")
    yield from ("```", "")
    if preset.public_accounts:
        yield from (
            "Anyone can have an account here, so the tenant file must state who may sign in: `access`.",
            "",
        )


def _yaml(mapping: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text}"' if isinstance(value, str) and (text.isdigit() or text[:1] in "{[") else text


def _claims(preset: Preset) -> Iterator[str]:
    found = preset.claims
    rows = (("name", found.name), ("e-mail address", found.email), ("groups or roles", found.groups))
    if not any(claim for _, claim in rows):
        return
    yield from ("## Claims", "", "| | claim |", "|---|---|")
    yield from (f"| {what} | {f'`{claim}`' if claim else 'none'} |" for what, claim in rows)
    if found.groups_limit:
        yield from (
            "",
            f"Users in more than {found.groups_limit} groups have no `{found.groups}` in the ID token.",
        )
    yield ""


def _listed(title: str, items: tuple[str, ...]) -> Iterator[str]:
    if items:
        yield from (f"## {title}", "", *(f"- {_escaped(item)}" for item in items), "")


def _mistakes(mistakes: tuple[Mistake, ...]) -> Iterator[str]:
    if not mistakes:
        return
    yield from ("## Known mistakes", "", "| where | pattern | what to do |", "|---|---|---|")
    for one in mistakes:
        cells = (_MISTAKE_PLACES[one.place], f"`{one.pattern}`", _escaped(one.advice))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _sources(sources: tuple[Source, ...]) -> Iterator[str]:
    yield from ("## Sources", "")
    for one in sources:
        page = f" <{one.url}>" if one.url else ""
        read = f", read on {one.read}" if one.read else ""
        remark = f" **({_UNVERIFIED})**" if one.unverified else ""
        yield f"- {_escaped(one.facts)}{page}{read}{remark}"
    yield ""


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")
