"""The presets that exist: built in, of installed packages, and of the operator's folder."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from portal.errors import ConfigurationError, Problem
from portal.tenancy.presets.hooks import Hooks
from portal.tenancy.presets.model import Preset
from portal.tenancy.presets.preset_files import SUFFIX, Check, is_preset_name, parse_preset, read_preset_file

ENTRY_POINTS = "portal.presets"
"""The entry-point group of installed presets."""
DEFAULT = "generic"
_TIME_RESOLUTION = 0.1
"""Seconds within which two changes of a file may leave the same modification time."""

Signature = tuple[int, int, int] | None


class _Source(Protocol):
    """Where presets come from."""

    @property
    def origin(self) -> str:
        """Where they come from, in words."""
        ...

    def names(self) -> set[str]:
        """Return the names of the presets, usable or not. Raises: ConfigurationError."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a preset with this name, usable or not."""
        ...

    def find(self, name: str) -> Preset:
        """Return one of them. Raises: ConfigurationError if its file cannot be used."""
        ...

    def last_read(self) -> Iterator[Preset]:
        """Yield those that can be used, as they were when they were read; reads all at the first call."""
        ...


class _Folder:
    """Preset files in a folder; a changed file is read again when its preset is asked for."""

    def __init__(self, path: Path, *, origin: str, follows_changes: bool, check: Check | None = None) -> None:
        self.path = path
        self.origin = origin
        self._follows_changes = follows_changes
        self._check = check
        self._read: dict[str, tuple[Signature, Preset | ConfigurationError]] = {}
        self._all_read = False

    def names(self) -> set[str]:
        """Raises: ConfigurationError if the folder cannot be read."""
        if not self._follows_changes:
            return self._shipped
        found = self._names()
        for gone in self._read.keys() - found:
            del self._read[gone]
        return found

    @cached_property
    def _shipped(self) -> set[str]:
        return self._names()

    def _names(self) -> set[str]:
        try:
            files = os.listdir(self.path)
        except OSError as error:
            message = (
                f"the folder of presets cannot be read: {error.strerror}; create it, or remove `presets` or "
                "PORTAL_PRESETS from the settings"
            )
            raise ConfigurationError([Problem(str(self.path), message)]) from None
        return {name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX) and name[0] != "."}

    def has(self, name: str) -> bool:
        if not self._follows_changes:
            return name in self._shipped
        return is_preset_name(name) and self.file(name).is_file()

    def file(self, name: str) -> Path:
        return self.path / f"{name}{SUFFIX}"

    def find(self, name: str) -> Preset:
        signature, found = self._read.get(name, (None, None))
        if found is None or (
            self._follows_changes and (signature is None or signature != self._signature(name))
        ):
            signature = self._signature(name)
            try:
                found = read_preset_file(self.file(name), self._check)
            except ConfigurationError as error:
                found = error
            self._read[name] = (signature, found)
        if isinstance(found, ConfigurationError):
            raise ConfigurationError(found.problems)
        return found

    def last_read(self) -> Iterator[Preset]:
        if not self._all_read:
            self._all_read = True
            yield from _usable(self)
            return
        yield from (found for _, found in [*self._read.values()] if isinstance(found, Preset))

    def _signature(self, name: str) -> Signature:
        """Inode, size and time of a file; None if a further change could leave them the same."""
        try:
            found = os.stat(self.file(name))
        except OSError:
            return (0, 0, 0)
        if found.st_mtime > time.time() - _TIME_RESOLUTION:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)


class _Installed:
    """The presets of installed packages, found through entry points and read once."""

    origin = "an installed package"

    def __init__(self, found: Mapping[str, EntryPoint], check: Check | None) -> None:
        self._entry_points = found
        self._check = check
        self._read: dict[str, Preset] = {}

    def names(self) -> set[str]:
        return set(self._entry_points)

    def has(self, name: str) -> bool:
        return name in self._entry_points

    def find(self, name: str) -> Preset:
        if name not in self._read:
            self._read[name] = self._load(self._entry_points[name])
        return self._read[name]

    def last_read(self) -> Iterator[Preset]:
        return _usable(self)

    def _load(self, entry_point: EntryPoint) -> Preset:
        place = f"the entry point {entry_point.name} of {ENTRY_POINTS} ({entry_point.value})"
        try:
            loaded = entry_point.load()
            content = (resources.files(entry_point.module) / f"{entry_point.name}{SUFFIX}").read_bytes()
        except Exception as error:  # code of another package must not stop the portal
            reason = f"cannot be loaded: {type(error).__name__}; reinstall or remove the package"
            raise ConfigurationError([Problem(place, reason)]) from error
        if entry_point.attr and not (isinstance(loaded, type) and issubclass(loaded, Hooks)):
            message = "is not a class derived from portal.tenancy.presets.Hooks"
            raise ConfigurationError([Problem(place, message)])
        hooks = loaded() if entry_point.attr else None
        file = f"{entry_point.module}/{entry_point.name}{SUFFIX}"
        return parse_preset(content, entry_point.name, place=file, hooks=hooks, check=self._check)


