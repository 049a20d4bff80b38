"""The logos of tenants: fetched from `branding.logo_url`, checked, and kept in memory.

No page waits for a logo: it shows the initials until the logo is there. Each process fetches the logos that
its pages show, once a day, one at a time for each tenant and a few at a time for all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from portal.bounded_cache import ByteBoundedCache
from portal.config.logo_content import LARGEST_TENANT_LOGO, Logo, LogoRefused, logo_of
from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.client import OutboundClient
from portal.single_flight import SingleFlight
from portal.tenancy.model import Tenant

_log = structlog.get_logger("portal.tenants")

FRESH_SECONDS = 86_400.0
RETRY_SECONDS = 900.0
"""How long a failure is kept."""
FETCH_SECONDS = 5.0
WAIT_SECONDS = 10.0
"""How long a request for a logo waits for it."""
MOST_FETCHES = 4
"""At the same time."""
MOST_WAITING = 200
"""Fetches that wait or run; a page that would need another one shows the initials."""
CACHE_BYTES = 16_000_000
_ACCEPT = ("Accept", "image/svg+xml, image/png, image/webp, image/jpeg")


@dataclass(frozen=True, slots=True)
class TenantLogo:
    """A logo that was fetched."""

    logo: Logo
    version: str
    """The beginning of the hash of its content."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The result of a fetch: a logo, or None and the problem. Times are those of the monotonic clock."""

    url: str
    logo: TenantLogo | None
    again_at: float
    problem: str


class TenantLogos:
    """Fetches and keeps logos.

    Parameters: http, the guarded client; monotonic, a clock in seconds.
    """

    def __init__(self, http: OutboundClient, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._monotonic = monotonic
        self._fetched: ByteBoundedCache[str, _Fetched] = ByteBoundedCache(CACHE_BYTES)
        self._in_progress: SingleFlight[str, None] = SingleFlight()
        self._slots = asyncio.Semaphore(MOST_FETCHES)

    def now(self, tenant: Tenant) -> TenantLogo | None:
        """Return the logo of a tenant if it is here; if it is not, or old, begin to fetch it."""
        url = tenant.branding.logo_url
        if url is None:
            return None
        known = self._known(tenant.slug, url)
        if known is None or self._monotonic() >= known.again_at:
            self._fetch_soon(tenant.slug, url)
        return known.logo if known is not None else None

    def problem(self, tenant: Tenant) -> str:
        """Return why the last fetch of a logo failed; empty if it did not, or there was none."""
        known = self._known(tenant.slug, tenant.branding.logo_url or "")
        return known.problem if known is not None else ""

    async def get(self, tenant: Tenant) -> TenantLogo | None:
        """Return the logo of a tenant; if it was not fetched yet, wait for it, but at most `WAIT_SECONDS`."""
        logo = self.now(tenant)
        fetching = self._in_progress.get(tenant.slug)
        if logo is None and fetching is not None:
            await asyncio.wait({fetching}, timeout=WAIT_SECONDS)
            logo = self.now(tenant)
        return logo

    async def close(self) -> None:
        """Cancel the fetches."""
        await self._in_progress.cancel()

    def _known(self, slug: str, url: str) -> _Fetched | None:
        found = self._fetched.get(slug)
        return found if found is not None and found.url == url else None

    def _fetch_soon(self, slug: str, url: str) -> None:
        if len(self._in_progress) < MOST_WAITING:
            self._in_progress.join(slug, lambda: self._fetch(slug, url))

    async def _fetch(self, slug: str, url: str) -> None:
        known, logo, seconds, problem = self._known(slug, url), None, RETRY_SECONDS, ""
        async with self._slots:
            try:
                logo, seconds = await self._load(slug, url), FRESH_SECONDS
            except OutboundFailed as error:
                logo = known.logo if known is not None else None  # its server may be back later
                problem = error.detail
            except OutboundRefused as error:
                problem = error.detail
            except LogoRefused as error:
                problem = f"the logo {error}"
        if problem:
            _log.warning("tenant_logo_not_shown", tenant=slug, detail=problem)
        self._keep(slug, _Fetched(url, logo, self._monotonic() + seconds, problem))

    async def _load(self, slug: str, url: str) -> TenantLogo:
        """Raises: OutboundRefused, OutboundFailed, LogoRefused."""
        response = await self._http.fetch(
            "GET", url, tenant=slug, headers=(_ACCEPT,), max_bytes=LARGEST_TENANT_LOGO, timeout=FETCH_SECONDS
        )
        if response.status != 200:
            raise OutboundFailed(f"the server of the logo responded with {response.status}; expected 200")
        logo = await asyncio.to_thread(logo_of, response.body)
        return TenantLogo(logo, hashlib.sha256(logo.content).hexdigest()[:16])

    def _keep(self, slug: str, fetched: _Fetched) -> None:
        size = len(fetched.url) + (len(fetched.logo.logo.content) if fetched.logo is not None else 0)
        self._fetched.put(slug, fetched, size=size, owner=slug)
