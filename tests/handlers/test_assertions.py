"""`private_key_jwt` with the registration's own key, at the strict development provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import yaml

from tests.kit.faulty.provider import FaultyProvider
from tests.kit.raw import change_tenant
from tests.kit.world import World

KEY = {"auth": "private_key_jwt"}
ASSERTED = ("par", "code", "refresh", "revocation")
"""Requests at which the portal authenticates."""


def register(provider: FaultyProvider, jwks_uri: str, *audiences: str) -> None:
    """Register the portal at the provider with keys and with these accepted audiences."""
    client = replace(provider.settings.clients[0], client_secret=None)
    provider.client_keys[client.client_id] = jwks_uri
    provider.assertion_audiences[client.client_id] = frozenset(audiences)
    provider.settings = replace(provider.settings, clients=(client,))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("expected_audience", "file"),
    [
        ("issuer", {"client": {**KEY, "signing_key": "own"}}),
        ("token_endpoint", {"client": {**KEY, "assertion_audience": "token_endpoint"}}),
        ("endpoint", {"client": KEY, "preset": "okta"}),
    ],
    ids=["issuer", "token endpoint, as Hydra", "called endpoint, as Okta"],
)
async def test_the_portal_is_accepted_at_every_endpoint(
    world: World, expected_audience: str, file: Mapping[str, object]
) -> None:
    register(world.acme, world.at("/t/acme/jwks.json"), expected_audience)
    change_tenant(world, "acme", par=True, **file)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/echo"))).status == 200
    login = await world.login_of(browser, "acme")
    assert login is not None
    provider = world.running.portal.registry.get("acme").default_provider  # type: ignore[union-attr]
    token = world.running.tokens.open(login).access_token
    assert await world.running.relying_party.revoke(provider, token, hint="access_token")
    assert {name: world.acme.requests[name] for name in ASSERTED} == dict.fromkeys(ASSERTED, 1)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("keys", "expected_audience", "client"),
    [
        ("/t/acme/jwks.json", "token_endpoint", {"signing_key": "own"}),
        ("/.well-known/jwks.json", "issuer", {"signing_key": "own"}),
        ("/t/globex/jwks.json", "issuer", {"signing_key": "own"}),
        ("/t/globex/jwks.json", "issuer", {"signing_alg": "ES256"}),
    ],
    ids=["another audience", "the shared key", "the key of another tenant", "the shared key for another's"],
)
async def test_an_assertion_with_a_wrong_audience_or_key_is_refused(
    world: World, keys: str, expected_audience: str, client: Mapping[str, object]
) -> None:
    change_tenant(world, "globex", client={**KEY, "signing_key": "own"})
    register(world.acme, world.at(keys), expected_audience)
    change_tenant(world, "acme", client={**KEY, **client})
    world.acme.automatic_user = "alice"
    page = await world.browser().open(world.at("/t/acme/login"))
    assert page.status == 502
    assert "did not accept the portal" in page.text


@pytest.mark.gen_test
@pytest.mark.parametrize("audience", ["issuer", "token_endpoint", "endpoint"])
async def test_T2_a_tenant_with_the_issuer_and_client_id_of_another_cannot_authenticate_as_it(
    world: World, audience: str
) -> None:
    register(world.acme, world.at("/t/acme/jwks.json"), audience)
    client_key = {**KEY, "signing_key": "own", "assertion_audience": audience}
    change_tenant(world, "acme", client=client_key)
    await world.quick_sign_in(world.browser(), "acme")
    folder = world.parts.tenants_folder
    victim = yaml.safe_load((folder / "acme.yaml").read_text())
    evil = {**victim, "name": "Globex", "email_domains": []}
    (folder / "globex.yaml").write_text(yaml.safe_dump(evil))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems
    client = world.acme.settings.clients[0]
    redirect_uris = (*client.redirect_uris, world.at("/t/globex/callback"))
    world.acme.settings = replace(
        world.acme.settings, clients=(replace(client, redirect_uris=redirect_uris),)
    )
    world.acme.automatic_user = "alice"
    page = await world.browser().open(world.at("/t/globex/login"))
    assert page.status == 502
    assert "did not accept the portal" in page.text
