"""Which front end serves a request, and where a sign-in leads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import structlog

from portal.config.front_ends import ICON_PATH, INDEX, OWN_SEGMENTS, TENANT_PLACEHOLDER, FrontEnd
from portal.errors import StartupError
from portal.outbound.client import OutboundClient
from portal.tenancy.model import Tenant
from portal.web.front_ends.files import FileStore, FilesUnavailable
from portal.web.sites import Site

_log = structlog.get_logger("portal.front_ends")


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

    async def check(self, tenants: Iterable[Tenant]) -> None:
        """Check at start-up that every front end has its page.

        Of a tenant, a missing page is a warning: its users can sign in nevertheless.
        Raises: StartupError when a front end of the operator has none.
        """
        for name, one in self._own.items():
            if one.directory is not None and not await self._has_index(one):
                raise StartupError(
                    f"The front end {name} has no {INDEX} in {one.directory}.",
                    remedy=f"Build it, or correct front_ends.{name}.directory in the settings.",
                )
        for tenant in tenants:
            if tenant.front_end is not None and not await self._has_index(tenant.front_end):
                _log.warning(
                    "front_end_missing", tenant=tenant.slug, directory=str(tenant.front_end.directory)
                )

    async def _has_index(self, front_end: FrontEnd) -> bool:
        try:
            return front_end.directory is None or await self.files.has_index(front_end.directory, INDEX)
        except FilesUnavailable:
            return False

    async def close(self) -> None:
        """Close the connections to development servers, and end the threads that read files."""
        self.files.close()
        await self.development_client.close()


def _page_pattern(home: str | None) -> re.Pattern[str] | None:
    """Return what matches the pages of one tenant; the slug is the first group."""
    if home is None or TENANT_PLACEHOLDER not in home:
        return None
    before = home.partition(TENANT_PLACEHOLDER)[0]
    return re.compile(rf"{re.escape(before)}([a-z0-9][a-z0-9-]{{0,62}})(?:/|\Z)")
