"""What every handler of the development provider has in common, and its documents: metadata and keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from portal.demo.endpoint_faults import FaultyHandler
from portal.demo.faults import STRANGER
from portal.demo.provider_model import ProtocolError

if TYPE_CHECKING:
    from portal.demo.provider import DevelopmentProvider


class ProviderHandler(FaultyHandler):
    """A handler that knows its provider, counts its requests and suffers its faults."""

    provider: DevelopmentProvider
    endpoint: ClassVar[str] = "page"

    def initialize(self, provider: DevelopmentProvider) -> None:
        """Tornado's constructor hook."""
        self.provider = provider

    async def prepare(self) -> None:
        """Count the request, then let a fault of this endpoint happen."""
        names = self.endpoints()
        parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        self.provider.record(names, parameters)
        fault = self.provider.faults.endpoints.due(names)
        if fault is not None:
            await self.suffer(fault)

    def endpoints(self) -> tuple[str, ...]:
        """Names of this endpoint in counters and faults."""
        return (self.endpoint,)

    def set_default_headers(self) -> None:
        """Headers that every response has."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")


class MachineHandler(ProviderHandler):
    """An endpoint that programs call: JSON, no cookies, and so no XSRF token."""

    def check_xsrf_cookie(self) -> None:
        """Nothing here acts on a cookie."""

    async def respond(
        self, document: Mapping[str, object], *, status: int = 200, cache: str = "no-store"
    ) -> None:
        """Send a JSON document."""
        if self.dropping_response():
            return
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", cache)
        self.finish(json.dumps(document))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors that Tornado finds are JSON too."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        kind = "invalid_request" if status_code < 500 else "server_error"
        self.finish(json.dumps({"error": kind, "error_description": self._reason}))

    async def refuse(self, error: ProtocolError) -> None:
        """Send an OAuth error (RFC 6749 5.2)."""
        await self.respond(
            {"error": error.error, "error_description": error.description}, status=error.status
        )


class DiscoveryHandler(MachineHandler):
    """`/.well-known/openid-configuration` (OIDC Discovery 4)."""

    endpoint = "discovery"

    async def get(self) -> None:
        faults = self.provider.faults
        metadata = self.provider.metadata()
        if faults.wrong_metadata_issuer:
            metadata["issuer"] = STRANGER
        if faults.mutate_metadata is not None:
            faults.mutate_metadata(metadata)
        await self.respond(metadata, cache="public, max-age=300")


class KeysHandler(MachineHandler):
    """`/jwks` (RFC 7517)."""

    endpoint = "jwks"

    async def get(self) -> None:
        faults = self.provider.faults
        keys: dict[str, object] = {"keys": []} if faults.empty_jwks else self.provider.keys.jwks()
        if faults.mutate_jwks is not None:
            faults.mutate_jwks(keys)
        await self.respond(keys, cache="public, max-age=300")
