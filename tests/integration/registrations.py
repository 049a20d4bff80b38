"""The portal with `oidc-provider`, registered with the output of `portal key show`."""

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
from tests.integration.local_portal import (
    LocalPortal,
    PortalAddress,
    local_portal,
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
OTHER_CLIENT = Client("other", "other", "client_secret_post", "the secret of another client")
"""Another client of the provider, used for token introspection and sign-outs."""

Options = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PortalRegistration:
    """One registration of the portal at the provider.

    `client` and `file` are keys of the tenant file, with `{issuer}` as a placeholder; `metadata` overrides
    the client metadata that the portal prints, with `{portal}` for the portal's URL; `provider` are options
    of `provider.mjs`. `certificate` is `signed` (by the authority that the provider trusts), `self_signed`,
    or empty.
    """

    client: Options
    file: Options = field(default_factory=dict)
    metadata: Options = field(default_factory=dict)
    provider: Options = field(default_factory=dict)
    certificate: str = ""
    bound: bool = False
    """Whether the API uses TLS and access tokens are bound to the certificate."""


BASIC = {"auth": "client_secret_basic", "secret": SECRET}


@dataclass(frozen=True, slots=True)
class RegisteredWorld:
    """The tenant `acme` at `oidc-provider`, one API, and the portal. The provider uses real time."""

    portal: LocalPortal
    provider: CertifiedProvider
    api: FaultyApi
    metadata: Mapping[str, object]

    async def sign_in(self, browser: Browser, query: str = "") -> Response:
        """Sign in through the pages; return the tenant's home page."""
        page = await self.complete_sign_in(browser, await self.portal.begin(browser, "acme", query))
        assert page.url == self.portal.at("/t/acme/"), (urlsplit(page.url).path, page.text[:3000])
        assert page.status == 200
        return page

    async def complete_sign_in(self, browser: Browser, page: Response) -> Response:
        """Complete the provider's pages; submit the form that its script would submit."""
        page = await self.provider.complete_sign_in(browser, page)
        if page.url.startswith(self.provider.issuer):
            page = await browser.submit(page.form("/t/acme/callback"))
        return page

    async def full_cycle(self, browser: Browser, path: str = "/orders") -> Response:
        """Sign in, call the API before and after a refresh, and sign out; return the first page."""
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
        assert await self.provider.is_active(OTHER_CLIENT, second.refresh_token)
        await self.sign_out(browser)
        assert not await self.provider.is_active(OTHER_CLIENT, second.refresh_token)
        for event in ("revocation.error", "end_session.error", "server_error"):
            assert await self.provider.events(event) == []
        return home

    async def renew(self, browser: Browser, path: str = "/orders") -> None:
        """Call the API with an expired access token, which must succeed."""
        before = await self.provider.count("grant.success", grant="refresh_token")
        await self.portal.expire_access_token(browser, "acme")
        orders = await self.portal.call(browser, "acme", path)
        assert orders.status == 200, orders.text
        assert await self.provider.count("grant.success", grant="refresh_token") == before + 1

    async def sign_out(self, browser: Browser) -> None:
        """Sign out of the portal and the provider, and return to the portal."""
        provider_page = await self.portal.sign_out(browser, "acme")
        back = await self.provider.confirm_sign_out(browser, provider_page)
        assert back.url == self.portal.at("/t/acme/signed-out")
        assert back.status == 200
        assert await self.portal.signed_in_at(browser) == []
        assert (await self.portal.call(browser, "acme")).status == 401
        assert await self.provider.count("end_session.success") == 1


@contextlib.asynccontextmanager
async def registered_world(folder: Path, registration: PortalRegistration) -> AsyncIterator[RegisteredWorld]:
    """Run provider, API and portal with this registration."""
    clock, address, port = OffsetClock(), PortalAddress(), free_port()
    issuer = f"http://127.0.0.1:{port}"
    authority = issue("the authority of acme", authority=True)
    certificates = _write_certificates(folder, registration, authority)
    async with contextlib.AsyncExitStack() as stack:
        api, api_url = await stack.enter_async_context(
            orders_api(
                issuer=issuer,
                jwks_uri=f"{issuer}/jwks",
                audience=AUDIENCE,
                clock=OffsetClock(),
                tls=_api_context(folder, authority) if registration.bound else None,
            )
        )
        tenants = {"acme": _tenant_file(registration, issuer, api_url)}
        changes = json.loads(json.dumps(registration.metadata).replace("{portal}", address.url))
        metadata = {**printed_metadata(folder, tenants, address), **changes}
        if isinstance(registration.client.get("secret"), str):
            metadata["client_secret"] = registration.client["secret"]
        provider = await stack.enter_async_context(
            certified_provider(
                folder,
                [metadata, OTHER_CLIENT.registration(address.url)],
                port=port,
                options={**registration.provider, **({"certificates": certificates} if certificates else {})},
            )
        )
        portal = await stack.enter_async_context(local_portal(folder, tenants, address, clock))
        yield RegisteredWorld(portal, provider, api, metadata)


API_TLS = {"mtls": True, "tls": {"ca": "file:api-authority.pem"}}


def _api_context(folder: Path, authority: Issued) -> ssl.SSLContext:
    """Return the TLS context of an API with its own authority that accepts certificates of `authority`."""
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


def _tenant_file(registration: PortalRegistration, issuer: str, api_url: str) -> str:
    pair = (
        {"certificate": "file:acme.pem", "private_key": "file:acme.key"} if registration.certificate else {}
    )
    file = {
        "name": "Acme Inc.",
        "issuer": issuer,
        "client": {"id": CLIENT_ID, **pair, **registration.client},
        "resources": [AUDIENCE],
        "scopes": [*IDENTITY_SCOPES, *API_SCOPES],
        # OIDC Core 11: offline access requires prompt=consent.
        "authorize_params": {"prompt": "consent"},
        "claims": {"roles": "roles"},
        "api": {"base_url": api_url, **(API_TLS if registration.bound else {})},
        **({"tls": {"ca": "file:authority.pem"}} if registration.certificate else {}),
        **registration.file,
    }
    return yaml.safe_dump(file, sort_keys=False).replace("{issuer}", issuer)


def printed_metadata(folder: Path, tenants: Mapping[str, str], address: PortalAddress) -> dict[str, object]:
    """Return the client metadata that the portal prints."""
    file = write_tenants(folder, tenants) / "acme.yaml"
    tenant = read_tenant(file, allow_private_networks=True).tenant
    settings = portal_settings(folder, address)
    (text,) = registration_report(settings, tenant, jwks=False, as_json=True)
    metadata: dict[str, object] = json.loads(text)
    # OIDC Registration 2 requires https, which the portal in this test does not use.
    metadata.pop("initiate_login_uri")
    # This provider accepts only its own scopes here; scopes of APIs belong to its resource settings.
    metadata.pop("scope")
    return metadata


def _write_certificates(folder: Path, registration: PortalRegistration, authority: Issued) -> dict[str, str]:
    """Write the portal's certificate; return the provider's TLS settings, empty without certificates."""
    if not registration.certificate:
        return {}
    own = issue("portal.example", authority if registration.certificate == "signed" else None)
    server = issue("localhost", authority)
    tenants = folder / "tenants"
    tenants.mkdir()
    (tenants / "acme.pem").write_text(own.chain)
    (tenants / "acme.key").write_text(own.private_key())
    (tenants / "authority.pem").write_text(authority.chain)
    return {"key": server.private_key(), "certificate": server.chain, "authorities": authority.chain}
