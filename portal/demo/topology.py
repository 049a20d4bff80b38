"""Assembles the development parts: a provider and a sample API for each organisation, and tenant files."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from tornado.httpserver import HTTPServer
from tornado.routing import PathMatches, Rule, RuleRouter
from tornado.web import Application

from portal.demo.api import ApiSettings, SampleApi
from portal.demo.api_routes import api_application
from portal.demo.files import load_or_create_secret
from portal.demo.organisations import (
    ORGANISATIONS,
    FurtherApi,
    Organisation,
    portal_client,
    provider_settings,
    write_tenant_file,
)
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_keys import load_or_create_key
from portal.demo.provider_model import ProviderSettings
from portal.demo.provider_routes import provider_application
from portal.errors import StartupError
from portal.ops.sockets import listening_sockets

HOST = "127.0.0.1"
"""Not `localhost`, which the portal uses: providers and portal must not share cookies."""
_BASE_PATH = "/v1"
_FURTHER_PATH = "/further/v1"
_PORTS_TRIED = 200

Site = Application | RuleRouter
"""What a port serves."""
ProviderT_co = TypeVar("ProviderT_co", bound=DevelopmentProvider, covariant=True)
ApiT_co = TypeVar("ApiT_co", bound=SampleApi, covariant=True)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the development parts on 127.0.0.1; 0 chooses any free port."""

    acme_provider: int = 8081
    globex_provider: int = 8082
    acme_api: int = 8083
    globex_api: int = 8084
    initech_provider: int = 8085
    initech_api: int = 8086

    def provider(self, slug: str) -> int:
        """The port of an organisation's provider."""
        return int(getattr(self, f"{slug}_provider"))

    def api(self, slug: str) -> int:
        """The port of an organisation's API."""
        return int(getattr(self, f"{slug}_api"))


@dataclass(frozen=True, slots=True)
class DevelopmentParts(Generic[ProviderT_co, ApiT_co]):
    """The running development parts; providers and APIs by the slug of their organisation."""

    providers: Mapping[str, ProviderT_co]
    apis: Mapping[str, ApiT_co]
    tenants_folder: Path
    ports: Ports
    """The ports in use."""
    servers: Sequence[HTTPServer] = field(repr=False)
    further_apis: Mapping[str, ApiT_co] = field(default_factory=dict)
    """The further API of an organisation that has one, on the same port."""

    def api_url(self, slug: str) -> str:
        """The base URL of an organisation's API."""
        return f"http://{HOST}:{self.ports.api(slug)}{_BASE_PATH}"

    def further_url(self, slug: str) -> str:
        """The base URL of an organisation's further API."""
        return f"http://{HOST}:{self.ports.api(slug)}{_FURTHER_PATH}"

    async def disconnect(self) -> None:
        """Close all connections, so that a stop does not wait for endless streams."""
        for server in self.servers:
            await server.close_all_connections()


AnyParts = DevelopmentParts[DevelopmentProvider, SampleApi]


class PartMaker(Protocol[ProviderT_co, ApiT_co]):
    """Creates providers and APIs from settings, each with the application that serves it."""

    async def provider(self, settings: ProviderSettings, key_file: Path) -> tuple[ProviderT_co, Application]:
        """Create a provider. Parameters: key_file, the file of its signing key."""
        ...

    def api(self, settings: ApiSettings) -> tuple[ApiT_co, Application]:
        """A sample API."""
        ...


class DemoPartMaker:
    """Creates the parts of `portal demo`."""

    async def provider(
        self, settings: ProviderSettings, key_file: Path
    ) -> tuple[DevelopmentProvider, Application]:
        """Create a provider, and its signing key if `key_file` is missing. Raises ConfigurationError."""
        provider = DevelopmentProvider(settings, await asyncio.to_thread(load_or_create_key, key_file))
        return provider, provider_application(provider)

    def api(self, settings: ApiSettings) -> tuple[SampleApi, Application]:
        """A sample API."""
        api = SampleApi(settings)
        return api, api_application(api)


