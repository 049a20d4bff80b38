"""Mistakes of a tenant file that presets know, and what hooks do with error codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.oidc.authorization_response import accept_response
from portal.oidc.errors import ProviderDenied
from portal.oidc.provider import ProviderMetadata
from portal.tenancy.loading import read_tenant
from tests.unit.tenancy.files import ENVIRON, problems, write
from tests.unit.tenancy.preset_examples import loaded, named
from tests.unit.tenancy.test_presets import DIRECTORY, text_of

METADATA = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("preset", "line", "problem"),
    [
        # the URL of the metadata
        ("generic", f"issuer: https://id.acme.example{METADATA}",
         "issuer is the URL of the provider's metadata; remove /.well-known/openid-configuration at its end"),
        ("okta", f"issuer: https://acme.okta.com/oauth2/default{METADATA}",
         "issuer is the URL of the provider's metadata; remove /.well-known/openid-configuration at its end"),
        ("auth0", f"issuer: https://acme.eu.auth0.com{METADATA}",
         "issuer is the URL of the provider's metadata; remove .well-known/openid-configuration at its end "
         "(keep the slash before it)"),
        ("generic", "issuer: https://id.acme.example/.well-known/oauth-authorization-server",
         "issuer is the URL of the provider's metadata; remove /.well-known/oauth-authorization-server "
         "at its end"),
        # a placeholder
        ("entra", "issuer: https://login.microsoftonline.com/<directory id>/v2.0",
         "issuer still has a placeholder in < >; replace it, and the brackets, with your own value"),
        ("okta", "domain: <your domain>.okta.com",
         "domain still has a placeholder in < >; replace it, and the brackets, with your own value"),
        ("entra", "fields: {directory_id: <directory id>}",
         f"fields has a directory_id that is not one; expected a value such as {DIRECTORY}"),
        # an administration page
        ("okta", "domain: acme-admin.okta.com",
         "domain is Okta's Admin Console; write the domain without -admin, such as acme.okta.com"),
        ("okta", "issuer: https://acme-admin.okta.com/oauth2/default",
         "issuer is Okta's Admin Console; write the host without -admin, as in "
         "https://acme.okta.com/oauth2/default"),
        ("auth0", "domain: manage.auth0.com",
         "domain is Auth0's dashboard; write the Domain in the settings of your application, such as "
         "acme.eu.auth0.com"),
        ("keycloak", "issuer: https://login.acme.example/admin/staff/console",
         "issuer is Keycloak's Admin Console; write the URL of the realm, such as "
         "https://login.example.com/realms/acme"),
        ("entra", "domain: entra.microsoft.com",
         "domain is Microsoft's admin center; remove it and write issuer with your directory id, as in "
         f"https://login.microsoftonline.com/{DIRECTORY}/v2.0"),
        ("ping", "issuer: https://console.pingone.eu/",
         "issuer is PingOne's admin console; copy the Issuer from the Overview of your application"),
        ("salesforce", "domain: acme.lightning.force.com",
         "domain is the Lightning interface; write your My Domain, such as acme.my.salesforce.com"),
        ("generic", "issuer: https://acme-admin.okta.com",
         "issuer is Okta's Admin Console; write the domain without -admin, such as acme.okta.com"),
        ("generic", "domain: acme-admin.okta.com",
         "domain is Okta's Admin Console; write the domain without -admin, such as acme.okta.com"),
        # another path
        ("keycloak", "issuer: https://login.acme.example/realms/staff/protocol/openid-connect/auth",
         "issuer has more than the realm; remove what follows its name, as in "
         "https://login.example.com/realms/acme"),
        ("keycloak", "issuer: https://login.acme.example/realms/master",
         "issuer is the realm that administers Keycloak itself; write the realm of your users, as in "
         "https://login.example.com/realms/acme"),
        ("adfs", "issuer: https://fs.acme.example/adfs/services/trust",
         "issuer is the issuer of access tokens and SAML; write https://<federation service name>/adfs "
         "without more"),
        ("entra", f"issuer: https://sts.windows.net/{DIRECTORY}/",
         "issuer is the issuer of version 1 tokens; write https://login.microsoftonline.com/, your directory "
         "id and /v2.0"),
        # another preset
        ("entra", "issuer: https://acme.okta.com", "issuer is an issuer of Okta; write preset: okta"),
        ("auth0", "issuer: https://login.acme.example/realms/staff",
         "issuer is an issuer of Keycloak; write preset: keycloak"),
        ("okta", "issuer: https://acme.eu.auth0.com/", "issuer is an issuer of Auth0; write preset: auth0"),
        ("keycloak", f"issuer: https://login.microsoftonline.com/{DIRECTORY}/v2.0",
         "issuer is an issuer of Microsoft Entra ID; write preset: entra"),
        ("okta", "issuer: https://accounts.google.com",
         "issuer is an issuer of Google; write preset: google"),
    ],
)  # fmt: skip
def test_a_known_mistake_is_refused_with_what_to_write(
    tmp_path: Path, preset: str, line: str, problem: str
) -> None:
    (found,) = problems(tmp_path, text_of(preset, line))
    assert found.partition(": ")[2] == problem
    assert found.startswith("acme.yaml:3:")


@pytest.mark.parametrize(
    "issuer", ["https://login.acme.example", "https://okta.com.acme.example", "https://auth0.com.example/"]
)
def test_a_provider_behind_its_own_name_keeps_its_preset(tmp_path: Path, issuer: str) -> None:
    assert problems(tmp_path, text_of("okta", f"issuer: {issuer}")) == []


@pytest.mark.parametrize(
    "client_id",
    ["the client id", "<client id>", "'{client_id}'", "YOUR_CLIENT_ID", "your-client-id", "xxxx", "changeme",
     "'${ACME_CLIENT_ID}'", "client-id", "...", "replace me"],
)  # fmt: skip
def test_a_placeholder_as_client_id_is_refused(tmp_path: Path, client_id: str) -> None:
    text = text_of("generic", "domain: id.example").replace("id: x", f"id: {client_id}")
    (found,) = problems(tmp_path, text)
    assert found.endswith(": client.id still has a placeholder; write the client id that the provider issued")


@pytest.mark.parametrize("client_id", ["portal", "0oa1b2", "app-portal-1", "urn:gov:gsa:portal", "my.client"])
def test_an_ordinary_client_id_is_accepted(tmp_path: Path, client_id: str) -> None:
    text = text_of("generic", "domain: id.example").replace("id: x", f"id: {client_id}")
    assert problems(tmp_path, text) == []


# --- access tokens for an API

API = "api: {base_url: 'https://api.acme.example'}"


@pytest.mark.parametrize(
    ("preset", "lines", "warned"),
    [
        ("auth0", ["domain: a.eu.auth0.com"], True),
        ("auth0", ["domain: a.eu.auth0.com", "audience: https://api.acme.example"], False),
        ("auth0", ["domain: a.eu.auth0.com", "resources: ['https://api.acme.example']"], False),
        ("okta", ["domain: a.okta.com"], True),
        ("okta", ["issuer: https://a.okta.com/oauth2/default"], False),
        ("entra", [f"fields: {{directory_id: {DIRECTORY}}}"], True),
        ("entra", [f"fields: {{directory_id: {DIRECTORY}, api_scope: 'api://acme/access'}}"], False),
        ("entra", [f"fields: {{directory_id: {DIRECTORY}}}", "scopes: [openid, api://acme/access]"], False),
        ("generic", ["domain: id.example"], False),
    ],
)
def test_access_tokens_that_no_api_accepts_cause_a_warning(
    tmp_path: Path, preset: str, lines: list[str], warned: bool
) -> None:
    def warnings(*more: str) -> list[str]:
        text = text_of(preset, *lines, *more)
        return [one.message for one in read_tenant(write(tmp_path, text), environ=ENVIRON).warnings]

    rules = named(preset).api
    assert warnings(API) == ([rules.advice] if warned and rules else [])
    assert warnings() == []


def test_the_scope_of_an_api_is_requested(tmp_path: Path) -> None:
    line = f"fields: {{directory_id: {DIRECTORY}, api_scope: 'api://acme/access'}}"
    scopes = loaded(tmp_path, "entra", line).tenant.default_provider.scopes
    assert scopes == ("openid", "profile", "email", "offline_access", "api://acme/access")
    assert "api://acme/access" not in loaded(tmp_path, "entra").tenant.default_provider.scopes


def test_a_generic_provider_of_a_known_kind_gets_a_hint(tmp_path: Path) -> None:
    text = text_of("generic", "issuer: https://acme.okta.com", "userinfo: true", "scopes: [openid]")
    (hint,) = read_tenant(write(tmp_path, text), environ=ENVIRON).hints
    assert hint.message == "this is an issuer of Okta; preset: okta knows its settings"
    assert hint.place.endswith("acme.yaml:3:9")


# --- error codes

OF_PROVIDER = ProviderMetadata("https://a", "https://a/auth", "https://a/token", "https://a/jwks")


@pytest.mark.parametrize(
    ("preset", "error", "description", "code"),
    [
        ("apple", "user_cancelled_authorize", None, "access_denied"),
        ("apple", "invalid_request", None, "invalid_request"),
        ("entra", "server_error", "AADSTS50105: The user is not assigned.", "access_denied"),
        ("entra", "invalid_client", "AADSTS650052: another number", "invalid_client"),
        ("entra", "invalid_client", "AADSTS65001: No consent.", "consent_required"),
        ("entra", "interaction_required", "AADSTS50105: The user is not assigned.", "interaction_required"),
        ("entra", "access_denied", None, "access_denied"),
        ("okta", "user_cancelled_authorize", None, "user_cancelled_authorize"),
    ],
)
def test_hooks_translate_error_codes(
    tmp_path: Path, preset: str, error: str, description: str | None, code: str
) -> None:
    provider = loaded(tmp_path, preset).tenant.default_provider
    response = {"error": [error], **({"error_description": [description]} if description else {})}
    with pytest.raises(ProviderDenied) as denied:
        accept_response(response, provider, OF_PROVIDER)
    assert denied.value.error == code


@pytest.mark.parametrize(
    ("preset", "text", "advice"),
    [
        ("entra", "invalid_client: AADSTS7000215: Invalid client secret.", "The client secret is wrong."),
        ("okta", "access_denied: User is not assigned to the client application.", "Assign the user"),
        ("google", "redirect_uri_mismatch", "Add the portal's callback URL"),
        ("keycloak", "invalid_request: Invalid parameter: redirect_uri", "Add the portal's callback URL"),
        ("generic", "server_error", None),
    ],
)  # fmt: skip
def test_a_preset_advises_on_errors_of_its_provider(preset: str, text: str, advice: str | None) -> None:
    found = named(preset).advice("error", text)
    assert found is None if advice is None else found is not None and found.startswith(advice)


def test_a_preset_advises_on_metadata() -> None:
    authentik = named("authentik")
    algorithms = "id_token_signing_alg_values_supported: ['HS256']"
    assert authentik.advice("metadata", algorithms) == "Select a Signing Key in the provider's settings."
    assert authentik.advice("metadata", algorithms.replace("HS", "RS")) is None
