"""Fixtures of the integration tests: a portal with a third-party provider."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.integration.certified import (
    AUDIENCE,
    CertifiedProvider,
    Client,
    certified_provider,
    registrations,
    tenant_files,
)
from tests.integration.child import Child
from tests.integration.local_portal import LocalPortal, PortalAddress, local_portal, orders_api
from tests.integration.mock import MockProvider, Registered, mock_provider, start_mock, tenant_file
from tests.integration.registrations import RegisteredWorld, registered_world
from tests.integration.shared_provider import (
    Registration,
    SharedProvider,
    SharedProviderWorld,
    shared_provider_world,
)
from tests.kit.browser import Browser, Response
from tests.kit.faulty.api import FaultyApi
from tests.kit.world import OffsetClock


@dataclass(frozen=True, slots=True)
class CertifiedWorld:
    """Three tenants at `oidc-provider`, one API, and the portal. The tenant `mistaken` has a wrong secret.

    The provider uses real time. The portal's clock is `portal.clock`, the API's is `api_clock`.
    """

    portal: LocalPortal
    provider: CertifiedProvider
    api: FaultyApi
    api_clock: OffsetClock

    async def sign_in(self, browser: Browser, client: Client, user: str = "ada") -> Response:
        """Sign in through the pages; return the tenant's home page."""
        page = await self.provider.complete_sign_in(
            browser, await self.portal.begin(browser, client.tenant), user
        )
        assert page.url == self.portal.at(f"/t/{client.tenant}/"), page.text[:3000]
        assert page.status == 200
        return page


@pytest.fixture
def certified(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[CertifiedWorld]:
    """The portal in this process, with `oidc-provider` in another."""
    manager = _certified_world(tmp_path)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@contextlib.asynccontextmanager
async def _certified_world(folder: Path) -> AsyncIterator[CertifiedWorld]:
    clock, api_clock, address = OffsetClock(), OffsetClock(), PortalAddress()
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(certified_provider(folder, registrations(address.url)))
        api, api_url = await stack.enter_async_context(
            orders_api(issuer=provider.issuer, jwks_uri=provider.jwks_uri, audience=AUDIENCE, clock=api_clock)
        )
        tenants = tenant_files(provider.issuer, api_url)
        portal = await stack.enter_async_context(local_portal(folder, tenants, address, clock))
        yield CertifiedWorld(portal, provider, api, api_clock)


@dataclass(frozen=True, slots=True)
class MockWorld:
    """The tenant `umbrella` at `oidc-provider-mock`, an API that trusts this provider, and the portal."""

    portal: LocalPortal
    provider: MockProvider
    api: FaultyApi
    client: Registered

    async def sign_in(self, browser: Browser) -> Response:
        """Sign in through the pages; return the tenant's home page."""
        page = await self.provider.complete_sign_in(browser, await self.portal.begin(browser, "umbrella"))
        assert page.url == self.portal.at("/t/umbrella/"), page.text[:3000]
        assert page.status == 200
        return page


@pytest.fixture(scope="session")
def mock_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The process of `oidc-provider-mock`; each test registers its own client."""
    child = start_mock(tmp_path_factory.mktemp("oidc-provider-mock"))
    try:
        yield child
    finally:
        child.end()


@pytest.fixture
def mock(
    request: pytest.FixtureRequest,
    mock_child: Child,
    io_loop: IOLoop,
    tmp_path: Path,
    log_lines: io.StringIO,
) -> Iterator[MockWorld]:
    """The portal in this process, with `oidc-provider-mock` in another.

    An indirect parameter is the client authentication method (default: `client_secret_basic`), or a mapping
    of additional keys of the tenant file.
    """
    param = getattr(request, "param", {})
    auth, options = (param, {}) if isinstance(param, str) else ("client_secret_basic", param)
    manager = _mock_world(mock_child, tmp_path, auth, options)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@contextlib.asynccontextmanager
async def _mock_world(
    child: Child, folder: Path, auth: str, options: Mapping[str, object]
) -> AsyncIterator[MockWorld]:
    clock, address = OffsetClock(), PortalAddress()
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(mock_provider(child))
        client = await provider.register(f"{address.url}/t/umbrella/callback", auth)
        api, api_url = await stack.enter_async_context(
            orders_api(issuer=provider.issuer, jwks_uri=provider.jwks_uri, audience=AUDIENCE, clock=clock)
        )
        tenants = {"umbrella": tenant_file(provider.issuer, client, api_url, options)}
        portal = await stack.enter_async_context(local_portal(folder, tenants, address, clock))
        yield MockWorld(portal, provider, api, client)


def shared_world(
    io_loop: IOLoop, provider: SharedProvider, folder: Path, registration: Registration
) -> Iterator[SharedProviderWorld]:
    """The portal with a provider that several tests share; fixtures yield from it."""
    manager = shared_provider_world(provider, folder, registration)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@pytest.fixture
def registered(
    request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO
) -> Iterator[RegisteredWorld]:
    """The portal with `oidc-provider`, registered according to an indirect parameter."""
    manager = registered_world(tmp_path, request.param)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)
