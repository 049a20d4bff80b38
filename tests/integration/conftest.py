"""Worlds of the integration tests: a portal with a provider that was written elsewhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.demo.api import SampleApi
from tests.integration.certified import (
    AUDIENCE,
    CertifiedProvider,
    Client,
    certified_provider,
    tenant_files,
)
from tests.integration.foreign import ForeignPortal, FrontDoor, foreign_portal, orders_api
from tests.kit.browser import Answer, Browser
from tests.kit.world import OffsetClock

@dataclass(frozen=True, slots=True)
class CertifiedWorld:
    """Three tenants at npm's provider, one API, and the portal. The tenant `mistaken` has a wrong secret."""

    portal: ForeignPortal
    provider: CertifiedProvider
    api: SampleApi

    async def sign_in(self, browser: Browser, client: Client, user: str = "ada") -> Answer:
        """Sign in as a person would; ends at the tenant's home."""
        page = await self.provider.let_in(browser, await self.portal.begin(browser, client.tenant), user)
        assert page.url == self.portal.at(f"/t/{client.tenant}/"), page.text[:3000]
        assert page.status == 200
        return page


@pytest.fixture
def certified(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[CertifiedWorld]:
    """The portal in this process, with npm's provider in another."""
    manager = _certified_world(tmp_path)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@contextlib.asynccontextmanager
async def _certified_world(folder: Path) -> AsyncIterator[CertifiedWorld]:
    clock, door = OffsetClock(), FrontDoor()
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(certified_provider(folder, portal_url=door.url))
        api, api_url = await stack.enter_async_context(
            orders_api(issuer=provider.issuer, jwks_uri=provider.jwks_uri, audience=AUDIENCE, clock=clock)
        )
        tenants = tenant_files(provider.issuer, api_url)
        portal = await stack.enter_async_context(foreign_portal(folder, tenants, door, clock))
        yield CertifiedWorld(portal, provider, api)
