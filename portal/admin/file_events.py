"""Records when tenant files are added, changed, refused or removed.

Every process sees the same change. The database has a record of all files; the process that replaces it first
records the events. So a change is an event once, also one that happened while no portal ran.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind, Outcome
from portal.admin.user_events import UserEvents
from portal.config.yaml_document import MAX_BYTES, read_bytes
from portal.display_text import display_text
from portal.errors import ConfigurationError, PortalError
from portal.pauses import is_set_within
from portal.tenancy.folder import tenant_files
from portal.tenancy.live_tenants import slug_of_name
from portal.tenancy.removals import is_sudden_loss
from portal.time_slices import in_slices, in_turns

_log = structlog.get_logger("portal.events")

RECORD = "tenant-files"
"""The id of the record, in the metadata of the database."""
_INTERVAL_SECONDS = 2.0
_MOST_REMOVED_PERCENT = 50
_REFUSED = "!"
"""In the record: after the digest of a file that is refused."""


class Files(Protocol):
    """What the events need of the registry (`portal.tenancy.registry.Registry`)."""

    def all(self) -> object:
        """The live tenants; another object after each change."""

    def is_of_operator(self, slug: str) -> bool:
        """Whether a tenant has a file, or is kept although its file is missing."""

    @property
    def problems(self) -> Mapping[str, ConfigurationError]:
        """The problems by file name; another object after each change."""


class Meta(Protocol):
    """The part of the store that the record needs; see `portal.stores.store.Store`."""

    async def get_meta(self, meta_id: str) -> str | None:
        """Return a value; None if it does not exist."""

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        """Replace a value if it is the expected one."""


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    kind: EventKind
    reason: str = ""


class FileEvents:
    """Compares the files with the record whenever this process has read some of them.

    Parameters: folder, of the files; files, the registry that reads them.
    """

    def __init__(self, store: Meta, folder: Path, files: Files, events: UserEvents) -> None:
        self._folder = folder
        self._store = store
        self._files = files
        self._events = events
        self._read: tuple[object, object] | None = None
        self._seen: Mapping[str, str] = {}
        """The states that were compared with the record before."""

    async def run(self, stop: asyncio.Event) -> None:
        """Record changes within two seconds after they are live, until `stop` is set."""
        while not stop.is_set():
            try:
                await self.record()
            except PortalError as error:
                _log.warning("tenant_files_not_recorded", code=error.code)
            except OSError as error:
                _log.warning("tenant_files_not_recorded", reason=error.strerror)
            await is_set_within(stop, _INTERVAL_SECONDS)

    async def record(self) -> None:
        """Record what has changed here and is not in the record. Raises StoreUnavailable, OSError."""
        problems = self._files.problems
        read = (self._files.all(), problems)
        if self._read is not None and self._read[0] is read[0] and self._read[1] is read[1]:
            return
        text = await self._store.get_meta(RECORD)
        states = await asyncio.to_thread(_states, self._folder, problems)
        value, changes = await asyncio.to_thread(self._compared, text, states, problems)
        if value != text and not await self._store.swap_meta(RECORD, expected=text, value=value):
            return  # another process was first; the next call compares again
        self._read, self._seen = read, states
        async for change in in_slices(changes):
            self._events.record(
                change.kind,
                Act(Actor(ActorType.SYSTEM), reason=display_text(change.reason, limit=300)),
                tenant=slug_of_name(change.name)[:63],
                target=display_text(change.name, limit=200),
                outcome=Outcome.REFUSED if change.kind is EventKind.TENANT_FILE_REFUSED else Outcome.DONE,
            )

    def _compared(
        self, text: str | None, states: dict[str, str], problems: Mapping[str, ConfigurationError]
    ) -> tuple[str, list[_Change]]:
        """The new record and the changes; adds to `states` the files of tenants that are kept without them.

        The first record of a database is no change.
        """
        recorded = _parse(text)
        if recorded is None:
            return _text(states), []
        started = self._read is None
        missing = {name for name in in_turns(recorded) if name not in states}
        if started and is_sudden_loss(
            lost=len(missing), before=len(recorded), max_percent=_MOST_REMOVED_PERCENT
        ):
            missing = set()  # the folder may not be mounted
        for name in in_turns(sorted(missing)):
            if self._files.is_of_operator(slug_of_name(name)):
                states[name] = recorded[name]  # its tenant is kept
        merged = dict(recorded)
        changes = []
        for name in in_turns(sorted(states.keys() | missing)):
            new, old = states.get(name), recorded.get(name)
            if new == old or (not started and new == self._seen.get(name)):
                continue  # what did not change here: two hosts may have different files
            if new is None:
                del merged[name]
                changes.append(_Change(name, EventKind.TENANT_FILE_REMOVED))
            else:
                merged[name] = new
                changes.append(_change(name, old, new, problems))
        return _text(merged), changes


def _change(name: str, old: str | None, new: str, problems: Mapping[str, ConfigurationError]) -> _Change:
    if new.endswith(_REFUSED):
        error = problems.get(name)
        reason = error.problems[0].message if error is not None and error.problems else ""
        return _Change(name, EventKind.TENANT_FILE_REFUSED, reason)
    if old is None:
        return _Change(name, EventKind.TENANT_FILE_ADDED)
    return _Change(name, EventKind.TENANT_FILE_CHANGED)


def _states(folder: Path, problems: Mapping[str, object]) -> dict[str, str]:
    """The digest of each file, and whether it is refused.

    What no tenant can be read from has an empty digest: a pipe or a device would be read forever. Raises
    OSError when the folder cannot be read.
    """
    states = {}
    for path in in_turns(tenant_files(folder)):
        name = path.name
        try:
            digest = hashlib.sha256(read_bytes(path, name=name, limit=MAX_BYTES)).hexdigest()[:16]
        except ConfigurationError:
            digest = ""
        states[name] = f"{digest}{_REFUSED if name in problems else ''}"
    return states


def _text(states: Mapping[str, str]) -> str:
    return json.dumps({name: states[name] for name in sorted(states)}, separators=(",", ":"))


def _parse(text: str | None) -> dict[str, str] | None:
    """The record; None if there is none, or it is damaged: it then begins with what there is."""
    try:
        return {str(name): str(state) for name, state in json.loads(text or "null").items()}
    except (ValueError, AttributeError):
        return None