@contextlib.asynccontextmanager
async def development_parts(
    data: Path, maker: PartMaker[ProviderT_co, ApiT_co], *, portal_url: str, ports: Ports
) -> AsyncIterator[DevelopmentParts[ProviderT_co, ApiT_co]]:
    """Serve the development parts while the block runs.

    Parameters: data, the folder for keys, client secrets and tenant files, created if missing; portal_url,
    the portal's URL for browsers.

    Raises StartupError when a port is in use.
    """
    tenants = data / "tenants"
    tenants.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as unserved:
        sockets = {
            name: unserved.enter_context(bound)
            for name, port in asdict(ports).items()
            for bound in listening_sockets(f"{HOST}:{port}", choose="choose other ports")
        }
        numbers = Ports(**{name: bound.getsockname()[1] for name, bound in sockets.items()})
        providers, apis, further_apis = {}, {}, {}
        sites: dict[str, Site] = {}
        for organisation in ORGANISATIONS:
            slug = organisation.slug
            settings = _provider_settings(organisation, data, portal_url, numbers.provider(slug))
            providers[slug], sites[f"{slug}_provider"] = await maker.provider(
                settings, _key_file(organisation, data)
            )
            apis[slug], sites[f"{slug}_api"] = maker.api(_api_settings(organisation, providers[slug]))
            if organisation.further_api is not None:
                further = _further_settings(organisation, organisation.further_api, providers[slug])
                further_apis[slug], application = maker.api(further)
                sites[f"{slug}_api"] = _beside(application, sites[f"{slug}_api"], below=further.base_path)
        servers = [_serve(site, sockets[name]) for name, site in sites.items()]
        unserved.pop_all()
    parts = DevelopmentParts(
        providers=providers,
        apis=apis,
        further_apis=further_apis,
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


def next_free_ports(preferred: Ports) -> Ports:
    """Return the preferred ports, each replaced by the next free one when it is in use.

    Raises StartupError when no port is free within the range that is tried.
    """
    chosen: list[int] = []
    for port in astuple(preferred):
        chosen.append(_next_free(port, chosen))
    return Ports(*chosen)


def _next_free(port: int, chosen: Sequence[int]) -> int:
    for candidate in range(port, min(port + _PORTS_TRIED, 65536)):
        if candidate in chosen:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, candidate))
            return candidate
    raise StartupError(
        f"No port is free from {port} on.", remedy="Stop other programs that use ports on this machine."
    )


def _provider_settings(
    organisation: Organisation, data: Path, portal_url: str, port: int
) -> ProviderSettings:
    secret = load_or_create_secret(data / _secret_name(organisation))
    client = portal_client(organisation, portal_url=portal_url, secret=secret)
    return provider_settings(organisation, issuer=f"http://{HOST}:{port}", client=client)


def _api_settings(organisation: Organisation, provider: DevelopmentProvider) -> ApiSettings:
    return ApiSettings(
        id=organisation.slug,
        name=organisation.name,
        issuer=provider.issuer,
        jwks_uri=f"{provider.settings.base_url}/jwks",
        audience=organisation.audience,
        collections=organisation.collections,
        base_path=_BASE_PATH,
        clock=provider.settings.clock,
    )


def _further_settings(
    organisation: Organisation, api: FurtherApi, provider: DevelopmentProvider
) -> ApiSettings:
    return replace(
        _api_settings(organisation, provider),
        id=f"{organisation.slug}-{api.name}",
        name=api.title,
        audience=api.audience,
        collections=api.collections,
        base_path=_FURTHER_PATH,
    )


def _beside(further: Application, application: Site, *, below: str) -> RuleRouter:
    """Serve two applications on one port, one of them below a path."""
    return RuleRouter([Rule(PathMatches(f"{below}(?:/.*)?"), further), Rule(PathMatches(".*"), application)])


def _serve(application: Site, bound: socket.socket) -> HTTPServer:
    server = HTTPServer(application)
    server.add_socket(bound)
    return server


def _write_tenants(parts: AnyParts) -> None:
    for organisation in ORGANISATIONS:
        provider = parts.providers[organisation.slug]
        if organisation.has_file:
            write_tenant_file(
                parts.tenants_folder,
                organisation,
                issuer=provider.issuer,
                client_id=provider.settings.clients[0].client_id,
                secret=f"file:../{_secret_name(organisation)}",
                api_url=parts.api_url(organisation.slug),
                further_url=parts.further_url(organisation.slug),
            )


def _key_file(organisation: Organisation, data: Path) -> Path:
    return data / f"{organisation.slug}-signing-key.pem"


def _secret_name(organisation: Organisation) -> str:
    return f"{organisation.slug}-client-secret"
