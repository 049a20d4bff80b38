"""A Spring Authorization Server in a child process, and the portal at it in one particular registration."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from portal.key_report import registration_report
from portal.tenancy.loader import load_tenant
from tests.integration.child import ROOT, Child
from tests.integration.foreign import (
    ForeignPortal,
    FrontDoor,
    foreign_portal,
    portal_settings,
    write_tenants,
)
from tests.integration.served import free_port
from tests.kit.browser import Answer, Browser
from tests.kit.world import OffsetClock
from tests.unit.outbound.certificates import issue

HOME = ROOT / ".cache" / "spring"
SECRET = "a secret of acme %41:+/&=~? that is long enough for HS256"
USERINFO = "/userinfo"
_USER, _PASSWORD = "ada", "engine"
_START_SECONDS = 60.0


class SpringServer:
    """The provider as a test sees it. It begins to start at once; `ready` waits for it.

    Parameters: folder, where its output and the certificates go.
    """

    def __init__(self, folder: Path) -> None:
        assert (HOME / ".ready").is_file(), "run scripts/setup.sh test first"
        port, tls_port = free_port(), free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self.certificate_door = f"https://localhost:{tls_port}"
        self.certificates = _certificates(folder)
        config = {
            "port": port,
            "users": {_USER: _PASSWORD},
            "tls": {
                "port": tls_port,
                "certificate": str(self.certificates / "server.pem"),
                "key": str(self.certificates / "server.key"),
                "trusted": str(self.certificates / "trusted.pem"),
            },
        }
        memory = ("-Xms64m", "-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        classes = f"{HOME}/classes:{HOME}/lib/*"
        command = ("java", *memory, "-cp", classes, "SpringTestServer")
        self._child = Child("spring", command, folder, first_line=json.dumps(config))

    async def ready(self) -> None:
        """Wait until it serves."""
        await self._child.ready(lambda: '{"issuer":' in self._child.output, seconds=_START_SECONDS)

    def end(self) -> None:
        self._child.end()
        print(self._child.output[-4000:], self._child.errors)

    async def let_in(self, browser: Browser, page: Answer) -> Answer:
        """Sign in, when it asks who somebody is."""
        if asks_who(page):
            page = await browser.submit(page.form("/login"), {"username": _USER, "password": _PASSWORD})
        return page

    async def register(self, metadata: Mapping[str, object]) -> None:
        """Register a client."""
        await self._control("clients", metadata)

    async def replace_keys(self) -> None:
        """Sign with new keys from now on; the old ones are published no more."""
        await self._control("keys", {})

    async def _control(self, path: str, document: Mapping[str, object]) -> None:
        outsider = Browser()
        try:
            response = await outsider.fetch(
                f"{self.issuer}/control/{path}",
                "POST",
                headers={"Content-Type": "application/json"},
                body=json.dumps(document),
                site=None,
                csrf=False,
            )
            assert response.status == 200, response.text
        finally:
            outsider.close()


@dataclass(frozen=True, slots=True)
class Registration:
    """How the portal is registered: keys of `client` in the tenant file, and further keys of the file.

    {door} in the values stands for the address where the provider asks for certificates.
    """

    client: Mapping[str, object]
    file: Mapping[str, object] = field(default_factory=dict)


BASIC: Mapping[str, object] = {"auth": "client_secret_basic", "secret": SECRET}


@dataclass(frozen=True, slots=True)
class SpringWorld:
    """The tenant `acme` at Spring, and the portal. The tenant's API is the provider's UserInfo endpoint."""

    portal: ForeignPortal
    provider: SpringServer

    async def sign_in(self, browser: Browser, query: str = "") -> Answer:
        """Sign in as a person would; ends at the tenant's home."""
        page = await self.provider.let_in(browser, await self.portal.begin(browser, "acme", query))
        assert page.url == self.portal.at("/t/acme/"), (page.url.partition("?")[0], page.text[:3000])
        assert page.status == 200
        return page

    async def call(self, browser: Browser) -> Mapping[str, object]:
        """Call the tenant's API, which must accept the token."""
        response = await self.portal.call(browser, "acme", USERINFO)
        assert response.status == 200, response.text
        claims: Mapping[str, object] = json.loads(response.body)
        return claims

    async def refresh(self, browser: Browser) -> None:
        """Call the API when the access token has expired; both tokens must be replaced."""
        first = await self.portal.tokens_of(browser, "acme")
        await self.portal.expire_access_token(browser, "acme")
        await self.call(browser)
        second = await self.portal.tokens_of(browser, "acme")
        assert first.access_token != second.access_token
        assert first.refresh_token != second.refresh_token


@contextlib.asynccontextmanager
async def spring_world(
    folder: Path, provider: SpringServer, registration: Registration
) -> AsyncIterator[SpringWorld]:
    """Register the portal, as `portal key show` says, and serve it."""
    await provider.ready()
    door, client_id = FrontDoor(), f"portal-{secrets.token_hex(4)}"
    tenants = {"acme": _tenant_file(provider, client_id, registration)}
    tenant = load_tenant(write_tenants(folder, tenants) / "acme.yaml", allow_private_networks=True)
    (text,) = registration_report(portal_settings(folder, door), tenant, jwks=False, as_json=True)
    secret = registration.client.get("secret")
    await provider.register({**json.loads(text), **({"client_secret": secret} if secret else {})})
    async with foreign_portal(folder, tenants, door, OffsetClock()) as portal:
        yield SpringWorld(portal, provider)


def asks_who(page: Answer) -> bool:
    """Whether the provider asks who somebody is."""
    return any(name == "password" for form in page.forms for name, _ in form.fields)


def _tenant_file(provider: SpringServer, client_id: str, registration: Registration) -> str:
    """What the tenant's administrator writes."""
    file = {
        "name": "Acme Inc.",
        "issuer": provider.issuer,
        "client": {"id": client_id, **registration.client},
        "scopes": ["openid", "profile", "email"],
        "api": {"base_url": provider.issuer},
        **registration.file,
    }
    text = yaml.safe_dump(file, sort_keys=False).replace("{door}", provider.certificate_door)
    return text.replace("{certificates}", str(provider.certificates))


def _certificates(folder: Path) -> Path:
    """A folder with certificates of the server and of the portal, one signed and one self-signed."""
    made = folder / "certificates"
    made.mkdir()
    authority = issue("the authority of acme", authority=True)
    signed, alone = issue("portal.example", authority), issue("portal.example")
    for name, one in (("server", issue("localhost", authority)), ("signed", signed), ("self_signed", alone)):
        # Spring takes a certificate for self-signed when nothing that leads up to an authority comes with it.
        (made / f"{name}.pem").write_text(one.chain + (authority.chain if one is signed else ""))
        (made / f"{name}.key").write_text(one.private_key())
    (made / "authority.pem").write_text(authority.chain)
    (made / "trusted.pem").write_text(authority.chain + alone.chain)
    return made
