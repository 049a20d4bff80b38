"""The development parts together: ports, files, and two separate organisations."""

from __future__ import annotations

import socket
import stat
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application

from portal.demo.files import load_or_create_secret, write_private
from portal.demo.organisations import ACME_ORGANISATION, GLOBEX_ORGANISATION
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_keys import load_or_create_key
from portal.demo.provider_model import Grant, ProviderSettings
from portal.demo.provider_routes import provider_application
from portal.demo.topology import (
    HOST,
    AnyParts,
    DemoPartMaker,
    Ports,
    development_parts,
    next_free_ports,
)
from portal.errors import ConfigurationError, StartupError
from portal.tenancy.checks.files import check_files
from tests.kit.faulty.parts import ANY_PORTS


class QuickPartMaker(DemoPartMaker):
    """Creates the parts of the demo with an existing key."""

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    async def provider(
        self, settings: ProviderSettings, key_file: Path
    ) -> tuple[DevelopmentProvider, Application]:
        provider = DevelopmentProvider(settings, self._key)
        return provider, provider_application(provider)


@pytest.fixture
def maker(signing_key: RSAPrivateKey) -> DemoPartMaker:
    return QuickPartMaker(signing_key)


def serving(
    data: Path, maker: DemoPartMaker, ports: Ports | None = None
) -> AbstractAsyncContextManager[AnyParts]:
    ports = ports or ANY_PORTS
    return development_parts(data, maker, portal_url="http://localhost:1234", ports=ports)


def access_token(parts: AnyParts, organisation: str) -> str:
    provider = parts.providers[organisation]
    user = provider.settings.users[0]
    audience = provider.settings.clients[0].audiences
    scope = tuple(user.scopes)
    grant = Grant("client", user, scope, audience, "sid", 0.0, None)
    return provider.mint.access_token(grant, scope, audience).value


@pytest.mark.gen_test
async def test_each_api_accepts_only_the_tokens_of_its_own_provider(
    tmp_path: Path, maker: DemoPartMaker
) -> None:
    async with serving(tmp_path, maker) as parts:
        http = AsyncHTTPClient(force_instance=True)
        for api_url, path, accepted, refused in (
            (parts.api_url("acme"), "/orders", "acme", "globex"),
            (parts.api_url("globex"), "/projects", "globex", "acme"),
        ):
            for organisation, status in ((accepted, 200), (refused, 401)):
                headers = {"Authorization": f"Bearer {access_token(parts, organisation)}"}
                response = await http.fetch(api_url + path, headers=headers, raise_error=False)
                assert response.code == status
        http.close()


@pytest.mark.gen_test
async def test_tenant_files_are_valid_and_secrets_are_not_in_them(
    tmp_path: Path, maker: DemoPartMaker
) -> None:
    async with serving(tmp_path, maker) as parts:
        checked = check_files(
            (parts.tenants_folder,), allow_private_networks=True, environ={}, reserved_hosts=()
        )
        assert [(file.path.stem, file.problems, file.warnings) for file in checked] == [
            ("acme", (), ()),
            ("globex", (), ()),
        ]
        for file, provider in zip(checked, (parts.providers["acme"], parts.providers["globex"]), strict=True):
            client = provider.settings.clients[0]
            assert file.tenant is not None
            registered = file.tenant.default_provider
            assert registered.issuer == provider.issuer
            assert registered.client_id == client.client_id
            assert registered.client_secret is not None
            assert registered.client_secret.reveal() == client.client_secret
            assert client.client_secret not in file.path.read_text()
            base = f"http://localhost:1234/t/{file.path.stem}"
            assert client.redirect_uris == (f"{base}/callback",)
            assert client.post_logout_redirect_uris == (f"{base}/signed-out",)
            assert client.backchannel_logout_uri == f"{base}/backchannel-logout"


@pytest.mark.gen_test
async def test_files_with_secrets_are_private_and_reused(tmp_path: Path) -> None:
    async with serving(tmp_path, DemoPartMaker()) as parts:
        first = parts.providers["acme"]
    async with serving(tmp_path, DemoPartMaker()) as parts:
        second = parts.providers["acme"]
    assert first.keys.current.kid == second.keys.current.kid
    assert first.settings.clients[0].client_secret == second.settings.clients[0].client_secret
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 8  # a key and a secret of each organisation, and two tenant files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.gen_test
async def test_one_provider_asks_for_consent_and_both_show_the_sample_users(
    tmp_path: Path, maker: DemoPartMaker
) -> None:
    async with serving(tmp_path, maker) as parts:
        assert parts.providers["acme"].settings.consent_required
        assert not parts.providers["globex"].settings.consent_required
        for provider in (parts.providers["acme"], parts.providers["globex"]):
            assert provider.settings.access_token_seconds == 60
            assert provider.settings.show_users


@pytest.mark.gen_test
async def test_a_port_in_use_is_reported_and_no_port_stays_bound(
    tmp_path: Path, maker: DemoPartMaker
) -> None:
    with socket.create_server((HOST, 0)) as occupied, socket.create_server((HOST, 0)) as probe:
        free = probe.getsockname()[1]
        probe.close()
        ports = replace(ANY_PORTS, acme_provider=free, globex_provider=occupied.getsockname()[1])
        with pytest.raises(StartupError, match=f"127.0.0.1:{ports.globex_provider} is in use"):
            async with serving(tmp_path, maker, ports):
                pytest.fail("served on a port in use")
        with socket.create_server((HOST, free)):
            pass


def test_ports_in_use_are_replaced_by_the_next_free_ones() -> None:
    with socket.create_server((HOST, 0)) as server:
        occupied = server.getsockname()[1]
        found = next_free_ports(Ports(*[occupied] * 6))
        numbers = (found.acme_provider, found.globex_provider, found.acme_api, found.globex_api)
        assert len(set(numbers)) == 4
        assert min(numbers) > occupied


def test_free_ports_are_kept() -> None:
    with socket.create_server((HOST, 0)) as server:
        free = server.getsockname()[1]
    assert next_free_ports(Ports(*[free] * 6)).acme_provider == free


def test_without_any_free_port_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as server:
        last = server.getsockname()[1]
        monkeypatch.setattr("portal.demo.topology._PORTS_TRIED", 1)
        with pytest.raises(StartupError, match="No port is free"):
            next_free_ports(Ports(*[last] * 6))


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_key_file_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="has no RSA key") as caught:
        load_or_create_key(path)
    assert caught.value.problems[0].place == str(path)


def test_an_empty_secret_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        load_or_create_secret(path)


def test_a_private_file_replaces_an_existing_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_organisations_share_a_subject_but_no_password() -> None:
    acme = {user.username: user for user in ACME_ORGANISATION.users}
    globex = {user.username: user for user in GLOBEX_ORGANISATION.users}
    assert acme["sam"].subject == globex["sam"].subject
    assert acme["sam"].password != globex["sam"].password
