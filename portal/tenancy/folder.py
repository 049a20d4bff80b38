"""A folder of tenant files; only changed files are read again.

A file has changed if its inode, size or modification time differs, or that of a secret or preset that it
names. This detects an editor's save as well as a mounted volume that is replaced through a symbolic link.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from portal.clock import Clock
from portal.errors import ConfigurationError
from portal.tenancy.loading import SUFFIXES, LoadedTenant, TenantFileRejected, read_tenant
from portal.tenancy.presets import Presets
from portal.time_slices import in_turns

Signature = tuple[int, int, int] | None

_TIME_RESOLUTION = 0.1
"""Seconds within which two changes of a file may leave the same modification time."""


@dataclass(frozen=True, slots=True)
class TenantFile:
    """The result of the last read of one tenant file: a tenant, or its problems."""

    path: Path
    signatures: Mapping[str, Signature]
    loaded: LoadedTenant | None
    error: ConfigurationError | None


def tenant_files(folder: Path) -> list[Path]:
    """Return the tenant files of a folder, sorted by name. Raises OSError if it cannot be read."""
    return [folder / name for name in sorted(_names(folder))]


def _names(folder: Path) -> set[str]:
    names = in_turns(os.listdir(folder))
    return {name for name in names if name.endswith(SUFFIXES) and name[0] != "."}


class TenantFolder:
    """The tenant files of one folder. Not thread-safe."""

    def __init__(
        self,
        path: Path,
        *,
        allow_private_networks: bool,
        environ: Mapping[str, str],
        clock: Clock = time.time,
        presets: Presets | None = None,
    ) -> None:
        self.path = path
        self.files: Mapping[str, TenantFile] = {}
        """By file name, sorted."""
        self._private = allow_private_networks
        self._environ = environ
        self._clock = clock
        self._presets = presets

    def names(self) -> set[str]:
        """Return the names of the existing files. Raises OSError if the folder cannot be read."""
        return _names(self.path)

    def missing(self) -> set[str]:
        """Return the names of files that no longer exist. Raises OSError if the folder cannot be read."""
        return self.files.keys() - self.names()

    def refresh(self, removable: Collection[str]) -> bool:
        """Update `files`; return whether any file was read or removed.

        Parameters: removable, files to remove from `files` if they no longer exist; others are kept.
        Raises: OSError if the folder cannot be read; `files` is then unchanged.
        """
        before = self.files
        names = _names(self.path)
        kept = before.keys() - names - set(removable)
        # sorting 10,000 names would hold the interpreter's lock for milliseconds
        ordered = before if names | kept == before.keys() else sorted(names | kept)
        now = {}
        changed = ordered is not before
        for name in in_turns(ordered):
            now[name] = before[name] if name in kept else self._current(name)
            changed = changed or now[name] is not before[name]
        self.files = now
        return changed

    def _current(self, name: str) -> TenantFile:
        known = self.files.get(name)
        if known is not None and self._unchanged(known):
            return known
        return self._read(self.path / name)

    def _unchanged(self, file: TenantFile) -> bool:
        return all(
            signature is not None and signature == self._signature(path)
            for path, signature in file.signatures.items()
        )

    def _signature(self, path: str) -> Signature:
        """Inode, size and time of a file; None if a further change could leave them the same."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return (0, 0, 0)
        if found.st_mtime > self._clock() - _TIME_RESOLUTION:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _read(self, path: Path) -> TenantFile:
        signatures = {str(path): self._signature(str(path))}
        loaded: LoadedTenant | None = None
        error: TenantFileRejected | None = None
        try:
            loaded = read_tenant(
                path,
                allow_private_networks=self._private,
                environ=self._environ,
                presets=self._presets,
            )
            secret_files = loaded.secret_files
        except TenantFileRejected as rejected:
            error, secret_files = rejected, rejected.secret_files
        signatures.update((str(file), self._signature(str(file))) for file in secret_files)
        return TenantFile(path, signatures, loaded, error)
