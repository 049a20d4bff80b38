"""The portal at npm's provider, registered in one particular way, with what `portal key show` prints."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from portal.cli.key_report import registration_report
from portal.tenancy.loading import read_tenant
from tests.integration.certified import (
    API_SCOPES,
    AUDIENCE,
    IDENTITY_SCOPES,
    CertifiedProvider,
    Client,
    certified_provider,
)
from tests.integration.foreign import (
    ForeignPortal,
    FrontDoor,
    foreign_portal,
    orders_api,
    portal_settings,
    write_tenants,
)
from tests.integration.served import free_port
from tests.kit.browser import Browser, Response
from tests.kit.faulty.api import FaultyApi
from tests.kit.world import OffsetClock
from tests.unit.outbound.certificates import Issued, issue

CLIENT_ID = "acme:portal/1"
SECRET = "a secret of acme %41:+/&=~? that is long enough for HS256"
OTHER = Client("other", "other", "client_secret_post", "the secret of another client")
"""Somebody else at the same provider, who asks it what it knows, and through whom a user signs out."""

Options = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Way:
    """How the portal and the provider were told of each other.

    `client` and `file` are keys of the tenant file, in which `{issuer}` stands for the issuer; `told` is what
    the provider hears beyond what the portal prints for it, with `{portal}` for the portal's address;
    `provider` are options of `provider.mjs`. A `certificate` is `signed` by the authority that the provider
    trusts, or `self_signed`.
    """

    client: Options
    file: Options = field(default_factory=dict)
    told: Options = field(default_factory=dict)
    provider: Options = field(default_factory=dict)
    certificate: str = ""
    bound: bool = False
    """Whether the API is behind TLS, and access tokens are bound to the certificate."""


BASIC = {"auth": "client_secret_basic", "secret": SECRET}


@dataclass(frozen=True, slots=True)
class WayWorld:
    """The tenant `acme` at npm's provider, one API, and the portal. The provider keeps real time."""

    portal: ForeignPortal
    provider: CertifiedProvider
    api: FaultyApi
    registration: Mapping[str, object]

    async def sign_in(self, browser: Browser, query: str = "") -> Response:
        """Sign in as a person would; ends at the tenant's home."""
        page = await self.let_in(browser, await self.portal.begin(browser, "acme", query))
        assert page.url == self.portal.at("/t/acme/"), (urlsplit(page.url).path, page.text[:3000])
        assert page.status == 200
        return page

    async def let_in(self, browser: Browser, page: Response) -> Response:
        """Go through the provider's pages; the last may be a form that its script would send."""
        page = await self.provider.let_in(browser, page)
        if page.url.startswith(self.provider.issuer):
            page = await browser.submit(page.form("/t/acme/callback"))
        return page

    async def story(self, browser: Browser, path: str = "/orders") -> Response:
        """Sign in, call the API with one token and with the next, sign out; returns where it began."""
        home = await self.sign_in(browser)
        assert await self.portal.signed_in_at(browser) == ["acme"]
        first = await self.portal.tokens_of(browser, "acme")
        orders = await self.portal.call(browser, "acme", path)
        assert orders.status == 200, orders.text
        await self.renew(browser, path)
        second = await self.portal.tokens_of(browser, "acme")
        assert first.access_token != second.access_token
        assert first.refresh_token != second.refresh_token
        assert second.refresh_token is not None
        assert await self.provider.knows(OTHER, second.refresh_token)
        await self.sign_out(browser)
        assert not await self.provider.knows(OTHER, second.refresh_token)
        for event in ("revocation.error", "end_session.error", "server_error"):
            assert await self.provider.events(event) == []
        return home

    async def renew(self, browser: Browser, path: str = "/orders") -> None:
        """Call the API when the access token has expired; the response must be good."""
        before = await self.provider.count("grant.success", grant="refresh_token")
        await self.portal.expire_access_token(browser, "acme")
        orders = await self.portal.call(browser, "acme", path)
        assert orders.status == 200, orders.text
        assert await self.provider.count("grant.success", grant="refresh_token") == before + 1

    async def sign_out(self, browser: Browser) -> None:
        """Sign out here and at the provider, and come back."""
        asked = await self.portal.sign_out(browser, "acme")
        back = await self.provider.confirm_sign_out(browser, asked)
        assert back.url == self.portal.at("/t/acme/signed-out")
        assert back.status == 200
        assert await self.portal.signed_in_at(browser) == []
        assert (await self.portal.call(browser, "acme")).status == 401
        assert await self.provider.count("end_session.success") == 1


