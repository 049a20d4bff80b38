"""Checks tenant files without serving them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from portal.errors import ConfigurationError, Problem
from portal.tenancy.folder import tenant_files
from portal.tenancy.loading import LoadedTenant, read_tenant
from portal.tenancy.model import Tenant
from portal.tenancy.ownership import Ownership
from portal.tenancy.presets import Preset, Presets


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One tenant file: its tenant if it can be read, with its problems, warnings and hints."""

    path: Path
    tenant: Tenant | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    hints: tuple[Problem, ...] = ()
    presets: Mapping[str, Preset] = field(default_factory=dict)
    """The preset of each provider, by its id."""


def check_files(
    paths: Iterable[Path],
    *,
    allow_private_networks: bool,
    environ: Mapping[str, str],
    reserved_hosts: Collection[str] = (),
    presets: Presets | None = None,
) -> list[CheckedFile]:
    """Check tenant files and folders of tenant files, individually and for conflicts with each other.

    A client secret whose environment variable is not set is a warning: who writes a tenant file, and CI, do
    not have the portal's environment.

    Parameters: as those of `Registry`.
    Raises: ConfigurationError for a path that does not exist, or a folder that cannot be read.
    """
    checked: dict[Path, CheckedFile] = {}
    loaded: dict[str, LoadedTenant] = {}
    for path in _files(paths):
        try:
            one = read_tenant(
                path,
                allow_private_networks=allow_private_networks,
                environ=environ,
                secrets_optional=True,
                presets=presets,
            )
        except ConfigurationError as error:
            checked[path] = CheckedFile(path, problems=tuple(error.problems))
            continue
        duplicates = _duplicates(path, checked)
        checked[path] = CheckedFile(path, one.tenant, duplicates, one.warnings, one.hints, one.presets)
        loaded.setdefault(one.tenant.slug, one)
    conflicts = Ownership(reserved_hosts).resolve({}, loaded).problems
    return [_with_conflicts(file, conflicts) for file in checked.values()]


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigurationError([Problem(str(path), "there is no such file or folder")])
        try:
            files += tenant_files(path) if path.is_dir() else [path]
        except OSError as error:
            message = f"the folder cannot be read: {error.strerror}"
            raise ConfigurationError([Problem(str(path), message)]) from None
    return list(dict.fromkeys(files))


def _duplicates(path: Path, checked: Mapping[Path, CheckedFile]) -> tuple[Problem, ...]:
    duplicate = next((other for other in checked if other.stem == path.stem), None)
    if duplicate is None:
        return ()
    return (Problem(str(path), f"is for the same tenant as {duplicate}; remove one of the two"),)


def _with_conflicts(file: CheckedFile, conflicts: Mapping[str, list[Problem]]) -> CheckedFile:
    found = conflicts.get(file.tenant.slug, []) if file.tenant and not file.problems else []
    return replace(file, problems=(*file.problems, *found))
