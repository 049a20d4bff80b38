"""Development providers with a wrong set-up of their own, on sockets with or without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from portal.demo.compact import JsonObject
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_endpoints import MachineHandler, ProviderHandler
from portal.demo.provider_model import ClientRegistration, ProviderSettings
from portal.demo.provider_routes import PROVIDER_ROUTES, provider_application
from portal.oidc.provider import Provider
from portal.secret import Secret
from portal.tenancy.model import Api, Tenant
from tests.kit.rsa_keys import rsa_key
from tests.unit.outbound.certificates import Issued

REDIRECT_URI = "https://portal.example/t/acme/callback"
SECRET = "the secret of acme"
DISCOVERY = r"/\.well-known/openid-configuration"


class ChangedProvider(DevelopmentProvider):
    """A provider with other metadata or keys: `changes` with the value None remove a member."""

    changes: Mapping[str, object] = {}
    keys_instead: JsonObject | None = None

    def metadata(self) -> JsonObject:
        members = {**super().metadata(), **self.changes}
        return {name: value for name, value in members.items() if value is not None}

    def key_set(self) -> JsonObject:
        return super().key_set() if self.keys_instead is None else self.keys_instead


class Silent(ProviderHandler):
    """An endpoint that never responds."""

    async def get(self) -> None:
        await asyncio.sleep(60)


class HtmlPage(ProviderHandler):
    def get(self) -> None:
        self.finish("<html><head><title>x</title></head><body><h1>Welcome to Acme</h1></body></html>")


class Moved(ProviderHandler):
    def get(self) -> None:
        self.redirect(f"{self.provider.issuer}/tenant/.well-known/openid-configuration")


class Busy(MachineHandler):
    def get(self) -> None:
        self.respond({"error": "temporarily_unavailable"}, status=503)


class Missing(MachineHandler):
    def get(self) -> None:
        self.respond({"error": "not found"}, status=404)


class WithoutPkce(ProviderHandler):
    """An authorization endpoint that refuses PKCE."""

    def get(self) -> None:
        refusal = {"error": "invalid_request", "error_description": "Unknown parameter: code_challenge"}
        self.redirect(f"{self.get_argument('redirect_uri')}?{urlencode(refusal)}")


class AcceptsEveryCode(MachineHandler):
    def check_xsrf_cookie(self) -> None:
        """A token endpoint uses no cookie."""

    def post(self) -> None:
        self.respond({"access_token": "a", "token_type": "Bearer", "id_token": "b"})


@dataclass(frozen=True, slots=True)
class Setup:
    """The set-up of one development provider."""

    changes: Mapping[str, object] = field(default_factory=dict)
    keys: JsonObject | None = None
    routes: Mapping[str, type[ProviderHandler]] = field(default_factory=dict)
    certificate: Issued | None = None


@contextlib.asynccontextmanager
async def development_provider(folder: Path, setup: Setup) -> AsyncIterator[str]:
    """Serve a provider during the block; yield its issuer."""
    sockets = bind_sockets(0, address="127.0.0.1")
    scheme = "http" if setup.certificate is None else "https"
    issuer = f"{scheme}://localhost:{sockets[0].getsockname()[1]}"
    client = ClientRegistration("portal", SECRET, (REDIRECT_URI,))
    provider = ChangedProvider(ProviderSettings("acme", "Acme", issuer, (client,), ()), rsa_key(0))
    provider.changes, provider.keys_instead = setup.changes, setup.keys
    application = provider_application(provider, {**PROVIDER_ROUTES, **setup.routes})
    server = HTTPServer(application, ssl_options=_context(folder, setup.certificate))
    server.add_sockets(sockets)
    try:
        yield issuer
    finally:
        server.stop()
        await server.close_all_connections()


def _context(folder: Path, certificate: Issued | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    pem = folder / f"{certificate.certificate.serial_number}.pem"
    pem.write_text(certificate.private_key() + certificate.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def acme(issuer: str, **changes: Any) -> Provider:
    """The provider of a correct tenant file."""
    values: dict[str, Any] = {
        "tenant": "acme",
        "id": "default",
        "issuer": issuer,
        "client_id": "portal",
        "client_secret": Secret(SECRET),
        "scopes": ("openid", "profile", "email"),
    }
    return Provider(**{**values, **changes})


def tenant_of(provider: Provider, api: Api | None = None) -> Tenant:
    """A tenant with this provider."""
    return Tenant("acme", "Acme", {provider.id: provider}, "1", api=api)
