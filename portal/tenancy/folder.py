"""A folder of tenant files; only changed files are read again.

A file has changed if its inode, size or modification time differs, or that of a secret or preset that it
names. This detects an editor's save as well as a mounted volume that is replaced through a symbolic link.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

from portal.clock import Clock
from portal.errors import ConfigurationError
from portal.tenancy.loading import SUFFIXES, LoadedTenant, TenantFileRejected, read_tenant
from portal.tenancy.presets import Presets
from portal.time_slices import in_turns

Signature = tuple[int, int, int]
"""Inode, size and modification time in nanoseconds."""

_MISSING = (0, 0, 0)

_TIME_RESOLUTION = 0.1
"""Seconds within which two changes of a file may leave the same modification time."""


@dataclass(frozen=True, slots=True)
class TenantFile:
    """The result of the last read of one tenant file: a tenant, or its problems."""

    path: Path
    signatures: Mapping[str, Signature | None]
    loaded: LoadedTenant | None
    error: ConfigurationError | None


def tenant_files(folder: Path) -> list[Path]:
    """Return the tenant files of a folder, sorted by name. Raises OSError if it cannot be read."""
    return [folder / name for name in sorted(_names(folder))]


def _names(folder: Path) -> set[str]:
    names = in_turns(os.listdir(folder))
    return {name for name in names if name.endswith(SUFFIXES) and name[0] != "."}


def _signature_of(path: str) -> Signature:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return _MISSING
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unchanged(file: TenantFile) -> bool:
    for path, signature in file.signatures.items():  # `all` with a generator takes a third longer
        if signature is None or signature != _signature_of(path):
            return False
    return True


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
        self.files: dict[str, TenantFile] = {}
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

    def refresh(self, removable: Collection[str], *, names: Collection[str] | None = None) -> set[str]:
        """Check every file; return the names of those that were read or removed, and update `files`.

        Parameters: removable, files to remove from `files` if they no longer exist; others are kept; names,
        those that exist, if they have just been listed.
        Raises: OSError if the folder cannot be read; `files` is then unchanged.
        """
        before = self.files
        names = _names(self.path) if names is None else names
        missing = {name for name in in_turns(before) if name not in names}
        removed = missing.intersection(removable)
        ordered: Iterable[str] = (name for name in before if name not in removed)
        if len(names) > len(before) - len(missing):
            new = sorted(name for name in in_turns(names) if name not in before)
            ordered = merge(ordered, new)  # sorting all names would hold the interpreter's lock
        now = {}
        for name in in_turns(ordered):
            now[name] = before[name] if name in missing else self._current(name)
        self.files = now
        return removed.union(name for name in in_turns(now) if now[name] is not before.get(name))

    def refresh_changed(self, paths: Iterable[str]) -> set[str] | None:
        """Read again the files at these paths; return the names of those that were read.

        None: all files must be checked with `refresh`, because a file was added or removed, or something else
        changed: a secret file, a volume's symbolic link, the folder itself. What is not a known file and no
        longer exists was a temporary file.
        """
        changed = set()
        for path in in_turns(paths):
            folder, name = os.path.split(path)
            if folder != str(self.path) or os.path.lexists(path) != (name in self.files):
                return None
            if name in self.files:
                changed.add(name)
        found = {name: self._current(name) for name in in_turns(changed)}
        changed = {name for name, file in found.items() if file is not self.files[name]}
        self.files.update(found)
        return changed

    def of(self, slug: str) -> list[TenantFile]:
        """The files of a tenant; more than one is a mistake, and the first one counts."""
        names = (f"{slug}{suffix}" for suffix in SUFFIXES)
        return [self.files[name] for name in names if name in self.files]

    def _current(self, name: str) -> TenantFile:
        known = self.files.get(name)
        if known is not None and _unchanged(known):
            return known
        return self._read(self.path / name)

    def _signature(self, path: str) -> Signature | None:
        """The signature of a file; None if a further change could leave it the same."""
        found = _signature_of(path)
        too_new = found[2] > (self._clock() - _TIME_RESOLUTION) * 1e9
        return None if too_new and found != _MISSING else found

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
                advice=False,
            )
            secret_files = loaded.secret_files
        except TenantFileRejected as rejected:
            error, secret_files = rejected, rejected.secret_files
        signatures.update((str(file), self._signature(str(file))) for file in secret_files)
        return TenantFile(path, signatures, loaded, error)
