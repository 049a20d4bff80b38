"""Wrong set-ups at development providers and at `oidc-provider`: the live checks name each of them.

The table is docs/live-checks.yaml; those at Keycloak are in tests/keycloak/test_wrong_setups.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from portal.clock import now
from portal.oidc.client_keys import ClientKeySet, client_key
from portal.oidc.provider import ClientAuth, IdTokenEncryption, Provider, ResponseMode
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from portal.tenancy.checks.live.model import CheckResult, Context
from portal.tenancy.checks.live.runner import run_live_checks
from portal.tenancy.model import Api
from tests.integration.certified import (
    ACME,
    AUDIENCE,
    IDENTITY_SCOPES,
    CertifiedProvider,
    certified_provider,
    registrations,
)
from tests.integration.live_providers import (
    DISCOVERY,
    REDIRECT_URI,
    AcceptsEveryCode,
    Busy,
    HtmlPage,
    Missing,
    Moved,
    Setup,
    Silent,
    WithoutPkce,
    acme,
    development_provider,
    tenant_of,
)
from tests.kit.key_making import PreparedKeys
from tests.kit.wrong_setups import CERTIFIED, DEVELOPMENT, difference, wrong_setups
from tests.unit.outbound.certificates import issue

AUTHORITY = issue("the authority of acme", authority=True, days=3650)
TRUSTED = AUTHORITY.chain
_OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "sig"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong set-up: of the provider, of the tenant, or of the portal's host."""

    setup: Setup = field(default_factory=Setup)
    tenant: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the `Provider`; {issuer} in a text stands for the provider's issuer."""
    api: Api | None = None
    redirect_uri: str = REDIRECT_URI
    clock: float = 0.0
    """Seconds that the portal's clock is off."""
    addresses: Sequence[str] | None = None
    """What every name resolves to; none: no name resolves."""
    private_networks: bool = True


def _served(days: float = 365, *, name: str = "localhost", by_own: bool = False) -> Setup:
    return Setup(certificate=issue(name, None if by_own else AUTHORITY, days=days))


TLS = {"tls_authorities": TRUSTED}
AT_DEVELOPMENT_PROVIDERS: Mapping[str, Mistake] = {
    "the client secret is wrong": Mistake(tenant={"client_secret": Secret("another secret")}),
    "the client id is wrong": Mistake(tenant={"client_id": "portla"}),
    "the redirect URI is not registered": Mistake(redirect_uri="https://portal.example/t/acme/callback/"),
    "the issuer ends with a slash": Mistake(tenant={"issuer": "{issuer}/"}),
    "the metadata is that of another issuer": Mistake(Setup({"issuer": "https://login.globex.example"})),
    "http instead of https": Mistake(_served(), {**TLS, "issuer": "http://{host}"}),
    "https where the server speaks http": Mistake(tenant={"issuer": "https://{host}"}),
    "the certificate has expired": Mistake(_served(-3), TLS),
    "the certificate expires soon": Mistake(_served(10), TLS),
    "the certificate is for another name": Mistake(_served(), {**TLS, "issuer": "https://127.0.0.1:{port}"}),
    "a private authority, without tls.ca": Mistake(_served()),
    "a self-signed certificate": Mistake(_served(by_own=True)),
    "tls.ca holds another authority": Mistake(
        _served(), {"tls_authorities": issue("x", authority=True).chain}
    ),
    "nothing listens at the port": Mistake(tenant={"issuer": "http://localhost:{free_port}"}),
    "the host name does not exist": Mistake(tenant={"issuer": "https://login.acme.example"}, addresses=()),
    "the host is in a private network": Mistake(
        tenant={"issuer": "https://login.acme.example"}, addresses=("10.0.0.5",), private_networks=False
    ),
    "the metadata is a page": Mistake(Setup(routes={DISCOVERY: HtmlPage})),
    "the metadata has moved": Mistake(Setup(routes={DISCOVERY: Moved})),
    "the provider is not available": Mistake(Setup(routes={DISCOVERY: Busy})),
    "the provider does not respond": Mistake(Setup(routes={DISCOVERY: Silent})),
    "the metadata has no token endpoint": Mistake(Setup({"token_endpoint": None})),
    "an endpoint has plain http": Mistake(Setup({"token_endpoint": "http://login.acme.example/token"})),
    "the key set is empty": Mistake(Setup(keys={"keys": []})),
    "the key set has no RSA key": Mistake(Setup(keys={"keys": [_OKP]})),
    "the key set is not there": Mistake(Setup(routes={"/jwks": Missing})),
    "the key set has a private key": Mistake(Setup(keys={"keys": [{**_OKP, "d": "AAAA"}]})),
    "several keys have no kid": Mistake(
        Setup(
            keys={
                "keys": [
                    {"kty": "RSA", "n": "u" * 342, "e": "AQAB"},
                    {"kty": "RSA", "n": "v" * 342, "e": "AQAB"},
                ]
            }
        )
    ),
    "the provider signs with other algorithms": Mistake(
        Setup({"id_token_signing_alg_values_supported": ["ES384"]})
    ),
    "the provider has PKCE with plain only": Mistake(Setup({"code_challenge_methods_supported": ["plain"]})),
    "the provider refuses PKCE": Mistake(Setup(routes={"/authorize": WithoutPkce})),
    "the response mode is not supported": Mistake(tenant={"response_mode": ResponseMode.FORM_POST}),
    "par without an endpoint": Mistake(tenant={"par": True}),
    "dpop at a provider without it": Mistake(tenant={"dpop": True}),
    "the provider requires signed requests": Mistake(Setup({"require_signed_request_object": True})),
    "the token endpoint accepts every code": Mistake(Setup(routes={"/token": AcceptsEveryCode})),
    "the clock is 45 seconds off": Mistake(clock=-45.0),
    "the clock is five minutes off": Mistake(clock=300.0),
    "an unknown scope": Mistake(tenant={"scopes": ("openid", "profile", "read:ordres")}),
    "the API needs no token": Mistake(
        api=Api("{issuer}/.well-known", example_paths=("/openid-configuration",))
    ),
    "the API is not there": Mistake(api=Api("http://localhost:{free_port}")),
    "the path of the API does not exist": Mistake(api=Api("{issuer}/orders")),
}


