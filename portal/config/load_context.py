"""What the meaning of a tenant file depends on besides its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Environment and rules under which one tenant file is read, and the secret files it names."""

    folder: Path
    """What relative paths in the file are relative to."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private_networks: bool = False
    secret_files: list[Path] = field(default_factory=list)
    """Filled while reading: a change of one of these is a change of the tenant."""
