"""THREATS T1: one tenant with two `oidc-provider` instances, registered with the printed metadata.

`partners` is hostile: like such a provider, the test redirects the browser to `staff` with the parameters of
the login attempt at `partners`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import yaml
from tornado.ioloop import IOLoop

from portal.cli.key_report import registration_report
from portal.tenancy.loading import read_tenant
from tests.integration.certified import CertifiedProvider, certified_provider
from tests.integration.local_portal import (
    LocalPortal,
    PortalAddress,
    local_portal,
    portal_settings,
    write_tenants,
)
from tests.integration.served import free_port
from tests.kit.browser import Browser, Response
from tests.kit.world import OffsetClock

NAMES = ("staff", "partners")
SECRET = "a secret of acme that is long enough"
WITHOUT_METADATA = {
    "discovery": False,
    "endpoints": {
        "authorization": "{issuer}/auth",
        "token": "{issuer}/token",
        "jwks": "{issuer}/jwks",
        "pushed_authorization_request": "{issuer}/request",
    },
}
"""A provider without metadata, so the portal does not know whether it sends `iss` in responses."""


@dataclass(frozen=True, slots=True)
class TwoProviders:
    """The tenant `acme` with both providers, and the portal."""

    portal: LocalPortal
    providers: Mapping[str, CertifiedProvider]
    options: Mapping[str, object]

    async def begin(self, browser: Browser, name: str) -> Response:
        return await self.portal.begin(browser, "acme", f"?provider={name}")

    async def finish(self, browser: Browser, name: str, page: Response) -> Response:
        """Complete a provider's pages and return to the portal."""
        page = await self.providers[name].complete_sign_in(browser, page)
        if page.url.startswith(self.providers[name].issuer):
            page = await browser.submit(page.form(self.portal.at("/t/acme/callback/")))
        return page

    async def token_requests(self) -> int:
        good = [await provider.count("grant.success") for provider in self.providers.values()]
        refused = [await provider.count("grant.error") for provider in self.providers.values()]
        return sum(good) + sum(refused)


@pytest.fixture
def two(request: pytest.FixtureRequest, io_loop: IOLoop, tmp_path: Path) -> Iterator[TwoProviders]:
    """Both providers with the options in an indirect parameter."""
    manager = _two_providers(tmp_path, request.param)
    world = io_loop.run_sync(manager.__aenter__, timeout=60)
    try:
        yield world
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


@contextlib.asynccontextmanager
async def _two_providers(folder: Path, options: Mapping[str, object]) -> AsyncIterator[TwoProviders]:
    address, ports = PortalAddress(), {name: free_port() for name in NAMES}
    issuers = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    text = yaml.safe_dump(
        {
            "name": "Acme Inc.",
            "providers": {name: _registration(name, issuer, options) for name, issuer in issuers.items()},
        }
    )
    tenant = read_tenant(
        write_tenants(folder, {"acme": text}) / "acme.yaml", allow_private_networks=True
    ).tenant
    (printed,) = registration_report(portal_settings(folder, address), tenant, jwks=False, as_json=True)
    async with contextlib.AsyncExitStack() as stack:
        providers = {}
        for name, metadata in json.loads(printed).items():
            own = folder / name
            own.mkdir()
            # See registrations.py: this key requires https, and the provider does not register these scopes.
            accepted = {
                key: value for key, value in metadata.items() if key not in ("initiate_login_uri", "scope")
            }
            providers[name] = await stack.enter_async_context(
                certified_provider(own, [{**accepted, "client_secret": SECRET}], port=ports[name])
            )
        portal = await stack.enter_async_context(local_portal(folder, {"acme": text}, address, OffsetClock()))
        yield TwoProviders(portal, providers, options)


def _registration(name: str, issuer: str, options: Mapping[str, object]) -> object:
    written = {
        "issuer": issuer,
        "client": {"id": f"portal-at-{name}", "secret": SECRET},
        "scopes": ["openid", "profile"],
        **options,
    }
    return yaml.safe_load(yaml.safe_dump(written).replace("{issuer}", issuer))


def without_issuer(url: str) -> str:
    """Return the response without `iss`, as of a provider without RFC 9207."""
    base, _, query = url.partition("?")
    return f"{base}?{urlencode([pair for pair in parse_qsl(query) if pair[0] != 'iss'])}"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "two",
    [
        pytest.param(WITHOUT_METADATA, id="query, without iss"),
        pytest.param({"response_mode": "form_post"}, id="form_post, with iss"),
        pytest.param({"response_mode": "query.jwt"}, id="query.jwt"),
    ],
    indirect=True,
)
async def test_T1_a_code_of_the_honest_provider_does_not_go_to_the_hostile_one(two: TwoProviders) -> None:
    victim = two.portal.browser()
    page = await two.begin(victim, "partners")
    authorize_url = next(step for step in page.trail if urlsplit(step).path == "/auth")
    request = dict(parse_qsl(urlsplit(authorize_url).query))
    assert request["redirect_uri"] == two.portal.at("/t/acme/callback/partners")
    staff = two.providers["staff"]
    for name, registered in (("partners", False), ("staff", True)):
        redirect_uri = two.portal.at(f"/t/acme/callback/{name}")
        forged = {**request, "client_id": "portal-at-staff", "redirect_uri": redirect_uri}
        signing_in = await victim.open(f"{staff.issuer}/auth?{urlencode(forged)}")
        assert (signing_in.status == 200) is registered, "the provider accepts the redirect URI of the other"
    if request.get("response_mode") == "form_post":
        refused = await two.finish(victim, "staff", signing_in)
    else:
        response = await staff.response_to(victim, signing_in)
        response = without_issuer(response) if "endpoints" in two.options else response
        refused = await victim.open(response)
    assert refused.status == 400, refused.text
    if request.get("response_mode") == "form_post":  # refused at the POST, shown by a GET
        assert two.portal.at("/t/acme/callback/staff") in refused.trail
        assert refused.url == two.portal.at("/t/acme/finish-login?reference=gone")
    else:
        assert urlsplit(refused.url).path == "/t/acme/callback/staff"
    assert await two.token_requests() == 0
    assert await two.portal.signed_in_at(victim) == []
    await _users_of_both_sign_in(two)


@pytest.mark.gen_test
@pytest.mark.parametrize("two", [{"par": True, "response_mode": "form_post.jwt"}], indirect=True)
async def test_users_of_both_sign_in_with_pushed_requests(two: TwoProviders) -> None:
    await _users_of_both_sign_in(two)


async def _users_of_both_sign_in(two: TwoProviders) -> None:
    for name in NAMES:
        browser = two.portal.browser()
        home = await two.finish(browser, name, await two.begin(browser, name))
        assert home.url == two.portal.at("/t/acme/"), home.text
        assert await two.portal.signed_in_at(browser) == ["acme"]
        assert await two.providers[name].count("grant.success") == 1