@contextlib.asynccontextmanager
async def way_world(folder: Path, way: Way) -> AsyncIterator[WayWorld]:
    """Register the portal in one way, and run everything."""
    clock, door, port = OffsetClock(), FrontDoor(), free_port()
    issuer = f"http://127.0.0.1:{port}"
    authority = issue("the authority of acme", authority=True)
    certificates = _write_certificates(folder, way, authority)
    async with contextlib.AsyncExitStack() as stack:
        api, api_url = await stack.enter_async_context(
            orders_api(
                issuer=issuer,
                jwks_uri=f"{issuer}/jwks",
                audience=AUDIENCE,
                clock=OffsetClock(),
                tls=_api_context(folder, authority) if way.bound else None,
            )
        )
        tenants = {"acme": _tenant_file(way, issuer, api_url)}
        told = json.loads(json.dumps(way.told).replace("{portal}", door.url))
        registration = {**printed_metadata(folder, tenants, door), **told}
        if isinstance(way.client.get("secret"), str):
            registration["client_secret"] = way.client["secret"]
        provider = await stack.enter_async_context(
            certified_provider(
                folder,
                [registration, OTHER.registration(door.url)],
                port=port,
                options={**way.provider, **({"certificates": certificates} if certificates else {})},
            )
        )
        portal = await stack.enter_async_context(foreign_portal(folder, tenants, door, clock))
        yield WayWorld(portal, provider, api, registration)


API_TLS = {"mtls": True, "tls": {"ca": "file:api-authority.pem"}}


def _api_context(folder: Path, authority: Issued) -> ssl.SSLContext:
    """TLS of an API with an authority of its own, for clients with certificates of the provider's."""
    own = issue("the authority of the API", authority=True)
    server = issue("localhost", own)
    (folder / "tenants" / "api-authority.pem").write_text(own.chain)
    pem = folder / "api.pem"
    pem.write_text(server.private_key() + server.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=authority.chain)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _tenant_file(way: Way, issuer: str, api_url: str) -> str:
    proof = {"certificate": "file:acme.pem", "private_key": "file:acme.key"} if way.certificate else {}
    file = {
        "name": "Acme Inc.",
        "issuer": issuer,
        "client": {"id": CLIENT_ID, **proof, **way.client},
        "resources": [AUDIENCE],
        "scopes": [*IDENTITY_SCOPES, *API_SCOPES],
        # OIDC Core 11: offline access is granted to who asks for consent.
        "authorize_params": {"prompt": "consent"},
        "claims": {"roles": "roles"},
        "api": {"base_url": api_url, **(API_TLS if way.bound else {})},
        **({"tls": {"ca": "file:authority.pem"}} if way.certificate else {}),
        **way.file,
    }
    return yaml.safe_dump(file, sort_keys=False).replace("{issuer}", issuer)


def printed_metadata(folder: Path, tenants: Mapping[str, str], door: FrontDoor) -> dict[str, object]:
    """What the portal says of itself."""
    file = write_tenants(folder, tenants) / "acme.yaml"
    tenant = read_tenant(file, allow_private_networks=True).tenant
    settings = portal_settings(folder, door)
    (text,) = registration_report(settings, tenant, jwks=False, as_json=True)
    metadata: dict[str, object] = json.loads(text)
    # OIDC Registration 2: https, which the portal of this test does not speak.
    metadata.pop("initiate_login_uri")
    # This provider takes only its own scopes here, and those of APIs from what it knows of the API.
    metadata.pop("scope")
    return metadata


def _write_certificates(folder: Path, way: Way, authority: Issued) -> dict[str, str]:
    """Give the portal its certificate; returns what the provider needs, nothing when none is used."""
    if not way.certificate:
        return {}
    own = issue("portal.example", authority if way.certificate == "signed" else None)
    server = issue("localhost", authority)
    tenants = folder / "tenants"
    tenants.mkdir()
    (tenants / "acme.pem").write_text(own.chain)
    (tenants / "acme.key").write_text(own.private_key())
    (tenants / "authority.pem").write_text(authority.chain)
    return {"key": server.private_key(), "certificate": server.chain, "authorities": authority.chain}
