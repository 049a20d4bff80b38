"""Wrong set-ups at Keycloak: the live checks name each of them. The table is docs/live-checks.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from portal.clock import now
from portal.oidc.client_keys import ClientKeySet, client_key
from portal.oidc.provider import ClientAuth, Provider
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from portal.tenancy.checks.live.model import CheckResult, Context
from portal.tenancy.checks.live.runner import run_live_checks
from tests.integration.live_providers import tenant_of
from tests.keycloak.conftest import Shared
from tests.keycloak.server import SECRET
from tests.kit.key_making import PreparedKeys
from tests.kit.wrong_setups import KEYCLOAK, difference, wrong_setups

CLIENT = "post"
"""A client of the realm `acme` with a secret."""
AT_KEYCLOAK: Mapping[str, Mapping[str, Any]] = {
    "the client secret is wrong": {"client_secret": Secret("another secret")},
    "the client id is wrong": {"client_id": "posst"},
    "the redirect URI is not registered": {"redirect_uri": "https://portal.example/t/acme/callback"},
    "the redirect URI has a slash at its end": {"redirect_uri": "{portal}/t/post/callback/"},
    "the issuer ends with a slash": {"issuer": "{url}/realms/acme/"},
    "the realm does not exist": {"issuer": "{url}/realms/acmee"},
    "the realm is written with a capital letter": {"issuer": "{url}/realms/Acme"},
    "the path is that of older versions": {"issuer": "{url}/auth/realms/acme"},
    "the issuer is the authorization endpoint": {"issuer": "{url}/realms/acme/protocol/openid-connect/auth"},
    "the issuer is the Admin Console": {"issuer": "{url}/admin/acme/console"},
    "the issuer has no realm": {"issuer": "{url}"},
    "the issuer is localhost instead of 127.0.0.1": {"issuer": "http://localhost:{port}/realms/acme"},
    "an unknown scope": {"scopes": ("openid", "read:ordres")},
    "auth: none for a client with a secret": {"client_auth": ClientAuth.NONE, "client_secret": None},
    "private_key_jwt without a registered key": {"client_auth": ClientAuth.PRIVATE_KEY_JWT},
    "a client of another realm": {"issuer": "{url}/realms/globex"},
    "a signed request without a registered key": {"signed_request": True},
}
"""Attributes of the `Provider`, and the redirect URI, by what is wrong."""


@pytest.mark.gen_test(timeout=60)
async def test_each_wrong_setup_at_keycloak_is_named(keycloak: Shared) -> None:
    expected = wrong_setups(KEYCLOAK)
    assert expected.keys() == AT_KEYCLOAK.keys()
    http = OutboundClient(allow_private_networks=True)
    try:
        runs = (results_at(keycloak, http, changes) for changes in AT_KEYCLOAK.values())
        found = dict(zip(AT_KEYCLOAK, await asyncio.gather(*runs), strict=True))
        correct, _ = await results_at(keycloak, http, {})
    finally:
        await http.close()
    differences = [difference(expected[title], *found[title]) for title in expected]
    assert not any(differences), "\n\n".join(filter(None, differences))
    assert {result.check for result in correct if result.status in {"fail", "warn"}} == set()


@pytest.fixture
def keycloak(shared: Shared, io_loop: IOLoop) -> Shared:
    """Keycloak, ready."""
    io_loop.run_sync(shared.keycloak.ready, timeout=110)
    return shared


async def results_at(
    shared: Shared, http: OutboundClient, changes: Mapping[str, Any]
) -> tuple[list[CheckResult], dict[str, str]]:
    """Check a tenant at Keycloak; return the results, and the values that placeholders stand for."""
    url, portal = shared.keycloak.url, f"http://localhost:{shared.port}"
    values = {"url": url, "portal": portal, "port": url.rpartition(":")[2]}
    attributes = {name: _filled(value, values) for name, value in changes.items()}
    redirect_uri = attributes.pop("redirect_uri", f"{portal}/t/{CLIENT}/callback")
    provider = Provider(
        tenant=CLIENT,
        id="default",
        issuer=shared.keycloak.issuer("acme"),
        client_id=CLIENT,
        client_secret=Secret(SECRET),
        client_auth=ClientAuth.CLIENT_SECRET_POST,
        scopes=("openid", "profile", "email"),
    )
    provider = replace(provider, **attributes)
    made = PreparedKeys()
    keys = [client_key(made(kind), use="sig", kind=kind, created_at=0.0) for kind in ("RS256", "ES256")]
    client_keys = ClientKeySet(keys, clock=now)
    context = Context(tenant_of(provider), provider, http, (redirect_uri,), now, client_keys=client_keys)
    return await run_live_checks([context]), {"issuer": url, "redirect URI": redirect_uri}


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if type(value) is not str:
        return value
    for name, text in values.items():
        value = value.replace("{" + name + "}", text)
    return value
