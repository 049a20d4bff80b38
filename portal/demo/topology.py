"""The development parts as a whole: two providers, two sample APIs, and the tenant files that name them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpserver import HTTPServer
from tornado.web import Application

from portal.demo.api import ApiSettings, SampleApi
from portal.demo.files import kept_secret
from portal.demo.organisations import (
    ACME_ORGANISATION,
    GLOBEX_ORGANISATION,
    Organisation,
    ProviderOptions,
    portal_client,
    provider_settings,
    write_tenant_file,
)
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_keys import kept_key
from portal.errors import StartupError
from portal.ops.sockets import listening_sockets

HOST = "127.0.0.1"
"""Not `localhost`, where the portal is: cookies of the two must not meet."""
_BASE_PATH = "/v1"
_PORTS_TRIED = 200


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the development parts on 127.0.0.1; 0 takes any that is free."""

    acme_provider: int = 8081
    globex_provider: int = 8082
    acme_api: int = 8083
    globex_api: int = 8084

    @classmethod
    def free(cls) -> Ports:
        """Any ports."""
        return cls(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class DevelopmentParts:
    """The development parts, serving."""

    acme_provider: DevelopmentProvider
    globex_provider: DevelopmentProvider
    acme_api: SampleApi
    globex_api: SampleApi
    acme_api_url: str
    globex_api_url: str
    tenants_folder: Path
    ports: Ports
    """The ports in use."""
    servers: Sequence[HTTPServer] = field(repr=False)

    async def disconnect(self) -> None:
        """Cut every connection, so that nothing waits for a stream that never ends."""
        for server in self.servers:
            await server.close_all_connections()


@contextlib.asynccontextmanager
async def development_parts(
    data: Path,
    *,
    portal_url: str = "http://localhost:8080",
    ports: Ports | None = None,
    options: ProviderOptions | None = None,
    hostile: bool = False,
    keys: Mapping[str, RSAPrivateKey] | None = None,
) -> AsyncIterator[DevelopmentParts]:
    """Serve the development parts while the block runs.

    Parameters: data, the folder for keys, client secrets and tenant files, made when missing; portal_url,
    where browsers find the portal; ports, those to use (default: any free ones); options, about the
    providers; hostile, whether the APIs serve the responses of `api_hostile`; keys, signing keys by slug in
    place of those kept in `data`, so that tests need not make new ones.

    Raises StartupError when a port is in use.
    """
    tenants = data / "tenants"
    tenants.mkdir(parents=True, exist_ok=True, mode=0o700)
    maker = _Maker(data, portal_url, options or ProviderOptions(), hostile, keys or {})
    with contextlib.ExitStack() as unserved:
        sockets = [
            unserved.enter_context(bound)
            for port in astuple(ports or Ports.free())
            for bound in listening_sockets(f"{HOST}:{port}", choose="choose other ports")
        ]
        numbers = Ports(*(bound.getsockname()[1] for bound in sockets))
        acme_provider = await maker.provider(ACME_ORGANISATION, numbers.acme_provider)
        globex_provider = await maker.provider(GLOBEX_ORGANISATION, numbers.globex_provider)
        acme_api = maker.api(ACME_ORGANISATION, acme_provider)
        globex_api = maker.api(GLOBEX_ORGANISATION, globex_provider)
        applications = [part.application() for part in (acme_provider, globex_provider, acme_api, globex_api)]
        servers = [_serve(*pair) for pair in zip(applications, sockets, strict=True)]
        unserved.pop_all()
    parts = DevelopmentParts(
        acme_provider=acme_provider,
        globex_provider=globex_provider,
        acme_api=acme_api,
        globex_api=globex_api,
        acme_api_url=f"http://{HOST}:{numbers.acme_api}{_BASE_PATH}",
        globex_api_url=f"http://{HOST}:{numbers.globex_api}{_BASE_PATH}",
        tenants_folder=tenants,
        ports=numbers,
        servers=servers,
    )
    try:
        _write_tenants(parts)
        yield parts
    finally:
        for server in servers:
            server.stop()
        await parts.disconnect()


def next_free_ports(wanted: Ports) -> Ports:
    """The wanted ports, each moved up to the next free one where it is in use.

    Raises StartupError when there is none in reach.
    """
    taken: list[int] = []
    for port in astuple(wanted):
        taken.append(_next_free(port, taken))
    return Ports(*taken)


def _next_free(port: int, taken: Sequence[int]) -> int:
    for candidate in range(port, min(port + _PORTS_TRIED, 65536)):
        if candidate in taken:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, candidate))
            return candidate
    raise StartupError(
        f"No port is free from {port} on.", remedy="Stop other programs that listen on this computer."
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    data: Path
    portal_url: str
    options: ProviderOptions
    hostile: bool
    keys: Mapping[str, RSAPrivateKey]

    async def provider(self, organisation: Organisation, port: int) -> DevelopmentProvider:
        secret = kept_secret(self.data / _secret_name(organisation))
        client = portal_client(
            organisation,
            portal_url=self.portal_url,
            secret=secret,
            backchannel_logout=self.options.backchannel_logout,
            frontchannel_logout=self.options.frontchannel_logout,
        )
        issuer = f"http://{HOST}:{port}"
        settings = provider_settings(organisation, issuer=issuer, client=client, options=self.options)
        key = self.keys.get(organisation.slug)
        if key is None:
            key = await asyncio.to_thread(kept_key, self.data / f"{organisation.slug}-signing-key.pem")
        return DevelopmentProvider(settings, key)

    def api(self, organisation: Organisation, provider: DevelopmentProvider) -> SampleApi:
        settings = ApiSettings(
            id=organisation.slug,
            name=organisation.name,
            issuer=provider.issuer,
            jwks_uri=f"{provider.settings.base_url}/jwks",
            audience=organisation.audience,
            collections=organisation.collections,
            base_path=_BASE_PATH,
            hostile=self.hostile,
            clock=provider.settings.clock,
        )
        return SampleApi(settings)


def _serve(application: Application, bound: socket.socket) -> HTTPServer:
    server = HTTPServer(application)
    server.add_socket(bound)
    return server


def _write_tenants(parts: DevelopmentParts) -> None:
    for organisation, provider, api_url in (
        (ACME_ORGANISATION, parts.acme_provider, parts.acme_api_url),
        (GLOBEX_ORGANISATION, parts.globex_provider, parts.globex_api_url),
    ):
        write_tenant_file(
            parts.tenants_folder,
            organisation,
            issuer=provider.issuer,
            client_id=provider.settings.clients[0].client_id,
            secret=f"file:../{_secret_name(organisation)}",
            api_url=api_url,
        )


def _secret_name(organisation: Organisation) -> str:
    return f"{organisation.slug}-client-secret"