@pytest.mark.gen_test
async def test_each_wrong_setup_at_a_development_provider_is_named(tmp_path: Path) -> None:
    expected = wrong_setups(DEVELOPMENT)
    assert expected.keys() == AT_DEVELOPMENT_PROVIDERS.keys()
    found = await _in_parallel(
        {
            title: _development_results(tmp_path, mistake)
            for title, mistake in AT_DEVELOPMENT_PROVIDERS.items()
        }
    )
    differences = [difference(expected[title], *found[title]) for title in expected]
    assert not any(differences), "\n\n".join(filter(None, differences))


@pytest.mark.gen_test
async def test_a_correct_setup_passes_every_check_that_is_possible(tmp_path: Path) -> None:
    setup = Setup(certificate=issue("localhost", AUTHORITY, days=365))
    results, _ = await _development_results(tmp_path, Mistake(setup, TLS))
    assert {result.check for result in results if result.status in {"fail", "warn"}} == set()
    assert {result.check for result in results if result.status == "skipped"} == {"deliveries", "api"}


@contextlib.asynccontextmanager
async def _port_without_server() -> AsyncIterator[int]:
    """A port at which nothing listens, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def _development_results(folder: Path, mistake: Mistake) -> tuple[list[CheckResult], dict[str, str]]:
    async with development_provider(folder, mistake.setup) as issuer, _port_without_server() as free_port:
        host = issuer.partition("://")[2]
        values = {"issuer": issuer, "host": host, "port": host.partition(":")[2], "free_port": str(free_port)}
        attributes = {name: _filled(value, values) for name, value in mistake.tenant.items()}
        provider = acme(attributes.pop("issuer", issuer), **attributes)
        api = mistake.api and replace(mistake.api, base_url=_filled(mistake.api.base_url, values))
        async with _outbound(mistake) as http:
            context = Context(
                tenant_of(provider, api),
                provider,
                http,
                (mistake.redirect_uri,),
                clock=lambda: now() + mistake.clock,
            )
            results = await run_live_checks([context])
    return results, {"issuer": issuer, "redirect URI": mistake.redirect_uri}


# --- oidc-provider

UNREGISTERED = "https://portal.example/t/acme/callback"
AT_OIDC_PROVIDER: Mapping[str, Mapping[str, Any]] = {
    "the client secret is wrong": {"client_secret": Secret("another secret")},
    "the client id is wrong": {"client_id": "acme:portal/2"},
    "the redirect URI is not registered": {"redirect_uri": UNREGISTERED},
    "the issuer ends with a slash": {"issuer": "{issuer}/"},
    "the issuer has a path too many": {"issuer": "{issuer}/oauth2/default"},
    "the discovery URL as issuer": {"issuer": "{issuer}/.well-known/openid-configuration"},
    "auth: none for a client with a secret": {"client_auth": ClientAuth.NONE, "client_secret": None},
    "client_secret_jwt for a client with client_secret_basic": {
        "client_auth": ClientAuth.CLIENT_SECRET_JWT,
        "client_secret": Secret("a secret that is long enough for HS256"),
    },
    "private_key_jwt without a registered key": {"client_auth": ClientAuth.PRIVATE_KEY_JWT},
    "an unknown scope": {"scopes": ("openid", "profile", "read:ordres")},
    "an unknown resource": {"resources": ("https://api.globex.example",)},
    "ID tokens with an algorithm that the provider lacks": {"id_token_algs": ("ES512",)},
    "a signed request without a registered key": {"signed_request": True},
    "a pushed request with a wrong secret": {"par": True, "client_secret": Secret("another secret")},
    "a pushed request with an unregistered redirect URI": {"par": True, "redirect_uri": UNREGISTERED},
    "the ID token shall be encrypted in a way that the provider lacks": {
        "id_token_encryption": IdTokenEncryption("RSA-OAEP-512", "A256GCM")
    },
    "the client may not use the code flow": {"client_id": "no-codes", "redirect_uri": UNREGISTERED},
}
"""Attributes of the `Provider`, and the redirect URI, by what is wrong."""


PORTAL = "http://localhost:1"
NO_CODES = {
    "client_id": "no-codes",
    "client_secret": ACME.secret,
    "redirect_uris": [UNREGISTERED],
    "grant_types": ["implicit"],
    "response_types": ["id_token"],
}


@pytest.mark.gen_test
async def test_each_wrong_setup_at_oidc_provider_is_named(tmp_path: Path) -> None:
    expected = wrong_setups(CERTIFIED)
    assert expected.keys() == AT_OIDC_PROVIDER.keys()
    clients = [*registrations(PORTAL), NO_CODES]
    async with certified_provider(tmp_path, clients) as provider, _outbound() as http:
        runs = {
            title: _certified_results(provider, http, changes) for title, changes in AT_OIDC_PROVIDER.items()
        }
        found = await _in_parallel(runs)
        correct, _ = await _certified_results(provider, http, {})
        assert await provider.count("grant.success") == 0
    differences = [difference(expected[title], *found[title]) for title in expected]
    assert not any(differences), "\n\n".join(filter(None, differences))
    assert {result.check for result in correct if result.status in {"fail", "warn"}} == set()


async def _certified_results(
    served: CertifiedProvider, http: OutboundClient, changes: Mapping[str, Any]
) -> tuple[list[CheckResult], dict[str, str]]:
    attributes = {name: _filled(value, {"issuer": served.issuer}) for name, value in changes.items()}
    redirect_uri = attributes.pop("redirect_uri", f"{PORTAL}/t/{ACME.tenant}/callback")
    provider = Provider(
        tenant=ACME.tenant,
        id="default",
        issuer=served.issuer,
        client_id=ACME.id,
        client_secret=Secret(ACME.secret or ""),
        scopes=IDENTITY_SCOPES,
        resources=(AUDIENCE,),
    )
    provider = replace(provider, **attributes)
    context = Context(tenant_of(provider), provider, http, (redirect_uri,), now, client_keys=_client_keys())
    return await run_live_checks([context]), {"issuer": served.issuer, "redirect URI": redirect_uri}


# --- what they share


async def _in_parallel(
    runs: Mapping[str, Awaitable[tuple[list[CheckResult], dict[str, str]]]],
) -> dict[str, tuple[list[CheckResult], dict[str, str]]]:
    return dict(zip(runs, await asyncio.gather(*runs.values()), strict=True))


@contextlib.asynccontextmanager
async def _outbound(mistake: Mistake | None = None) -> AsyncIterator[OutboundClient]:
    async def lookup(_: str) -> Sequence[str]:
        assert mistake is not None
        return mistake.addresses or ()

    private = mistake is None or mistake.private_networks
    http = OutboundClient(allow_private_networks=private, lookup=lookup)
    try:
        yield http
    finally:
        await http.close()


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if type(value) is not str or "BEGIN" in value:
        return value
    for name, text in values.items():
        value = value.replace("{" + name + "}", text)
    return value


def _client_keys() -> ClientKeySet:
    made = PreparedKeys()
    keys = [client_key(made(kind), use="sig", kind=kind, created_at=0.0) for kind in ("RS256", "ES256")]
    return ClientKeySet(keys, clock=now)
