"""Reads preset files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from portal.config.validation import nearest, validate
from portal.config.yaml_document import MAX_BYTES, Document, parse_document, read_bytes
from portal.errors import ConfigurationError, Problem
from portal.tenancy.presets.apple_hooks import AppleHooks
from portal.tenancy.presets.entra_hooks import EntraHooks
from portal.tenancy.presets.hooks import Hooks
from portal.tenancy.presets.model import Preset
from portal.tenancy.presets.schema import PresetFile

SUFFIX = ".yaml"
HOOKS: Mapping[str, type[Hooks]] = MappingProxyType({"entra": EntraHooks, "apple": AppleHooks})
"""The built-in hooks, by the value of the key `hooks`."""
Check = Callable[[Preset, Document], None]
"""A further check of a preset; raises ConfigurationError."""
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")


def is_preset_name(text: str) -> bool:
    """Whether a preset can have this name: small letters, digits and _ . - after a letter, at most 40."""
    return _NAME.fullmatch(text) is not None


def read_preset_file(path: Path, check: Check | None = None) -> Preset:
    """Read a preset file; its name without `.yaml` is that of the preset.

    Raises: ConfigurationError with every problem and its line and column.
    """
    if not is_preset_name(path.stem):
        message = (
            "is not a valid name for a preset file: use at most 40 small letters, digits and _ . - after a "
            "letter, followed by .yaml, such as acme-sso.yaml"
        )
        raise ConfigurationError([Problem(str(path), message)])
    return parse_preset(
        read_bytes(path, name=str(path), limit=MAX_BYTES), path.stem, place=str(path), check=check
    )


def parse_preset(
    content: bytes, name: str, *, place: str, hooks: Hooks | None = None, check: Check | None = None
) -> Preset:
    """Return the preset in the content of a file.

    Parameters: name, of the preset; place, the file for messages; hooks, of an installed package.
    Raises: ConfigurationError with every problem and its line and column.
    """
    document = parse_document(content, place)
    file = validate(PresetFile, document.root, place=lambda at, key: document.place(at, key=key))
    preset = file.preset(name, digest=document.digest)
    preset = replace(preset, hooks=hooks or _built_in_hooks(file, document))
    if check is not None:
        check(preset, document)
    return preset


def _built_in_hooks(file: PresetFile, document: Document) -> Hooks:
    if file.hooks is None:
        return Hooks()
    if file.hooks not in HOOKS:
        message = f"hooks is not the name of built-in hooks{nearest(file.hooks, HOOKS)}"
        raise ConfigurationError([Problem(document.place(("hooks",)), message)])
    return HOOKS[file.hooks]()
