"""Tenant files with the examples of a preset's fields."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from portal.tenancy.loading import LoadedTenant, read_tenant
from portal.tenancy.presets import Preset, built_in
from tests.kit.rsa_keys import rsa_key
from tests.unit.outbound.certificates import Issued, issue
from tests.unit.tenancy.files import ENVIRON, write

PRESETS = built_in().names()


def named(name: str) -> Preset:
    found = built_in().find(name)
    assert found is not None
    return found


def example(folder: Path, name: str, *lines: str) -> Path:
    """Write a tenant file with the required fields of a preset, and return its path.

    Parameters: lines, further keys in YAML, which take precedence.
    """
    preset = named(name)
    document: dict[str, Any] = {"name": "Acme", "access": "anyone", "preset": name}
    for one in preset.fields.values():
        if one.optional and one.key != ("issuer",):
            continue
        if one.key == ("domain",) and "issuer" in document:
            continue
        _put(document, one.key, _value(folder, one.key, one.example))
    document |= yaml.safe_load("\n".join(lines)) or {}
    return write(folder, json.dumps(document))


def loaded(folder: Path, name: str, *lines: str) -> LoadedTenant:
    """Read such a file."""
    return read_tenant(example(folder, name, *lines), environ=ENVIRON)


def key_files(folder: Path, preset: Preset) -> dict[str, str]:
    """Write a file for each `file:` among the examples; return the names of the files by the example."""
    examples = {one.example: one.key for one in preset.fields.values() if one.example.startswith("file:")}
    return {text: _value(folder, key, text).removeprefix("file:") for text, key in examples.items()}


def _value(folder: Path, key: tuple[str, ...], text: str) -> str:
    if not text.startswith("file:"):
        return text.replace("${ACME_CLIENT_SECRET}", "${ACME_SECRET}")
    certified = key != ("client", "signed_secret", "private_key")
    content = _rsa().chain if key[-1] == "certificate" else (_rsa() if certified else _ec()).private_key()
    path = write(folder, content, f"{key[-1]}.pem")
    path.chmod(0o600)
    return f"file:{path.name}"


def _put(document: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for key in path[:-1]:
        document = document.setdefault(key, {})
    document[path[-1]] = value


@cache
def _rsa() -> Issued:
    return issue("portal", key=rsa_key(0), days=365)


@cache
def _ec() -> Issued:
    return issue("portal", days=365)
