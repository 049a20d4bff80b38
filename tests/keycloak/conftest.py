"""The portal in the test process, and a real Keycloak; tests are skipped with a reason if there is none."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tornado.ioloop import IOLoop

from tests.integration.local_portal import LocalPortal, PortalAddress, local_portal
from tests.integration.served import free_port
from tests.keycloak.clients import CLIENTS, DEPLOYED, tenant_file
from tests.keycloak.server import SECRET, Keycloak, skip_reason
from tests.kit.browser import Browser, Response
from tests.kit.world import OffsetClock

USERINFO = "/protocol/openid-connect/userinfo"
USERS = {"acme": ("alice", "acme-alice"), "globex": ("gina", "globex-gina")}


@dataclass(frozen=True, slots=True)
class Shared:
    """Shared by all tests of a run: Keycloak, the portal's port, and its keys, which Keycloak caches."""

    keycloak: Keycloak
    port: int
    keys: Path


@dataclass(frozen=True, slots=True)
class KeycloakWorld:
    """A tenant for each client of Keycloak's realms, and the portal."""

    portal: LocalPortal
    keycloak: Keycloak

    async def sign_in(self, browser: Browser, slug: str, query: str = "") -> Response:
        """Sign in through the pages; return the tenant's home page."""
        page = await self.complete_sign_in(browser, await self.portal.begin(browser, slug, query), slug)
        assert page.url == self.portal.at(f"/t/{slug}/"), (page.trail[-1].partition("?")[0], page.text[:3000])
        assert page.status == 200
        return page

    async def complete_sign_in(self, browser: Browser, page: Response, slug: str) -> Response:
        return await self.keycloak.complete_sign_in(browser, page, *USERS.get(slug, USERS["acme"]))

    async def userinfo(self, browser: Browser, slug: str) -> dict[str, object]:
        """Call the tenant's API, which is Keycloak's UserInfo."""
        response = await self.portal.call(browser, slug, USERINFO)
        assert response.status == 200, response.text
        claims: dict[str, object] = json.loads(response.body)
        return claims


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Keycloak, started once; the first test waits until it is ready."""
    reason = skip_reason()
    if reason is not None:
        pytest.skip(f"no Keycloak: {reason}")
    folder, port = tmp_path_factory.mktemp("keycloak"), free_port()
    keycloak = Keycloak(folder, f"http://localhost:{port}", CLIENTS)
    try:
        yield Shared(keycloak, port, folder / "keys.json")
    finally:
        keycloak.end()


@pytest.fixture
def realms(
    shared: Shared, io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO
) -> Iterator[KeycloakWorld]:
    """The portal in the test process, with tenants at two realms of one Keycloak."""
    io_loop.run_sync(shared.keycloak.ready, timeout=110)
    manager = _world(shared, tmp_path)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@contextlib.asynccontextmanager
async def _world(shared: Shared, folder: Path) -> AsyncIterator[KeycloakWorld]:
    shutil.copytree(shared.keycloak.certificates, folder / "tenants")
    if shared.keys.exists():
        shutil.copy(shared.keys, folder / "keys.json")
    tenants = {
        **{realm: _deployed_file(shared.keycloak, realm) for realm in DEPLOYED},
        **{client.slug: tenant_file(client, shared.keycloak) for client in CLIENTS},
    }
    async with local_portal(folder, tenants, PortalAddress(shared.port), OffsetClock()) as portal:
        yield KeycloakWorld(portal, shared.keycloak)
    shutil.copy(folder / "keys.json", shared.keys)


def _deployed_file(keycloak: Keycloak, realm: str) -> str:
    """Return a tenant file of docker-compose.yml, adapted to the Keycloak of the test."""
    path = Path(__file__).resolve().parents[2] / "deploy" / "portal" / "tenants" / f"{realm}.yaml"
    text = path.read_text(encoding="utf-8").replace("http://keycloak.localhost:8080", keycloak.url)
    file = yaml.safe_load(text)
    file["client"]["secret"] = SECRET
    return yaml.safe_dump(file)
