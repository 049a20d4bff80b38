"""A folder of tenant files, read again only where it changed.

A file counts as changed when it, or a secret file it names, has another identity, size or time. That holds
for an editor's save as well as for a mounted volume that is swapped by a symbolic link.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from portal.errors import ConfigurationError
from portal.tenancy.loader import SUFFIXES, LoadedTenant, read_tenant

Clock = Callable[[], float]
Signature = tuple[int, int, int] | None

_TIME_GRAIN = 0.1
"""Seconds within which a file may change twice and keep its time."""


@dataclass(frozen=True, slots=True)
class TenantFile:
    """What one tenant file held when it was last read: a tenant, or what is wrong with it."""

    signatures: Mapping[Path, Signature]
    loaded: LoadedTenant | None
    error: ConfigurationError | None


def tenant_files(folder: Path) -> list[Path]:
    """Return the tenant files of a folder, in order of name. Raises OSError when it cannot be read."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(SUFFIXES)]
    return [folder / name for name in sorted(names) if not name.startswith(".")]


class TenantFolder:
    """The tenant files of one folder. Not for two threads at once."""

    def __init__(
        self,
        path: Path,
        *,
        allow_private_networks: bool,
        environ: Mapping[str, str],
        clock: Clock = time.time,
    ) -> None:
        self.path = path
        self.files: Mapping[Path, TenantFile] = {}
        self._private = allow_private_networks
        self._environ = environ
        self._clock = clock

    def gone(self) -> set[Path]:
        """Return the files that were there and are not now. Raises OSError without the folder."""
        return self.files.keys() - set(tenant_files(self.path))

    def refresh(self, removable: Collection[Path]) -> None:
        """Bring `files` up to date, in order of name.

        Parameters: removable, files that may be forgotten when they are not there; others stay as they were.
        Raises: OSError when the folder cannot be read; `files` then stays as it was.
        """
        paths = tenant_files(self.path)
        kept = self.files.keys() - set(paths) - set(removable)
        self.files = {path: self._current(path) for path in sorted({*paths, *kept})}

    def _current(self, path: Path) -> TenantFile:
        known = self.files.get(path)
        if known is not None and self._unchanged(known):
            return known
        if known is not None and not path.exists():
            return known
        return self._read(path)

    def _unchanged(self, file: TenantFile) -> bool:
        return all(
            signature is not None and signature == self._signature(path)
            for path, signature in file.signatures.items()
        )

    def _signature(self, path: Path) -> Signature:
        """Identity, size and time of a file; None when it may change once more without a sign of it."""
        try:
            found = path.stat()
        except OSError:
            return (0, 0, 0)
        if found.st_mtime > self._clock() - _TIME_GRAIN:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _read(self, path: Path) -> TenantFile:
        signatures = {path: self._signature(path)}
        secret_files: list[Path] = []
        loaded, error = None, None
        try:
            loaded = read_tenant(
                path,
                allow_private_networks=self._private,
                environ=self._environ,
                secret_files=secret_files,
            )
        except ConfigurationError as problem:
            error = problem
        signatures.update((file, self._signature(file)) for file in secret_files)
        return TenantFile(signatures, loaded, error)
