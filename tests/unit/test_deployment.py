"""Deployment files are consistent: Compose file, image, realms, settings and tenant files."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from portal.config.settings import Settings, load_settings
from portal.oidc.provider import ClientAuth
from portal.tenancy.loading import read_tenant
from portal.tenancy.model import Tenant
from portal.web.sites import Sites

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TENANTS = ("acme", "globex")


def read_compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


def read_realm(slug: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "keycloak" / f"{slug}-realm.json").read_text())
    return read


def read_settings() -> Settings:
    return load_settings(DEPLOY / "portal" / "portal.yaml", environ={})


def read_tenant_file(slug: str) -> Tenant:
    secrets = {f"{name.upper()}_CLIENT_SECRET": f"secret of {name}" for name in TENANTS}
    path = DEPLOY / "portal" / "tenants" / f"{slug}.yaml"
    return read_tenant(path, allow_private_networks=True, environ=secrets).tenant


def compose_variables() -> dict[str, str]:
    """Return the environment variables of the Compose file with their defaults."""
    text = (ROOT / "docker-compose.yml").read_text()
    return dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", text))


def example_environment() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


# --- the Compose file


def test_compose_file_follows_the_schema_of_compose_files() -> None:
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    jsonschema.validate(read_compose(), schema)


def test_every_variable_of_the_compose_file_has_the_default_of_the_example_environment() -> None:
    assert compose_variables() == example_environment()


def test_every_file_that_the_compose_file_mounts_exists() -> None:
    mounts = [
        volume for service in read_compose()["services"].values() for volume in service.get("volumes", [])
    ]
    sources = [mount.split(":")[0] for mount in mounts]
    named = read_compose()["volumes"].keys()
    assert {source for source in sources if not source.startswith("./")} == named
    missing = [source for source in sources if source.startswith("./") and not (ROOT / source).exists()]
    assert missing == []


def test_only_nginx_is_published_and_only_to_this_machine() -> None:
    ports = {
        name: service["ports"] for name, service in read_compose()["services"].items() if "ports" in service
    }
    assert ports == {"nginx": ["127.0.0.1:8080:8080"]}


def test_every_service_waits_until_its_dependencies_are_healthy() -> None:
    services = read_compose()["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
    assert services["portal"]["depends_on"]["mongo"]["condition"] == "service_healthy"


def test_the_portal_and_nginx_share_the_network_namespace_of_the_listen_address() -> None:
    settings, service = read_settings(), read_compose()["services"]["portal"]
    assert service["network_mode"] == "service:nginx"
    assert f"server {settings.listen};" in (DEPLOY / "nginx" / "nginx.conf").read_text()
    assert f"http://{settings.listen}/healthz" in " ".join(service["healthcheck"]["test"])
    assert [str(network) for network in settings.trusted_proxies] == ["127.0.0.1/32"]


def test_the_portal_writes_only_to_a_persistent_volume() -> None:
    settings, service = read_settings(), read_compose()["services"]["portal"]
    assert f"portal-state:{settings.keys.parent}" in service["volumes"]
    assert settings.database.startswith("mongodb://mongo:27017/")
    assert service["read_only"] is True
    assert f"VOLUME {settings.keys.parent}" in (ROOT / "Dockerfile").read_text()


# --- realms and tenant files


@pytest.mark.parametrize("slug", TENANTS)
def test_realm_and_tenant_file_describe_the_same_registration(slug: str) -> None:
    realm, tenant = read_realm(slug), read_tenant_file(slug)
    provider = tenant.default_provider
    [client] = realm["clients"]
    host = read_compose()["services"]["keycloak"]["environment"]["KC_HOSTNAME"]
    assert provider.issuer == f"{host}/realms/{realm['realm']}"
    assert provider.client_id == client["clientId"]
    assert provider.client_auth is ClientAuth.CLIENT_SECRET_BASIC
    assert client["clientAuthenticatorType"] == "client-secret"
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert tenant.name == realm["displayName"]


@pytest.mark.parametrize("slug", TENANTS)
def test_realm_redirects_the_browser_only_to_the_portal(slug: str) -> None:
    site = Sites(read_settings().public_url, lambda _: None).main
    [client] = read_realm(slug)["clients"]
    tenant = read_tenant_file(slug)
    assert client["redirectUris"] == [site.callback_url(tenant, tenant.default_provider.id)]
    assert client["attributes"]["post.logout.redirect.uris"] == site.signed_out_url(slug)
    assert client["directAccessGrantsEnabled"] is False
    assert client["implicitFlowEnabled"] is False


@pytest.mark.parametrize("slug", TENANTS)
def test_portal_and_keycloak_read_a_client_secret_from_the_same_variable(slug: str) -> None:
    variable = f"{slug.upper()}_CLIENT_SECRET"
    secret = read_tenant_file(slug).default_provider.client_secret
    assert secret is not None
    assert secret.reveal() == f"secret of {slug}"
    assert read_realm(slug)["clients"][0]["secret"] == f"${{{variable}}}"
    services = read_compose()["services"]
    assert services["portal"]["environment"][variable] == services["keycloak"]["environment"][variable]


@pytest.mark.parametrize("slug", TENANTS)
def test_realm_has_users_who_can_sign_in_and_short_lived_access_tokens(slug: str) -> None:
    realm = read_realm(slug)
    roles = {role["name"] for role in realm["roles"]["realm"]}
    for user in realm["users"]:
        assert user["enabled"]
        assert [credential["type"] for credential in user["credentials"]] == ["password"]
        assert set(user["realmRoles"]) - {f"default-roles-{slug}"} <= roles
    assert 30 < realm["accessTokenLifespan"] <= 300
    assert realm["revokeRefreshToken"] is True


def test_every_realm_has_a_tenant_file() -> None:
    assert sorted(path.stem for path in (DEPLOY / "portal" / "tenants").iterdir()) == sorted(TENANTS)
    assert sorted(path.name for path in (DEPLOY / "keycloak").iterdir()) == [
        f"{slug}-realm.json" for slug in TENANTS
    ]


# --- the image


def test_everything_that_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    ignored, *let_through = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith(("#", "**"))
    ]
    assert ignored == "*"
    assert {line.removeprefix("!") for line in let_through} == sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
