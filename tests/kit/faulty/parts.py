"""Development providers and APIs for tests and benchmarks, with faults and other settings."""

from __future__ import annotations

import functools
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.web import Application

from portal.clock import Clock, now
from portal.demo.api import ApiSettings
from portal.demo.provider_keys import new_key
from portal.demo.provider_model import ClientRegistration, ProviderSettings, UserAccount
from portal.demo.topology import DevelopmentParts, Ports, development_parts
from tests.kit.faulty.api import FaultyApi
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.faulty.provider_handlers import faulty_provider_application

FaultyParts = DevelopmentParts[FaultyProvider, FaultyApi]


ANY_PORTS = Ports(0, 0, 0, 0, 0, 0)
"""Free ports."""


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """Changed settings of the providers of Acme and Globex. Durations in seconds."""

    access_token_seconds: float = 60.0
    refresh_token_seconds: float = 8 * 3600.0
    consent: bool | None = None
    """None: the organisation's default."""
    users: tuple[UserAccount, ...] | None = None
    """Users of both providers instead of the organisations' users."""
    clock: Clock = now


@functools.cache
def signing_key(slug: str) -> RSAPrivateKey:
    """Return one key per provider and process, since generating a key is slow."""
    return new_key()


@dataclass(frozen=True, slots=True)
class FaultyPartMaker:
    """Creates providers and APIs with faults."""

    options: ProviderOptions
    hostile: bool

    async def provider(
        self, settings: ProviderSettings, key_file: Path
    ) -> tuple[FaultyProvider, Application]:
        options = self.options
        settings = replace(
            settings,
            access_token_seconds=options.access_token_seconds,
            refresh_token_seconds=options.refresh_token_seconds,
            consent_required=settings.consent_required if options.consent is None else options.consent,
            users=settings.users if options.users is None else options.users,
            clock=options.clock,
        )
        provider = FaultyProvider(settings, signing_key(settings.id))
        provider.client_keys.update((client.client_id, _keys_of(client)) for client in settings.clients)
        return provider, faulty_provider_application(provider)

    def api(self, settings: ApiSettings) -> tuple[FaultyApi, Application]:
        api = FaultyApi(settings, hostile=self.hostile)
        return api, api.application()


def faulty_parts(
    folder: Path, *, portal_url: str, options: ProviderOptions | None = None, hostile: bool = False
) -> AbstractAsyncContextManager[FaultyParts]:
    """Serve providers and APIs with faults on free ports during the block."""
    maker = FaultyPartMaker(options or ProviderOptions(), hostile)
    return development_parts(folder, maker, portal_url=portal_url, ports=ANY_PORTS)


def _keys_of(client: ClientRegistration) -> str:
    """Return the URL of the portal's key set for signed requests."""
    portal_url = client.redirect_uris[0].partition("/t/")[0]
    return f"{portal_url}/.well-known/jwks.json"
