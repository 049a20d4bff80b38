"""A provider on loopback whose every response a test can replace, and the context to check it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from portal.clock import now
from portal.oidc.provider import Provider
from portal.secret import Secret
from portal.tenancy.checks.live.guide import GENERAL, Guide
from portal.tenancy.checks.live.model import CheckResult, Context
from portal.tenancy.checks.live.runner import run_live_checks
from portal.tenancy.model import Api, Tenant
from tests.unit.outbound.wire import Received, Response, Wire, calling, http_response, serving

REDIRECT_URI = "https://portal.example/t/acme/callback"
CLIENT_SECRET = "the secret of acme, longer than thirty-two bytes"
RSA = {"kty": "RSA", "kid": "1", "use": "sig", "n": "u" * 342, "e": "AQAB"}
Answer = bytes | Callable[[Received], Response]


def json_response(status: int, document: object, **headers: str) -> bytes:
    listed = [("Content-Type", "application/json"), *headers.items()]
    return http_response(status, json.dumps(document), listed)


def redirect(url: str) -> bytes:
    return http_response(302, b"", [("Location", url)])


def parameters(request: Received) -> dict[str, str]:
    """The parameters of a request, from its query or its form."""
    text = request.body.decode() if request.method == "POST" else urlsplit(request.target).query
    return {name: values[0] for name, values in parse_qs(text).items()}


def returned(**more: str) -> Callable[[Received], Response]:
    """A redirect to the redirect URI of the request, with these parameters."""

    def respond(request: Received) -> Response:
        sent = parameters(request)
        return redirect(f"{sent['redirect_uri']}?{urlencode({'state': sent['state'], **more})}")

    return respond


@dataclass
class ScriptedProvider:
    """A correct provider, apart from what a test changes."""

    wire: Wire = field(default_factory=lambda: Wire(0))
    metadata: dict[str, Any] = field(default_factory=dict)
    """Members of the metadata to replace; None removes one."""
    responses: dict[str, Answer] = field(default_factory=dict)
    """By path."""

    @property
    def issuer(self) -> str:
        return self.wire.url("")

    def respond(self, request: Received) -> Response:
        answer = self.responses.get(urlsplit(request.target).path) or self._usual(request)
        return answer if isinstance(answer, bytes) else answer(request)

    def requests(self, path: str) -> list[Received]:
        return [request for request in self.wire.received if urlsplit(request.target).path == path]

    def _usual(self, request: Received) -> Answer:
        match urlsplit(request.target).path:
            case "/.well-known/openid-configuration":
                return json_response(200, self._document())
            case "/jwks":
                return json_response(200, {"keys": [RSA]})
            case "/authorize":
                return returned(error="login_required", iss=self.issuer)
            case "/token":
                return json_response(400, {"error": "invalid_grant"})
        return http_response(404)

    def _document(self) -> Mapping[str, object]:
        usual = {
            "issuer": self.issuer,
            **{f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("token", "userinfo")},
            "authorization_endpoint": f"{self.issuer}/authorize",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile"],
        }
        return {name: value for name, value in {**usual, **self.metadata}.items() if value is not None}


@dataclass
class Checked:
    """The results of one run."""

    results: list[CheckResult]

    def of(self, check: str) -> list[CheckResult]:
        return [result for result in self.results if result.check == check]

    def one(self, check: str) -> CheckResult:
        (result,) = self.of(check)
        return result

    def told(self, check: str) -> tuple[str, str]:
        """Status and what was seen."""
        result = self.one(check)
        return result.status.value, result.seen


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedProvider]:
    provider = ScriptedProvider()
    async with serving(provider.respond) as provider.wire:
        yield provider


async def check(
    scripted: ScriptedProvider,
    *,
    redirect_uris: tuple[str, ...] = (REDIRECT_URI,),
    api: Api | None = None,
    guide: Guide = GENERAL,
    clock: Callable[[], float] = now,
    others: tuple[Provider, ...] = (),
    seconds: float = 9.0,
    **changes: Any,
) -> Checked:
    """Run all checks. Parameters: others, more providers of the tenant; changes, of the `Provider`."""
    provider = Provider(
        tenant="acme",
        id="default",
        issuer=scripted.issuer,
        client_id="portal",
        client_secret=Secret(CLIENT_SECRET),
        scopes=("openid", "profile"),
    )
    provider = replace(provider, **changes)
    tenant = Tenant("acme", "Acme", {one.id: one for one in (provider, *others)}, "1", api=api)
    async with calling() as http:
        contexts = [
            Context(tenant, one, http, redirect_uris, clock, guide=guide) for one in tenant.providers.values()
        ]
        return Checked(await run_live_checks(contexts, total_seconds=seconds))
