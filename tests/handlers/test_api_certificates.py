"""`api.mtls` and `api.tls`: API calls with client certificates (RFC 8705 3)."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from portal.oidc.provider import TokenSet
from portal.secret import Secret
from portal.stores.model import Login
from tests.kit.browser import Browser, Response
from tests.kit.raw import change_tenant
from tests.kit.world import World
from tests.security.test_mix_up_threats import USERS, provider_of, write_acme
from tests.unit.oidc.test_bound_token import thumbprint, token
from tests.unit.outbound.certificates import Issued, Presented, issue, requesting_certificates

AUTHORITY = issue("authority", authority=True)
OWN = issue("acme", AUTHORITY)
OTHER = issue("other", AUTHORITY)


@dataclass
class Setting:
    """The tenant acme with an API behind TLS, which records the client certificate of each call."""

    world: World
    api: Presented
    browser: Browser

    async def call(self, method: str = "GET", body: str | None = None) -> Response:
        return await self.browser.fetch(self.world.at("/t/acme/api/x"), method, body=body)

    async def bind_stored_token(self, to: Issued, *, refreshable: bool) -> None:
        """Replace the stored access token by one that is bound to a certificate."""
        login = await self.world.login_of(self.browser, "acme")
        assert login is not None
        tokens = replace(self.world.running.tokens.open(login), access_token=bound_token(to))
        if not refreshable:
            tokens = replace(tokens, refresh_token=None)
        sealed = self.world.running.vault.seal_tokens(login.id, tokens)
        swapped = await self.world.running.portal.store.swap_login(
            replace(login, tokens=sealed, version=login.version + 1), expected_version=login.version
        )
        assert swapped


def bound_token(to: Issued) -> Secret:
    return token({"cnf": {"x5t#S256": thumbprint(to)}})


def write_pair(folder: Path, name: str, issued: Issued) -> dict[str, str]:
    (folder / f"{name}.pem").write_text(issued.chain)
    (folder / f"{name}.key").write_text(issued.private_key())
    return {"certificate": f"file:{name}.pem", "private_key": f"file:{name}.key"}


@contextlib.asynccontextmanager
async def setting(world: World, folder: Path, **api: object) -> AsyncIterator[Setting]:
    tenants = world.parts.tenants_folder
    (tenants / "authority.pem").write_text(AUTHORITY.chain)
    async with requesting_certificates(folder, AUTHORITY) as server:
        keys = {"base_url": server.url(), "tls": {"ca": "file:authority.pem"}, **api}
        change_tenant(world, "acme", client=write_pair(tenants, "acme", OWN), api=keys)
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        yield Setting(world, server, browser)


@pytest.mark.gen_test
async def test_calls_present_the_certificate_where_mtls_is_configured(world: World, tmp_path: Path) -> None:
    async with setting(world, tmp_path, mtls=True) as acme:
        assert (await acme.call()).status == 200
        assert (await acme.call("POST", "{}")).status == 200
        assert (await acme.call("POST", "x" * 100_000)).status == 200  # a streamed body
        change_tenant(world, "acme", api={"mtls": False})
        assert (await acme.call()).status == 200
        assert acme.api.names == ["acme", "acme", "acme", None]
        await acme.bind_stored_token(OTHER, refreshable=True)
        assert (await acme.call()).status == 200
        assert world.acme.requests["refresh"] == 0


@pytest.mark.gen_test
async def test_authorities_of_the_api_are_trusted_and_reloaded_when_their_file_changes(
    world: World, tmp_path: Path
) -> None:
    async with setting(world, tmp_path) as acme:
        assert (await acme.call()).status == 200
        changed = world.parts.tenants_folder / "authority.pem"
        changed.write_text(issue("another authority", authority=True).chain)
        world.running.portal.registry.load()
        refused = await acme.call()
        assert (refused.status, json.loads(refused.body)["code"]) == (502, "upstream_unavailable")
        changed.write_text(AUTHORITY.chain)
        world.running.portal.registry.load()
        assert (await acme.call()).status == 200
        assert acme.api.names == [None, None]


@pytest.mark.gen_test
async def test_authorities_of_the_provider_are_not_trusted_for_the_api(world: World, tmp_path: Path) -> None:
    async with setting(world, tmp_path) as acme:
        path = world.parts.tenants_folder / "acme.yaml"
        document = yaml.safe_load(path.read_text())
        document["tls"] = document["api"].pop("tls")
        path.write_text(yaml.safe_dump(document))
        world.running.portal.registry.load()
        assert (await acme.call()).status == 502
        assert acme.api.names == []


@pytest.mark.gen_test
async def test_a_token_that_is_bound_to_the_replaced_certificate_is_refreshed_first(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_tokens = world.running.portal.sessions.tokens

    async def bound_tokens(login: Login, *, refused: Secret | None = None, target: None = None) -> TokenSet:
        tokens = await get_tokens(login, refused=refused)
        return replace(tokens, access_token=bound_token(OWN)) if refused else tokens

    monkeypatch.setattr(world.running.portal.sessions, "tokens", bound_tokens)
    async with setting(world, tmp_path, mtls=True) as acme:
        await acme.bind_stored_token(OTHER, refreshable=True)
        world.clock.advance(60)
        before = world.acme.requests["refresh"]
        assert (await acme.call()).status == 200
        assert world.acme.requests["refresh"] == before + 1
        assert acme.api.names == ["acme"]


@pytest.mark.gen_test
async def test_a_token_that_is_bound_to_the_certificate_is_not_refreshed(
    world: World, tmp_path: Path
) -> None:
    async with setting(world, tmp_path, mtls=True) as acme:
        await acme.bind_stored_token(OWN, refreshable=True)
        assert (await acme.call()).status == 200
        assert world.acme.requests["refresh"] == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_of_another_certificate_is_reported_and_not_sent(
    world: World, tmp_path: Path, log_lines: io.StringIO, method: str
) -> None:
    async with setting(world, tmp_path, mtls=True) as acme:
        await acme.bind_stored_token(OTHER, refreshable=False)
        refused = await acme.call(method, "x" * 100_000 if method == "POST" else None)
        assert refused.status == 502
        assert json.loads(refused.body)["code"] == "token_of_another_certificate"
        reason = f"cnf x5t#S256 is {thumbprint(OTHER)}, the certificate has {thumbprint(OWN)}"
        assert reason in log_lines.getvalue()
        assert acme.api.names == []
        change_tenant(world, "acme", client=write_pair(world.parts.tenants_folder, "acme", OTHER))
        assert (await acme.call()).status == 200
        assert acme.api.names == ["other"]


@pytest.mark.gen_test
async def test_each_of_several_providers_has_its_own_certificate_and_connections(
    world: World, tmp_path: Path
) -> None:
    certificates = {"staff": issue("of staff", AUTHORITY), "partners": issue("of partners", AUTHORITY)}
    write_acme(world, "staff", "partners")
    tenants = world.parts.tenants_folder
    (tenants / "authority.pem").write_text(AUTHORITY.chain)
    path = tenants / "acme.yaml"
    async with requesting_certificates(tmp_path, AUTHORITY) as server:
        document = yaml.safe_load(path.read_text())
        document["api"] = {"base_url": server.url(), "mtls": True, "tls": {"ca": "file:authority.pem"}}
        for name, issued in certificates.items():
            document["providers"][name]["client"].update(write_pair(tenants, name, issued))
        path.write_text(yaml.safe_dump(document))
        world.running.portal.registry.load()
        assert not world.running.portal.registry.problems
        browsers = {}
        for name, user in USERS.items():
            browsers[name] = world.browser()
            provider_of(world, name).automatic_user = user
            home = await browsers[name].open(world.at(f"/t/acme/login?provider={name}"))
            assert home.status == 200, home.text
        for name in ("staff", "partners", "staff", "partners"):
            response = await browsers[name].fetch(world.at("/t/acme/api/x"))
            assert response.status == 200
        assert server.names == ["of staff", "of partners"] * 2
