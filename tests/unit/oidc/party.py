"""A provider on loopback and a relying party that uses it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from portal.oidc.client_keys import ClientKeys
from portal.oidc.dpop import DpopKey
from portal.oidc.provider import Authentication, Provider, Refreshed, TokenSet
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import NONCE, NOW, login_claims, public_jwk, registration, signed
from tests.unit.outbound.wire import Received, Response, Script, Wire, calling, http_response, serving

CALLBACK = "https://portal.example/t/acme/callback"


@dataclass(slots=True)
class Party:
    """A provider on loopback with replaceable responses, and a relying party that uses it."""

    time: ManualClock = field(default_factory=ManualClock)
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public_jwk()])
    claims: dict[str, Any] = field(default_factory=dict)
    signing: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    failing: dict[str, bytes] = field(default_factory=dict)
    client_keys: ClientKeys | None = None
    calls_of: ProviderCalls = UNRECORDED
    """Learns of the calls of the provider."""
    responses: Script | None = None
    """Responds in place of `script`."""
    wire: Wire = field(init=False)
    relying_party: RelyingParty = field(init=False)

    def provider(self, **changes: Any) -> Provider:
        return registration(**{"issuer": self.wire.url(""), **changes})

    def respond(self, request: Received) -> Response:
        return (self.responses or self.script)(request)

    def script(self, request: Received) -> bytes:
        path = urlsplit(request.target).path
        if path in self.failing:
            return self.failing[path]
        match path:
            case "/.well-known/openid-configuration":
                own = {name: self.wire.url(f"/{name}") for name in ("authorization_endpoint", "jwks_uri")}
                own |= {"issuer": self.wire.url(""), "token_endpoint": self.wire.url("/token")}
                return http_response(200, json.dumps(own | self.metadata))
            case "/jwks_uri":
                return http_response(200, json.dumps({"keys": self.keys}))
            case "/token":
                return http_response(200, json.dumps(self.token_response()))
        return http_response(200)

    def token_response(self) -> dict[str, Any]:
        token = signed(login_claims(**{"iss": self.wire.url(""), **self.claims}), **self.signing).reveal()
        good = {
            "access_token": "at",
            "token_type": "Bearer",
            "expires_in": 600,
            "refresh_token": "rt",
            "id_token": token,
        }
        return {name: value for name, value in (good | self.tokens).items() if value is not None}

    def calls(self, path: str) -> int:
        return self.wire.targets().count(path)

    async def finish(
        self,
        response: dict[str, list[str]] | None = None,
        *,
        dpop_key: DpopKey | None = None,
        **changes: Any,
    ) -> Authentication:
        return await self.relying_party.finish(
            self.provider(**changes),
            response or {"code": ["c0de"], "state": ["matched already"]},
            nonce=NONCE,
            code_verifier=Secret("v"),
            redirect_uri=CALLBACK,
            dpop_key=dpop_key,
        )

    async def refresh(self, held: TokenSet, **changes: Any) -> TokenSet:
        return (await self.refreshed(held, **changes)).tokens

    async def refreshed(self, held: TokenSet, **changes: Any) -> Refreshed:
        return await self.relying_party.refresh(self.provider(**changes), held, subject="user-1")


@asynccontextmanager
async def acme(**changes: Any) -> AsyncIterator[Party]:
    party = Party(**changes)
    async with serving(party.respond) as party.wire, calling() as client:
        party.relying_party = RelyingParty(
            client, clock=party.time, client_keys=party.client_keys, calls=party.calls_of
        )
        yield party
        await party.relying_party.close()


def held(**changes: Any) -> TokenSet:
    parts: dict[str, Any] = {"scope": ("openid",), "refresh_token": Secret("old-rt"), **changes}
    return TokenSet(Secret("old-at"), NOW - 1, **parts)
