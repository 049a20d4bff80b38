"""The live tenants of a folder of tenant files.

If a file is invalid, the last valid revision of its tenant stays live, and other tenants are not affected.
For many files that disappear at once, see `portal.tenancy.removals`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import structlog

from portal.clock import Clock
from portal.errors import ConfigurationError, Problem
from portal.tenancy.folder import TenantFolder
from portal.tenancy.index import Index
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.tenancy.ownership import resolve_conflicts
from portal.tenancy.presets import Presets, built_in
from portal.tenancy.removals import Removals, acceptance_key
from portal.time_slices import in_slices, in_turns

T = TypeVar("T")

_CHECK_INTERVAL = 2.0
"""Seconds between two checks of the folder, even without a notification of a change."""
_LONGEST_CHECK_INTERVAL = 60.0
_CHECK_SHARE = 0.001
"""Part of a processor's time that checks may take: with 10,000 files, one about every 40 s."""
_REMOVAL_DELAY = 0.25
"""Seconds for which a file must be missing before its tenant is removed: editors save by renaming."""


Accepted = Callable[[str], Awaitable[bool]]
"""Returns whether an operator has confirmed the state of the folder with this `acceptance_key`."""


async def _not_accepted(key: str) -> bool:
    return False


class Registry:
    """The live tenants of one folder.

    `get`, `all`, `by_host` and `search` are thread-safe and see one consistent state.
    """

    def __init__(
        self,
        folder: Path,
        *,
        allow_private_networks: bool = False,
        reserved_hosts: Collection[str] = (),
        environ: Mapping[str, str] | None = None,
        clock: Clock = time.time,
        max_removed_percent: int = 50,
        presets: Presets | None = None,
    ) -> None:
        """Create an empty registry; `load` reads the folder.

        Parameters: folder, with the tenant files; reserved_hosts, host names that no tenant may have (that
        of the portal's public URL); environ, for secrets (default: the environment of this process); clock,
        seconds since the epoch; max_removed_percent, how many of the tenants may be removed at once;
        presets, that tenant files can name (default: the built-in ones).
        """
        self._folder = TenantFolder(
            folder,
            allow_private_networks=allow_private_networks,
            environ=os.environ if environ is None else environ,
            clock=clock,
            presets=presets,
        )
        self.presets = presets or built_in()
        """What tenant files can name; read-only."""
        self._preset_problems: Mapping[str, ConfigurationError] = MappingProxyType({})
        self._reserved = frozenset(host.lower() for host in reserved_hosts)
        self._index = Index(())
        self._problems: Mapping[str, ConfigurationError] = MappingProxyType({})
        self._removals = Removals(max_removed_percent)
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._check_seconds = 0.0
        """CPU time of the last check."""
        self._folder_path = str(folder)
        self._log = structlog.get_logger("portal.tenancy")

    # --- reading

    def get(self, slug: str) -> Tenant | None:
        """Return the live tenant with this slug."""
        return self._index.by_slug.get(slug)

    def all(self) -> Sequence[Tenant]:
        """Return all live tenants, sorted by name."""
        return self._index.tenants

    def by_host(self, host: str) -> Tenant | None:
        """Return the tenant with this host name in `hosts`; a port is ignored."""
        return self._index.by_host(host)

    def search(self, text: str, *, most: int) -> list[Tenant]:
        """Return tenants by a part of their name or by an e-mail address of their users, sorted by name."""
        return self._index.search(text, most=most)

    @property
    def problems(self) -> Mapping[str, ConfigurationError]:
        """Current problems by file name; by the path of the folder if it cannot be read."""
        return self._problems

    @property
    def unclear(self) -> frozenset[str]:
        """Slugs of tenants that are not live because their files are invalid."""
        return frozenset(_slugs(self._problems)) - self._index.by_slug.keys()

    async def is_accepted(self, accepted: Accepted) -> bool:
        """Whether an operator has confirmed the current folder. Raises OSError if it cannot be read."""
        return await accepted(acceptance_key(_slugs(await asyncio.to_thread(self._folder.names))))

    @property
    def without_file(self) -> int:
        """How many tenants are live although their files or the folder are missing."""
        return (
            len(self._index.tenants) if self._folder_path in self._problems else len(self._removals.retained)
        )

    # --- following the folder

    def load(self) -> None:
        """Read all tenant files and accept every removal. Invalid files become problems.

        Raises: ConfigurationError if the folder is missing or cannot be read.
        """
        unreadable = self.presets.problems().get("")
        if unreadable is not None:
            raise unreadable
        try:
            self._refresh(self._folder.missing())
        except OSError as error:
            message = (
                f"the folder of tenant files cannot be read: {error.strerror}; "
                "create it, or set `tenants` or PORTAL_TENANTS to another folder"
            )
            raise ConfigurationError([Problem(self._folder_path, message)]) from None
        self._removals.end(accepted=True)
        if self._index.tenants:
            self._log.info("tenants_loaded", count=len(self._index.tenants))
        else:
            self._log.warning("no_tenants", folder=self._folder_path)

    def check_now(self) -> None:
        """Make `watch` check the folder immediately. Call it in the thread of the event loop."""
        self._wake.set()

    async def watch(
        self,
        stop: asyncio.Event,
        *,
        accepted: Accepted = _not_accepted,
        count_without_file: Callable[[float], None] = lambda count: None,
    ) -> None:
        """Follow the folder until `stop` is set; a change is live within about a second.

        While the folder cannot be read, all tenants stay unchanged. The same holds if many files disappear
        at once, until they return or `accepted` reports that an operator has confirmed the removal.
        Parameters: count_without_file, called with `without_file` after every check.
        """
        notifier = asyncio.create_task(self._watch_files(stop))
        pause = _CHECK_INTERVAL
        try:
            while not stop.is_set():
                await _wait_for_any(self._wake, stop, seconds=pause)
                self._wake.clear()
                self._check_seconds = 0.0
                await self._check_folder(stop, accepted)
                pause = min(max(_CHECK_INTERVAL, self._check_seconds / _CHECK_SHARE), _LONGEST_CHECK_INTERVAL)
                count_without_file(self.without_file)
        finally:
            notifier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await notifier

    async def _check_folder(self, stop: asyncio.Event, accepted: Accepted) -> None:
        before = self._index.by_slug
        try:
            removable = await self._removable(stop, accepted)
            await self._in_thread(self._refresh, removable)
        except OSError as error:
            problem = Problem(
                self._folder_path, f"the folder of tenant files cannot be read: {error.strerror}"
            )
            self._report({**self._problems, self._folder_path: ConfigurationError([problem])})
            return
        await self._log_changes(before)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a function in a thread; add its CPU time to the seconds of this check."""

        def measured() -> T:
            begun = time.thread_time()
            try:
                return work(*arguments)
            finally:
                self._check_seconds += time.thread_time() - begun

        return await asyncio.to_thread(measured)

    async def _removable(self, stop: asyncio.Event, accepted: Accepted) -> set[str]:
        """Return the names of missing files whose tenants may be removed."""
        present, missing = await self._in_thread(self._present_and_missing)
        if not missing:
            self._removals.end(accepted=False)
            return missing
        await _wait_for_any(stop, seconds=_REMOVAL_DELAY)
        if await self._in_thread(self._folder.names) != present:
            return set()  # The folder is still changing; the next check decides.
        before, existing = _slugs(self._folder.files), _slugs(present)
        lost = before - existing
        if not self._removals.is_loss(before, lost):
            self._removals.end(accepted=False)
            return missing
        if await accepted(acceptance_key(existing)):
            self._removals.end(accepted=True)
            return missing
        self._removals.retain(lost, of=len(before))
        return {name for name in missing if _slug(name) not in lost}

    def _present_and_missing(self) -> tuple[set[str], set[str]]:
        present = self._folder.names()
        return present, self._folder.files.keys() - present

    async def _log_changes(self, before: Mapping[str, Tenant]) -> None:
        after = self._index.by_slug
        if after is before:
            return
        async for slug in in_slices(await asyncio.to_thread(_changed, before, after)):
            old, new = before.get(slug), after.get(slug)
            kind = "added" if old is None else "removed" if new is None else "changed"
            self._log.info(f"tenant_{kind}", tenant=slug)

    async def _watch_files(self, stop: asyncio.Event) -> None:
        from watchfiles import awatch

        folders = [self._folder.path, *([self.presets.folder] if self.presets.folder else [])]
        while not stop.is_set():
            try:
                async for _ in awatch(*folders, stop_event=stop, debounce=200, step=100, recursive=False):
                    self.check_now()
            except OSError as error:
                self._log.debug("tenants_folder_not_watched", reason=str(error.strerror or error))
                await _wait_for_any(stop, seconds=_CHECK_INTERVAL)

    def _refresh(self, removable: Collection[str]) -> None:
        with self._lock:
            self._report_presets(self.presets.problems())
            if self._folder.refresh(removable) or self._folder_path in self._problems:
                self._publish()

    # --- from files to live tenants

    def _publish(self) -> None:
        loaded: dict[str, LoadedTenant] = {}
        names: dict[str, str] = {}
        problems: dict[str, ConfigurationError] = {}
        for file in in_turns(self._folder.files.values()):
            path, slug = file.path, file.path.stem
            if slug in names:
                message = f"there is another file for the tenant {slug}; remove one of the two"
                problems[path.name] = ConfigurationError([Problem(str(path), message)])
                continue
            names[slug] = path.name
            if file.loaded is not None:
                loaded[slug] = file.loaded
            elif file.error is not None:
                problems[path.name] = file.error
        old = self._index
        kept = {slug: tenant for slug, tenant in in_turns(old.by_slug.items()) if slug in names}
        resolved = resolve_conflicts(kept, loaded, self._reserved)
        for slug, conflicts in resolved.problems.items():
            problems[names[slug]] = ConfigurationError(conflicts)
        self._index = Index(resolved.live.values(), before=old)
        self._report(problems)

    def _report(self, problems: dict[str, ConfigurationError]) -> None:
        before, self._problems = self._problems, MappingProxyType(problems)
        for name, error in problems.items():
            if name not in before or before[name].problems != error.problems:
                shown = [str(problem) for problem in error.problems]
                self._log.error("tenant_file_rejected", file=name, problems=shown)
        for name in before.keys() - problems.keys():
            self._log.info("tenant_file_accepted", file=name)

    def _report_presets(self, problems: Mapping[str, ConfigurationError]) -> None:
        """Log each preset that cannot be used once, and when it can be used again."""
        before, self._preset_problems = self._preset_problems, problems
        for name, error in problems.items():
            if name not in before or before[name].problems != error.problems:
                self._log.error(
                    "preset_rejected", preset=name, problems=[str(problem) for problem in error.problems]
                )
        for name in before.keys() - problems.keys():
            self._log.info("preset_accepted", preset=name)


def _changed(before: Mapping[str, Tenant], after: Mapping[str, Tenant]) -> list[str]:
    """The slugs of tenants that were added, removed or changed, sorted."""
    slugs = chain(after, before.keys() - after.keys())
    return sorted(slug for slug in in_turns(slugs) if before.get(slug) is not after.get(slug))


def _slug(name: str) -> str:
    return name.rpartition(".")[0]


def _slugs(names: Iterable[str]) -> set[str]:
    return {_slug(name) for name in names}


async def _wait_for_any(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of the events is set, but at most `seconds`."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
