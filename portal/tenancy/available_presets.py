"""The presets of a deployment; their `provider` parts are checked against the schema of tenant files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from portal.config.load_context import SecretFiles
from portal.config.validation import validate
from portal.config.yaml_document import Document, KeyPath
from portal.errors import ConfigurationError, Problem
from portal.tenancy.presets import Preset, Presets, installed_presets
from portal.tenancy.schema.preset import TenantContext
from portal.tenancy.schema.provider import ProviderFile

_ELSEWHERE = ""
"""The place of problems that do not come from the preset file."""


def available_presets(folder: Path | None) -> Presets:
    """Return the built-in presets, those of installed packages and those of the operator's folder."""
    return Presets(folder, installed=installed_presets(), check=check_provider)


def check_provider(preset: Preset, document: Document) -> None:
    """Check the `provider` part of a preset file with the examples of its fields.

    Raises: ConfigurationError with the problems of that part, each with its line and column.
    """

    def place(path: KeyPath, of_key: bool) -> str:
        in_preset = ("provider", *path)
        known = in_preset in document.values or in_preset in document.keys
        return document.place(in_preset, key=of_key) if known else _ELSEWHERE

    problems: list[Problem] = []
    written = example_provider(preset)
    try:
        validate(ProviderFile, written, place=place, context=_context(preset))
    except ConfigurationError as error:
        problems = [
            Problem(problem.place, f"provider: {problem.message}")
            for problem in error.problems
            if problem.place != _ELSEWHERE
        ]
    if problems:
        raise ConfigurationError(problems)


def example_provider(preset: Preset) -> dict[str, object]:
    """Return the keys of a provider in a tenant file, with the examples of the preset's fields as values."""
    written = preset.tenant_keys(
        {name: one.example for name, one in preset.fields.items() if not one.optional}
    )
    client = written.setdefault("client", {})
    if isinstance(client, dict):
        client.setdefault("id", "portal")
    return preset.with_defaults(written)


def _context(preset: Preset) -> TenantContext:
    return TenantContext(SecretFiles(Path()), presets=_OnePreset(replace(preset, mistakes=())))


class _OnePreset(Presets):
    """A catalog with a preset that is being checked, and the built-in ones."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self._preset = preset

    def find(self, name: str) -> Preset | None:
        """Return the preset that is being checked, or another."""
        return self._preset if name == self._preset.name else super().find(name)
