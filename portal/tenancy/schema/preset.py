"""How the keys of a provider in a tenant file depend on its preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ValidationInfo, WithJsonSchema

from portal.config.field_types import refused, unknown_word
from portal.config.load_context import LoadContext
from portal.errors import ConfigurationError
from portal.tenancy.presets import DEFAULT, Preset, Presets, built_in


@dataclass(frozen=True, slots=True)
class TenantContext(LoadContext):
    """The context of a tenant file, with the presets that it can name."""

    presets: Presets = field(default_factory=built_in)


def _presets(info: ValidationInfo) -> Presets:
    return info.context.presets if isinstance(info.context, TenantContext) else built_in()


def preset_of(name: str, info: ValidationInfo) -> Preset:
    """Return a preset by name; raise `refused` if there is none that can be used."""
    presets = _presets(info)
    file = presets.file_in_folder(name)
    if file is not None and isinstance(info.context, LoadContext):
        info.context.secret_files.note(file)
    try:
        found = presets.find(name)
    except ConfigurationError as error:
        raise refused(
            f"names a preset whose file cannot be used; its first problem: {error.problems[0]}"
        ) from None
    if found is None:
        raise unknown_word(presets.names())
    return found


def _known_preset(name: str, info: ValidationInfo) -> str:
    preset_of(name, info)
    return name


PresetName = Annotated[
    str,
    AfterValidator(_known_preset),
    WithJsonSchema({"type": "string", "title": "name of a [preset](#presets)"}),
]


def defaults_of_preset(written: object, info: ValidationInfo) -> object:
    """Return the keys of a provider, with the defaults of its preset for those that the file lacks.

    A file with an unknown preset, or with another type in its place, is returned as it is: the validation of
    its keys reports it.
    """
    if not isinstance(written, Mapping):
        return written
    name = written.get("preset", DEFAULT)
    try:
        preset = _presets(info).find(name) if isinstance(name, str) else None
    except ConfigurationError:  # the validation of `preset` reports it
        preset = None
    if preset is None:
        return written
    missing = preset.missing_fields(written)
    if missing:
        labels = ", ".join(f"{one.label} of {preset.title}" for one in missing.values())
        example = ", ".join(f"{name}: {one.example}" for name, one in missing.items())
        raise refused(f"lacks the {labels}: write fields: {{{example}}}, with your own values")
    made = preset.with_defaults(written)
    if "userinfo" not in written and not _may_use_userinfo(made):
        made.pop("userinfo", None)
    return made


def _may_use_userinfo(keys: Mapping[str, object]) -> bool:
    """Whether a UserInfo endpoint can be known. Otherwise a default of the preset would be an error."""
    endpoints = keys.get("endpoints")
    return keys.get("discovery") is not False or (isinstance(endpoints, Mapping) and "userinfo" in endpoints)


def check_generic_issuer(issuer: str, info: ValidationInfo, *, key: str) -> None:
    """Refuse the issuer of a generic provider on a host that is a known mistake, such as a console.

    Parameters: key, that determines the issuer.
    """
    known = _presets(info).recognize(issuer)
    host = urlsplit(issuer).hostname or ""
    advice = known.advice("domain", host) if known is not None else None
    if advice is not None:
        raise refused(advice, key=key)


def check_issuer_of_preset(
    preset: Preset, domain: str | None, issuer: str | None, info: ValidationInfo
) -> None:
    """Refuse a domain or issuer with a known mistake, or an issuer that belongs to another preset."""
    for key, value in (("domain", domain), ("issuer", issuer)):
        advice = preset.advice(key, value) if value is not None else None  # type: ignore[arg-type]
        if advice is not None:
            raise refused(advice, key=key)
    if issuer is None or preset.name == DEFAULT or preset.recognizes(issuer):
        return
    right = _presets(info).recognize(issuer)
    if right is not None:
        raise refused(f"is an issuer of {right.title}; write preset: {right.name}", key="issuer")
