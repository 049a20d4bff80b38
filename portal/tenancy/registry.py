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
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from portal.clock import Clock
from portal.errors import ConfigurationError, Problem
from portal.pauses import wait_for_any
from portal.tenancy.folder import TenantFolder
from portal.tenancy.index import Index
from portal.tenancy.live_tenants import LiveTenants, slug_of_name, slugs_of
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.tenancy.ownership import Owned
from portal.tenancy.presets import Presets, built_in
from portal.tenancy.removals import Removals, acceptance_key
from portal.tenancy.stored import StoredTenant
from portal.time_slices import in_slices, in_turns

T = TypeVar("T")

_CHECK_INTERVAL = 2.0
"""Seconds between two checks of the folder, even without a notification of a change."""
_LONGEST_CHECK_INTERVAL = 60.0
_CHECK_SHARE = 0.0005
"""Part of a processor's time that checks may take: with 10,000 files, one a minute."""
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
        self._preset_problems: Mapping[str, ConfigurationError] = {}
        self._live = LiveTenants(self._folder, reserved_hosts)
        self._removals = Removals(max_removed_percent)
        self._ever_stored: set[str] = set()
        """Slugs of tenants that the database has had since the start."""
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._changed_paths: set[str] = set()
        """Changes that were notified since the last check."""
        self._check_all = False
        self._check_seconds = 0.0
        """CPU time of the last check."""
        self._folder_path = str(folder)
        self._log = structlog.get_logger("portal.tenancy")

    # --- reading

    def get(self, slug: str) -> Tenant | None:
        """Return the live tenant with this slug."""
        return self._live.index.by_slug.get(slug)

    def is_of_operator(self, slug: str) -> bool:
        """Whether a tenant comes from a file, and may use what the operator allows to files.

        A slug without a file is not: it may be a tenant of the database that has only a draft. What has been
        live from the database stays untrusted until a file's tenant is live in its place.
        """
        files = self._folder.of(slug)
        if not files or slug not in self._ever_stored:
            return bool(files)
        loaded = [file.loaded.tenant for file in files if file.loaded is not None]
        return bool(loaded) and self.get(slug) is loaded[0]

    def file_of(self, slug: str) -> Path | None:
        """The file to which a slug belongs; None for tenants of the database, and unknown ones."""
        return next((file.path for file in self._folder.of(slug)), None)

    def loaded(self, slug: str) -> LoadedTenant | None:
        """What a tenant's file or revision was read as; None when it cannot be used, or there is none."""
        return self._live.loaded(slug)

    def problems_of(self, slug: str) -> tuple[Problem, ...]:
        """The problems of a tenant's files and revision; those of a conflict name another tenant."""
        return self._live.problems_of(slug)

    def has_conflict(self, slug: str) -> bool:
        """Whether a tenant is not served because it claims a name of another."""
        return self._live.has_conflict(slug)

    def all(self) -> Sequence[Tenant]:
        """Return all live tenants, sorted by name."""
        return self._live.index.tenants

    @property
    def index(self) -> Index:
        """The index of all live tenants, for `portal.tenancy.finding`."""
        return self._live.index

    def by_host(self, host: str) -> Tenant | None:
        """Return the tenant with this host name in `hosts`; a port is ignored."""
        return self._live.index.by_host(host)

    def search(self, text: str, *, most: int) -> list[Tenant]:
        """Return tenants by a part of their name or by an e-mail address of their users, sorted by name."""
        return self._live.index.search(text, most=most)

    @property
    def problems(self) -> Mapping[str, ConfigurationError]:
        """Current problems by file name; by the path of the folder if it cannot be read."""
        return self._live.problems

    def slug_of_problem(self, name: str) -> str:
        """The slug of the tenant of a key of `problems`; empty for the folder."""
        return "" if name == self._folder_path else slug_of_name(name)

    @property
    def unclear(self) -> frozenset[str]:
        """Slugs of tenants that are not live because their files are invalid."""
        live = self._live.index.by_slug
        return frozenset(slug for slug in slugs_of(self._live.problems) if slug not in live)

    async def is_accepted(self, accepted: Accepted) -> bool:
        """Whether an operator has confirmed the current folder. Raises OSError if it cannot be read."""
        return await accepted(acceptance_key(slugs_of(await asyncio.to_thread(self._folder.names))))

    @property
    def without_file(self) -> int:
        """How many tenants are live although their files or the folder are missing."""
        return (
            len(self._live.index.tenants)
            if self._folder_path in self._live.problems
            else len(self._removals.retained)
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
        if self._live.index.tenants:
            self._log.info("tenants_loaded", count=len(self._live.index.tenants))
        else:
            self._log.warning("no_tenants", folder=self._folder_path)

    def restore_owners(self, recorded: Owned) -> None:
        """Return names to the tenants that owned them before this start. Call it before the portal serves.

        Parameters: recorded, the `owned` of an earlier registry.
        """
        with self._lock:
            self._live.restore_owners(recorded)

    def owned(self, recorded: Owned) -> Owned:
        """Return the names that each tenant owns, by slug.

        Parameters: recorded, names that tenants own in other processes; they keep what they still claim.
        """
        with self._lock:
            return self._live.owned(recorded)

    def owner_in_files(self, name: str) -> str | None:
        """The slug of the tenant of a file that has a host name or e-mail domain.

        Empty for the portal's own host; None for names of tenants of the database, and free ones.
        """
        return self._live.owner_in_files(name)

    def conflicts(self, loaded: LoadedTenant) -> list[Problem]:
        """Return a problem for each name of a tenant that another one has, without telling which.

        Waits while files are read: call it in a thread.
        """
        with self._lock:
            return self._live.conflicts(loaded)

    @property
    def owners_version(self) -> int:
        """A number that changes with every change of owners."""
        return self._live.owners_version

    async def publish_stored(self, tenants: Mapping[str, StoredTenant], changed: Collection[str]) -> None:
        """Serve tenants of the database beside those of the folder.

        Parameters: tenants, all of them, by slug; changed, slugs of those that differ from the last call.
        """
        before = self._live.index.by_slug

        def publish() -> Collection[str]:
            with self._lock:
                self._ever_stored.update(tenants)
                self._live.stored = tenants
                return self._live.publish(changed)

        await self._log_changes(before, await asyncio.to_thread(publish))

    def check_now(self) -> None:
        """Make `watch` check all files immediately. Call it in the thread of the event loop."""
        self._check_all = True
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
        due = time.monotonic() + pause
        try:
            while not stop.is_set():
                await wait_for_any(self._wake, stop, seconds=due - time.monotonic())
                self._wake.clear()
                paths, self._changed_paths = self._changed_paths, set()
                if self._check_all or time.monotonic() >= due or not await self._check_changed(paths):
                    self._check_all = False
                    self._check_seconds = 0.0
                    await self._check_folder(stop, accepted)
                    pause = max(_CHECK_INTERVAL, self._check_seconds / _CHECK_SHARE)
                    due = time.monotonic() + min(pause, _LONGEST_CHECK_INTERVAL)
                count_without_file(self.without_file)
        finally:
            notifier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await notifier

    async def _check_changed(self, paths: Collection[str]) -> bool:
        """Read changed files again; False if all files must be checked."""
        before = self._live.index.by_slug
        changed = await asyncio.to_thread(self._refresh_changed, paths)
        if changed is None:
            return False
        await self._log_changes(before, changed)
        return True

    async def _check_folder(self, stop: asyncio.Event, accepted: Accepted) -> None:
        before = self._live.index.by_slug
        try:
            removable, names = await self._removable(stop, accepted)
            changed = await self._in_thread(self._refresh, removable, names)
        except OSError as error:
            problem = Problem(
                self._folder_path, f"the folder of tenant files cannot be read: {error.strerror}"
            )
            self._live.report({**self._live.problems, self._folder_path: ConfigurationError([problem])})
            return
        await self._log_changes(before, changed)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a function in a thread; add its CPU time to the seconds of this check."""

        def measured() -> T:
            begun = time.thread_time()
            try:
                return work(*arguments)
            finally:
                self._check_seconds += time.thread_time() - begun

        return await asyncio.to_thread(measured)

    async def _removable(self, stop: asyncio.Event, accepted: Accepted) -> tuple[set[str], set[str] | None]:
        """Return the missing files whose tenants may be removed; if none is missing, also all files."""
        present, missing = await self._in_thread(self._present_and_missing)
        if not missing:
            self._removals.end(accepted=False)
            return missing, present
        await wait_for_any(stop, seconds=_REMOVAL_DELAY)
        if await self._in_thread(self._folder.names) != present:
            return set(), None  # The folder is still changing; the next check decides.
        before, existing = slugs_of(self._folder.files), slugs_of(present)
        lost = before - existing
        if not self._removals.is_loss(before, lost):
            self._removals.end(accepted=False)
            return missing, None
        if await accepted(acceptance_key(existing)):
            self._removals.end(accepted=True)
            return missing, None
        self._removals.retain(lost, of=len(before))
        return {name for name in missing if slug_of_name(name) not in lost}, None

    def _present_and_missing(self) -> tuple[set[str], set[str]]:
        present = self._folder.names()
        return present, {name for name in in_turns(self._folder.files) if name not in present}

    async def _log_changes(self, before: Mapping[str, Tenant], changed: Collection[str]) -> None:
        after = self._live.index.by_slug
        async for slug in in_slices(sorted(changed)):
            old, new = before.get(slug), after.get(slug)
            event = "tenant_added" if old is None else "tenant_removed" if new is None else "tenant_changed"
            self._log.info(event, tenant=slug)

    async def _watch_files(self, stop: asyncio.Event) -> None:
        from watchfiles import awatch

        folders = [self._folder.path, *([self.presets.folder] if self.presets.folder else [])]
        while not stop.is_set():
            try:
                async for changes in awatch(
                    *folders, stop_event=stop, debounce=400, step=200, recursive=False
                ):
                    self._changed_paths.update(path for _, path in changes)
                    self._wake.set()
            except OSError as error:
                self._log.debug("tenants_folder_not_watched", reason=str(error.strerror or error))
                await wait_for_any(stop, seconds=_CHECK_INTERVAL)

    def _refresh(self, removable: Collection[str], names: Collection[str] | None = None) -> Collection[str]:
        """Check all files; return the slugs of the tenants that changed. Raises OSError."""
        with self._lock:
            self._report_presets(self.presets.problems())
            changed = self._folder.refresh(removable, names=names)
            readable_again = self._folder_path in self._live.problems
            return self._live.publish(slugs_of(changed)) if changed or readable_again else ()

    def _refresh_changed(self, paths: Collection[str]) -> Collection[str] | None:
        """Check the files at these paths; return the slugs of the tenants that changed.

        None: all files must be checked.
        """
        with self._lock:
            changed = self._folder.refresh_changed(paths)
            return self._live.publish(slugs_of(changed)) if changed else changed

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