class Presets:
    """Finds presets by name. The operator's folder comes first, then installed packages, then built-in ones.

    Thread-safe. Files are read when they are asked for the first time.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        installed: Mapping[str, EntryPoint] | None = None,
        check: Check | None = None,
    ) -> None:
        """Make a catalog.

        Parameters: folder, of the operator; None: none; installed, entry points by name; check, of the
        `provider` part of files that are not built in.
        """
        self._folder = (
            _Folder(folder, origin="the folder", follows_changes=True, check=check) if folder else None
        )
        others = [_Installed(installed, check)] if installed else []
        self._sources: list[_Source] = [
            *([self._folder] if self._folder else []),
            *others,
            _built_in_folder(),
        ]

    @property
    def folder(self) -> Path | None:
        """The operator's folder."""
        return self._folder.path if self._folder else None

    def names(self) -> list[str]:
        """Return the names of all presets, sorted, `generic` last; also of those that cannot be used."""
        found = {name for source in self._sources for name in _names_of(source)}
        return sorted(found, key=lambda name: (name == DEFAULT, name))

    def find(self, name: str) -> Preset | None:
        """Return a preset; None if there is none with this name.

        Raises: ConfigurationError if its file cannot be used.
        """
        for source in self._sources:
            if source.has(name):
                return source.find(name)
        return None

    def origin(self, name: str) -> str | None:
        """Return where a preset comes from, in words; None if there is none with this name."""
        return next((source.origin for source in self._sources if source.has(name)), None)

    def file_in_folder(self, name: str) -> Path | None:
        """Return the file of the operator's folder that has or would have this preset.

        None: the name cannot be that of a file, or there is no folder.
        """
        return self._folder.file(name) if self._folder and is_preset_name(name) else None

    def all(self) -> Iterator[Preset]:
        """Yield every preset that can be used, in the order of `names`."""
        for name in self.names():
            try:
                preset = self.find(name)
            except ConfigurationError:  # `problems` reports it
                continue
            if preset is not None:
                yield preset

    def problems(self) -> dict[str, ConfigurationError]:
        """Return what is wrong with presets that are not built in, by name; with the folder itself under "".

        Built-in ones are not read for this.
        """
        found: dict[str, ConfigurationError] = {}
        for source in self._sources[:-1]:
            try:
                names = source.names()
            except ConfigurationError as error:
                found[""] = error
                continue
            for name in sorted(names):
                try:
                    source.find(name)
                except ConfigurationError as error:
                    found.setdefault(name, error)
        return found

    def recognize(self, issuer: str) -> Preset | None:
        """Return the preset for an issuer of a form that only one kind of provider uses.

        A changed file of the folder counts from the next `problems` or `find` on.
        """
        own = (one for source in self._sources[:-1] for one in source.last_read())
        found = next((one for one in own if one.recognizes(issuer)), None)
        if found is None and re.match(_built_in_issuers(), issuer):
            found = next((one for pattern, one in _built_in_patterns() if pattern.fullmatch(issuer)), None)
        return found


def _usable(source: _Source) -> Iterator[Preset]:
    for name in sorted(_names_of(source)):
        try:
            yield source.find(name)
        except ConfigurationError:  # `problems` reports it
            continue


def _names_of(source: _Source) -> set[str]:
    try:
        return source.names()
    except ConfigurationError:  # `problems` reports it; the presets of other sources can still be used
        return set()


@cache
def installed_presets() -> Mapping[str, EntryPoint]:
    """Return the entry points of installed presets by name.

    They are read once: that takes 5 ms, and what is installed does not change while the portal runs.
    """
    return {one.name: one for one in entry_points(group=ENTRY_POINTS)}


@cache
def _built_in_folder() -> _Folder:
    return _Folder(Path(__file__).parent, origin="built in", follows_changes=False)


@cache
def _built_in_issuers() -> re.Pattern[str]:
    """A pattern for the issuers that any built-in preset recognizes: most issuers match none of them."""
    presets = _usable(_built_in_folder())
    patterns = [pattern for one in presets for pattern in one.issuer_rules.recognized_by]
    return re.compile("|".join(f"(?:{pattern})$" for pattern in patterns))


@cache
def _built_in_patterns() -> tuple[tuple[re.Pattern[str], Preset], ...]:
    """The patterns of `recognized_by` with their presets, compiled."""
    presets = _usable(_built_in_folder())
    return tuple((re.compile(pattern), one) for one in presets for pattern in one.issuer_rules.recognized_by)


@cache
def built_in() -> Presets:
    """Return the presets that are part of the portal."""
    return Presets()
