"""The context on which the meaning of a tenant file depends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SecretFiles:
    """The secret files that one tenant file names: a change of one of them is a change of the tenant.

    Parameters: folder, what relative names are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._named: list[Path] = []

    @property
    def named(self) -> tuple[Path, ...]:
        """Every file that was asked for so far, whether or not it is there."""
        return tuple(self._named)

    def path(self, name: str) -> Path:
        """Where the file is that the tenant file calls `name`."""
        path = self._folder / Path(name)
        self.note(path)
        return path

    def note(self, path: Path) -> None:
        """Add a file that the tenant depends on in another way, such as that of its preset."""
        self._named.append(path)


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The environment and settings for reading one tenant, and the secret files that it names.

    open_sealed: opens a secret that the portal has sealed; given for a tenant of the database, which may name
    neither files nor variables (THREATS A4). Raises VaultError.
    """

    secret_files: SecretFiles
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private_networks: bool = False
    secrets_optional: bool = False
    """Whether a secret whose environment variable or file is missing is read as an `UnsetSecret`."""
    open_sealed: Callable[[str], str] | None = field(default=None, repr=False)
