"""The context on which the meaning of a tenant file depends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The environment and settings for reading one tenant file, and the secret files that it names."""

    folder: Path
    """Relative paths in the file are relative to this folder."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private_networks: bool = False
    secret_files: list[Path] = field(default_factory=list)
    """Filled while the file is read: when one of these changes, the tenant is read again."""
