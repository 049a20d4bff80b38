"""The live tenants, kept in step with a folder of tenant files.

One bad file is one problem: the last good revision of its tenant stays live, and so does everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import structlog

from portal.errors import ConfigurationError, Problem
from portal.tenancy.folder import Clock, TenantFolder
from portal.tenancy.index import Index
from portal.tenancy.loader import LoadedTenant
from portal.tenancy.model import Tenant
from portal.tenancy.ownership import settle

_LOOK_EVERY = 2.0
"""Seconds after which the folder is looked at even when nothing was reported."""
_SETTLE = 0.25
"""Seconds for which a file must stay away before its tenant is removed: editors save by renaming."""


@dataclass(frozen=True, slots=True)
class Change:
    """A tenant came (`old` is None), went (`new` is None) or has a new revision."""

    slug: str
    old: Tenant | None
    new: Tenant | None


Listener = Callable[[Change], None]


class Registry:
    """The live tenants of one folder.

    Reading (`get`, `all`, `search` …) is safe from any thread and sees one consistent state.
    """

    def __init__(
        self,
        folder: Path,
        *,
        allow_private_networks: bool = False,
        reserved_hosts: Collection[str] = (),
        environ: Mapping[str, str] | None = None,
        clock: Clock = time.time,
    ) -> None:
        """Make a registry that has read nothing yet.

        Parameters: folder, where the tenant files are; reserved_hosts, host names that no tenant may have
        (that of the portal's public URL); environ, where secrets are looked up (default: this process's);
        clock, seconds since the epoch.
        """
        self._folder = TenantFolder(
            folder,
            allow_private_networks=allow_private_networks,
            environ=os.environ if environ is None else environ,
            clock=clock,
        )
        self._reserved = frozenset(host.lower() for host in reserved_hosts)
        self._index = Index(())
        self._problems: Mapping[str, ConfigurationError] = MappingProxyType({})
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._away = str(folder)
        self._log = structlog.get_logger("portal.tenancy")

    # --- reading

    def get(self, slug: str) -> Tenant | None:
        """The live tenant of this slug."""
        return self._index.by_slug.get(slug)

    def all(self) -> Sequence[Tenant]:
        """Every live tenant, ordered by name."""
        return self._index.tenants

    def by_host(self, host: str) -> Tenant | None:
        """The tenant that has this host name for its own; a port is ignored."""
        return self._index.by_host(host)

    def search(self, text: str) -> list[Tenant]:
        """Tenants whose name holds `text`, or whose users have such an e-mail address, ordered by name."""
        return self._index.search(text)

    @property
    def problems(self) -> Mapping[str, ConfigurationError]:
        """What is wrong now, by file name; by the folder's when it cannot be read."""
        return self._problems

    def on_change(self, listener: Listener) -> None:
        """Call `listener` after every change; while `watch` runs, on the event loop's thread."""
        self._listeners.append(listener)

    # --- following the folder

    def load(self) -> None:
        """Read every tenant file. Bad files become problems.

        Raises: ConfigurationError when the folder is missing or cannot be read.
        """
        try:
            changes = self._refresh(self._folder.gone())
        except OSError as error:
            message = (
                f"the folder of tenant files cannot be read: {error.strerror}; "
                "make it, or set `tenants` or PORTAL_TENANTS to another"
            )
            raise ConfigurationError([Problem(self._away, message)]) from None
        self._tell(changes)
        if self._index.tenants:
            self._log.info("tenants_loaded", count=len(self._index.tenants))
        else:
            self._log.warning("no_tenants", folder=self._away)

    def look_now(self) -> None:
        """Let `watch` look at the folder at once. For the thread of its event loop."""
        self._wake.set()

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the folder until `stop` is set; a change is live within about a second.

        A folder that cannot be read meanwhile changes nothing: every tenant stays as it was.
        """
        notifier = asyncio.create_task(self._notice(stop))
        try:
            while not stop.is_set():
                await _first_of(self._wake, stop, seconds=_LOOK_EVERY)
                self._wake.clear()
                await self._follow(stop)
        finally:
            notifier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await notifier

    async def _follow(self, stop: asyncio.Event) -> None:
        try:
            gone = await asyncio.to_thread(self._folder.gone)
            if gone:
                await _first_of(stop, seconds=_SETTLE)
            changes = await asyncio.to_thread(self._refresh, gone)
        except OSError as error:
            problem = Problem(self._away, f"the folder of tenant files cannot be read: {error.strerror}")
            self._report({**self._problems, self._away: ConfigurationError([problem])})
            return
        for change in changes:
            kind = "added" if change.old is None else "removed" if change.new is None else "changed"
            self._log.info(f"tenant_{kind}", tenant=change.slug)
        self._tell(changes)

    async def _notice(self, stop: asyncio.Event) -> None:
        from watchfiles import awatch

        while not stop.is_set():
            try:
                async for _ in awatch(
                    self._folder.path, stop_event=stop, debounce=200, step=50, recursive=False
                ):
                    self.look_now()
            except OSError as error:
                self._log.debug("tenants_folder_not_watched", reason=str(error.strerror or error))
                await _first_of(stop, seconds=_LOOK_EVERY)

    def _refresh(self, removable: Collection[str]) -> list[Change]:
        with self._lock:
            changed = self._folder.refresh(removable)
            return self._publish() if changed or self._away in self._problems else []

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for listener in self._listeners:
                listener(change)

    # --- from files to live tenants

    def _publish(self) -> list[Change]:
        wanted: dict[str, LoadedTenant] = {}
        names: dict[str, str] = {}
        problems: dict[str, ConfigurationError] = {}
        for file in self._folder.files.values():
            path, slug = file.path, file.path.stem
            if slug in names:
                message = f"there is another file for the tenant {slug}; remove one of the two"
                problems[path.name] = ConfigurationError([Problem(str(path), message)])
                continue
            names[slug] = path.name
            if file.loaded is not None:
                wanted[slug] = file.loaded
            elif file.error is not None:
                problems[path.name] = file.error
        old = self._index.by_slug
        new = {slug: tenant for slug, tenant in old.items() if slug in names}
        for slug, clashes in settle(new, wanted, self._reserved).items():
            problems[names[slug]] = ConfigurationError(clashes)
        self._index = Index(new.values())
        self._report(problems)
        return [
            Change(slug, old.get(slug), new.get(slug))
            for slug in sorted({*old, *new})
            if old.get(slug) is not new.get(slug)
        ]

    def _report(self, problems: dict[str, ConfigurationError]) -> None:
        before, self._problems = self._problems, MappingProxyType(problems)
        for name, error in problems.items():
            if name not in before or before[name].problems != error.problems:
                shown = [str(problem) for problem in error.problems]
                self._log.error("tenant_file_rejected", file=name, problems=shown)
        for name in before.keys() - problems.keys():
            self._log.info("tenant_file_accepted", file=name)


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of the events is set, or for so many seconds."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
