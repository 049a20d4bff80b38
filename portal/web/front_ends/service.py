"""Which front end serves a request, and where a sign-in leads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import unquote

import structlog

from portal.config.api_paths import SLUG
from portal.config.front_ends import ICON_PATH, INDEX, OWN_SEGMENTS, TENANT_PLACEHOLDER, FrontEnd
from portal.errors import StartupError
from portal.outbound.client import OutboundClient
from portal.tenancy.model import Tenant
from portal.web.front_ends.files import FileStore, FilesUnavailable
from portal.web.sites import Site

_log = structlog.get_logger("portal.front_ends")
_CHECK_SECONDS = 10.0
_CHECKED_AT_ONCE = 4
"""Folders; a check of a disk that hangs keeps its thread."""


class _IndexState(Enum):
    THERE = auto()
    MISSING = auto()
    UNKNOWN = auto()
    """The disk does not respond."""


@dataclass(frozen=True, slots=True)
class FrontEndTarget:
    """The front end of a request, and the path below the front end's, as it was sent."""

    front_end: FrontEnd
    path: str


class FrontEnds:
    """The front ends of a deployment: those of the operator, and those of tenants on their own hosts.

    Parameters: own, those of the operator by name; find_tenant, returns a live tenant by its slug.
    """

    def __init__(self, own: Mapping[str, FrontEnd], find_tenant: Callable[[str], Tenant | None]) -> None:
        self._own = own
        self._find_tenant = find_tenant
        self._by_segment: dict[str, tuple[FrontEnd, ...]] = {}
        for one in own.values():
            segment = one.path.split("/")[1]
            self._by_segment[segment] = (*self._by_segment.get(segment, ()), one)
        homes = [one.home for one in own.values() if one.home is not None]
        self._home = homes[0] if homes else None
        self._page_of_tenant = _page_pattern(self._home)
        self.files = FileStore()
        self.development_client = OutboundClient(allow_private_networks=True)
        """Sends requests to development servers on this machine."""

    def find(self, site: Site, path: str) -> FrontEndTarget | None:
        """Return the front end that serves a path; None for the portal's own addresses and all others.

        Parameters: path, as it was sent.
        """
        if not path.startswith("/"):
            return None
        segment = path[1:].partition("/")[0]
        if segment in OWN_SEGMENTS and path != ICON_PATH:
            return None
        for one in self._by_segment.get(segment, ()):
            if f"{path}/".startswith(f"{one.path}/"):
                return FrontEndTarget(one, path.removeprefix(one.path))
        tenant = self._find_tenant(site.tenant) if site.tenant is not None else None
        if tenant is None or tenant.front_end is None:
            return None
        return FrontEndTarget(tenant.front_end, path)

    def home_of(self, site: Site, tenant: str) -> str | None:
        """Return the path that `/t/{tenant}/` leads to after a sign-in; None when it shows the portal's page.

        On its own hosts, a tenant's front end is the home.
        """
        live = self._find_tenant(tenant)
        if site.tenant == tenant and live is not None and live.front_end is not None:
            return "/"
        return self._home.replace(TENANT_PLACEHOLDER, tenant) if self._home is not None else None

    def belongs_to_other(self, path: str, tenant: str) -> bool:
        """Whether a path is a page that a front end has for another tenant (THREATS L5).

        Such a page has the slug of that tenant where `home` has `{tenant}`.
        Parameters: path, without a query.
        """
        found = self._page_of_tenant.match(unquote(path)) if self._page_of_tenant is not None else None
        return found is not None and found[1] != tenant and self._find_tenant(found[1]) is not None

    async def check(self) -> None:
        """Check at start-up that every front end of the operator has its page.

        Raises: StartupError.
        """
        places = {name: one.directory for name, one in self._own.items() if one.directory is not None}
        found = await asyncio.gather(*map(self._index_state, places.values()))
        for (name, directory), state in zip(places.items(), found, strict=True):
            if state is _IndexState.MISSING:
                raise StartupError(
                    f"The front end {name} has no {INDEX} in {directory}.",
                    remedy=f"Build it, or correct front_ends.{name}.directory in the settings.",
                )
            if state is _IndexState.UNKNOWN:
                raise StartupError(
                    f"The disk with {directory}, the folder of the front end {name}, does not respond.",
                    remedy=f"Check the disk, or correct front_ends.{name}.directory in the settings.",
                )

    async def check_tenants(self, tenants: Iterable[Tenant]) -> None:
        """Warn of front ends of tenants without a page; their users can sign in nevertheless.

        Takes at most _CHECK_SECONDS for all together, and may run while the portal serves.
        """
        slots = asyncio.Semaphore(_CHECKED_AT_ONCE)

        async def checked(directory: Path) -> _IndexState:
            async with slots:
                return await self._index_state(directory)

        checks = {
            asyncio.ensure_future(checked(one.front_end.directory)): one
            for one in tenants
            if one.front_end is not None and one.front_end.directory is not None
        }
        if not checks:
            return
        try:
            await asyncio.wait(checks, timeout=_CHECK_SECONDS)
        finally:
            for check in checks:
                check.cancel()
        for check, tenant in checks.items():
            state = check.result() if check.done() else _IndexState.UNKNOWN
            if state is not _IndexState.THERE and tenant.front_end is not None:
                is_missing = state is _IndexState.MISSING
                event = "front_end_missing" if is_missing else "front_end_unresponsive"
                _log.warning(event, tenant=tenant.slug, directory=str(tenant.front_end.directory))

    async def _index_state(self, directory: Path) -> _IndexState:
        try:
            has_index = await self.files.has_index(directory, INDEX)
        except FilesUnavailable:
            return _IndexState.UNKNOWN
        return _IndexState.THERE if has_index else _IndexState.MISSING

    async def close(self) -> None:
        """Close the connections to development servers, and end the threads that read files."""
        self.files.close()
        await self.development_client.close()


def _page_pattern(home: str | None) -> re.Pattern[str] | None:
    """Return what matches the pages of one tenant; the slug is the first group."""
    if home is None or TENANT_PLACEHOLDER not in home:
        return None
    before = home.partition(TENANT_PLACEHOLDER)[0]
    return re.compile(rf"{re.escape(before)}({SLUG})(?:/|\Z)")
