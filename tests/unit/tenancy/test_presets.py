"""The presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.oidc.issuer import IssuerTemplate
from portal.oidc.logout import logout_url
from portal.oidc.provider import AssertionAudience, ClientAuth, ProviderMetadata
from tests.unit.tenancy.files import problems, tenant
from tests.unit.tenancy.preset_examples import PRESETS, loaded


def text_of(preset: str, *lines: str) -> str:
    return "\n".join(
        [
            *("name: Acme", f"preset: {preset}", *lines),
            *("client: {id: x, secret: '${ACME_SECRET}'}", "access: anyone", ""),
        ]
    )


@pytest.mark.parametrize(
    ("preset", "line", "issuer"),
    [
        ("auth0", "domain: acme.eu.auth0.com", "https://acme.eu.auth0.com/"),
        ("auth0", "domain: Login.Acme.example", "https://login.acme.example/"),
        ("auth0", "issuer: https://login.acme.example/", "https://login.acme.example/"),
        ("okta", "domain: acme.okta.com", "https://acme.okta.com"),
        ("okta", "issuer: https://acme.okta.com/oauth2/default", "https://acme.okta.com/oauth2/default"),
        ("entra", "issuer: https://login.microsoftonline.com/1-2/v2.0", "https://login.microsoftonline.com/1-2/v2.0"),
        ("google", "discovery: true", "https://accounts.google.com"),
        ("keycloak", "issuer: https://id.acme.example/realms/a", "https://id.acme.example/realms/a"),
        ("cognito", "issuer: https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a",
         "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a"),
        ("gitlab", "discovery: true", "https://gitlab.com"),
        ("gitlab", "domain: gitlab.acme.example", "https://gitlab.acme.example"),
        ("zitadel", "domain: id.acme.example", "https://id.acme.example"),
        ("generic", "domain: id.acme.example", "https://id.acme.example"),
        ("generic", "issuer: https://id.acme.example/x/", "https://id.acme.example/x/"),
    ],
)  # fmt: skip
def test_a_preset_determines_the_issuer(tmp_path: Path, preset: str, line: str, issuer: str) -> None:
    assert tenant(tmp_path, text_of(preset, line)).default_provider.issuer == issuer


DIRECTORY = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize("domain", ["organizations", "common"])
@pytest.mark.parametrize("written", ["domain: {}", "issuer: https://login.microsoftonline.com/{}/v2.0"])
@pytest.mark.parametrize(
    ("tenant_ids", "allowed"),
    [
        (f"[{DIRECTORY}]", frozenset({DIRECTORY})),
        (f"[{DIRECTORY.upper()}, {DIRECTORY}]", frozenset({DIRECTORY})),
        ("any", None),
    ],
)
def test_entra_has_an_issuer_template_if_directories_share_an_issuer(
    tmp_path: Path, domain: str, written: str, tenant_ids: str, allowed: frozenset[str] | None
) -> None:
    text = text_of("entra", written.format(domain), f"tenant_ids: {tenant_ids}")
    provider = tenant(tmp_path, text).default_provider
    assert provider.issuer == f"https://login.microsoftonline.com/{domain}/v2.0"
    template = IssuerTemplate("https://login.microsoftonline.com/{tenantid}/v2.0", allowed)
    assert provider.issuer_template == template


def test_a_single_entra_directory_has_no_issuer_template(tmp_path: Path) -> None:
    issuer = f"issuer: https://login.microsoftonline.com/{DIRECTORY}/v2.0"
    assert tenant(tmp_path, text_of("entra", issuer)).default_provider.issuer_template is None


@pytest.mark.parametrize(
    "written", ["[]", "all", "[5]", f"{DIRECTORY}", f"[{DIRECTORY[:-1]}]", f"[any, {DIRECTORY}]", "5"]
)
def test_directories_are_listed_by_their_ids_or_any(tmp_path: Path, written: str) -> None:
    (problem,) = problems(tmp_path, text_of("entra", "domain: common", f"tenant_ids: {written}"))
    assert problem.startswith("acme.yaml:4:13: tenant_ids must be any, or a list of ")


@pytest.mark.parametrize(
    ("preset", "lines", "problem"),
    [
        (
            "auth0",
            ["domain: a.example", "issuer: https://a.example/"],
            'acme.yaml:3:9: domain conflicts with "issuer"; keep one of the two',
        ),
        (
            "auth0",
            ["issuer: https://a.example"],
            "acme.yaml:3:9: issuer must end with / as in https://acme.eu.auth0.com/",
        ),
        (
            "generic",
            [],
            'acme.yaml:1:1: this file lacks "domain" or "issuer": '
            "write domain: login.example.com, or issuer: https://login.example.com",
        ),
        (
            "generic",
            ["domain: https://a.example/"],
            "acme.yaml:3:9: domain must be a host name alone, such as "
            "acme.eu.auth0.com; write a whole URL as issuer, found text",
        ),
        (
            "generic",
            ["domain: a.example/realms/a"],
            "acme.yaml:3:9: domain must be a host name alone, such as "
            "acme.eu.auth0.com; write a whole URL as issuer, found text",
        ),
        (
            "generic",
            ["domain: localhost"],
            "acme.yaml:3:9: domain is refused: it leads to a loopback address, "
            "unless the portal's settings have allow_private_networks: true",
        ),
        (
            "keycloak",
            ["domain: a.example"],
            "acme.yaml:3:9: domain does not determine the issuer of Keycloak; "
            "write issuer: https://login.example.com/realms/<realm>",
        ),
        (
            "keycloak",
            [],
            'acme.yaml:1:1: this file lacks "issuer": write issuer: https://login.example.com/realms/<realm>',
        ),
        (
            "google",
            ["domain: acme.example"],
            "acme.yaml:3:9: domain does not determine the issuer of Google, "
            "which is https://accounts.google.com; remove it",
        ),
        (
            "entra",
            ["domain: acme.onmicrosoft.com"],
            "acme.yaml:3:9: domain does not determine the issuer of Microsoft "
            "Entra ID; write issuer: https://login.microsoftonline.com/<directory (tenant) id>/v2.0",
        ),
        (
            "entra",
            ["issuer: https://login.microsoftonline.com/common/v2.0"],
            "acme.yaml:1:1: tenant_ids is missing, but all directories share this issuer: "
            "list the ids of the directories whose users may sign in, or write any for all",
        ),
        (
            "entra",
            ["issuer: https://login.microsoftonline.com/consumers/v2.0"],
            "acme.yaml:3:9: issuer is not the issuer in tokens of personal accounts; write issuer: "
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        ),
        (
            "entra",
            [
                "issuer: https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
                "tenant_ids: any",
            ],
            "acme.yaml:4:13: tenant_ids is only valid with preset entra and domain: organizations or common",
        ),
        (
            "entra",
            ["domain: organizations", "tenant_ids: [acme.onmicrosoft.com]"],
            "acme.yaml:4:13: tenant_ids must be any, or a list of directory ids such as "
            "72f988bf-86f1-41af-91ab-2d7cd011db47, found a list",
        ),
        (
            "entra",
            ["domain: organizations", "tenant_ids: [any]"],
            "acme.yaml:4:13: tenant_ids is a list that contains any; write tenant_ids: any, without brackets",
        ),
        (
            "entra",
            ["issuer: https://login.microsoftonline.com/1-2/"],
            "acme.yaml:3:9: issuer must end with /v2.0 "
            "as in https://login.microsoftonline.com/<directory (tenant) id>/v2.0",
        ),
        (
            "cognito",
            ["domain: a.example"],
            "acme.yaml:3:9: domain does not determine the issuer of Amazon Cognito; "
            "write issuer: https://cognito-idp.<region>.amazonaws.com/<user pool id>",
        ),
    ],
)
def test_keys_that_determine_no_issuer_are_refused_with_a_remedy(
    tmp_path: Path, preset: str, lines: list[str], problem: str
) -> None:
    assert problems(tmp_path, text_of(preset, *lines)) == [problem]


@pytest.mark.parametrize("preset", ["google", "cognito", "gitlab"])
def test_a_scope_that_the_provider_rejects_is_refused(tmp_path: Path, preset: str) -> None:
    issuer = {
        "google": "issuer: https://accounts.google.com",
        "cognito": "issuer: https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a",
        "gitlab": "issuer: https://gitlab.com",
    }[preset]
    (problem,) = problems(tmp_path, text_of(preset, issuer, "scopes: [openid, offline_access]"))
    assert problem.startswith('acme.yaml:4:9: scopes has "offline_access", which ')
    scopes = tenant(tmp_path, text_of(preset, issuer)).default_provider.scopes
    assert scopes == ("openid", "profile", "email")


def test_google_gets_parameters_for_refresh_tokens_and_the_file_can_override_them(tmp_path: Path) -> None:
    assert tenant(tmp_path, text_of("google")).default_provider.authorize_params == (
        ("access_type", "offline"),
        ("prompt", "consent"),
    )
    changed = tenant(
        tmp_path, text_of("google", "authorize_params: {prompt: select_account, hd: acme.example}")
    )
    assert changed.default_provider.authorize_params == (
        ("access_type", "offline"),
        ("prompt", "select_account"),
        ("hd", "acme.example"),
    )


def test_entra_gets_the_secret_in_the_body_and_the_file_can_override_this(tmp_path: Path) -> None:
    issuer = "issuer: https://login.microsoftonline.com/1-2/v2.0"
    text = text_of("entra", issuer)
    assert tenant(tmp_path, text).default_provider.client_auth is ClientAuth.CLIENT_SECRET_POST
    text = text.replace("id: x", "id: x, auth: client_secret_basic")
    assert tenant(tmp_path, text).default_provider.client_auth is ClientAuth.CLIENT_SECRET_BASIC


@pytest.mark.parametrize(
    ("preset", "lines", "template"),
    [
        ("auth0", ["domain: acme.eu.auth0.com"],
         "https://acme.eu.auth0.com/v2/logout?client_id={client_id}&returnTo={return_to}"),
        ("auth0", ["issuer: https://login.acme.example/"],
         "https://login.acme.example/v2/logout?client_id={client_id}&returnTo={return_to}"),
        ("auth0", ["domain: acme.eu.auth0.com", "logout: {url: 'https://a.example/{return_to}'}"],
         "https://a.example/{return_to}"),
        ("cognito", ["issuer: https://cognito-idp.eu-west-1.amazonaws.com/p", "domain: acme.auth.example"],
         "https://acme.auth.example/logout?client_id={client_id}&logout_uri={return_to}"),
        ("cognito", ["issuer: https://cognito-idp.eu-west-1.amazonaws.com/p"], None),
        ("generic", ["domain: a.example"], None),
        ("google", [], None),
    ],
)  # fmt: skip
def test_a_preset_determines_the_logout_url(
    tmp_path: Path, preset: str, lines: list[str], template: str | None
) -> None:
    assert tenant(tmp_path, text_of(preset, *lines)).default_provider.logout_template == template


COGNITO = ["issuer: https://cognito-idp.eu-west-1.amazonaws.com/p", "domain: acme.auth.example"]
STANDARD = "https://id.example/end"


@pytest.mark.parametrize(
    ("preset", "lines", "begins"),
    [
        ("auth0", ["domain: acme.eu.auth0.com"], STANDARD),
        ("auth0", ["domain: acme.eu.auth0.com", "logout: {url: 'https://a.example/?{return_to}'}"],
         "https://a.example/?https%3A"),
        ("generic", ["domain: id.example"], STANDARD),
        ("generic", ["domain: id.example", "logout: {url: 'https://a.example/?{return_to}'}"],
         "https://a.example/?https%3A"),
        ("cognito", COGNITO, "https://acme.auth.example/logout?client_id=x&logout_uri=https%3A"),
        ("cognito", COGNITO[:1], None),
        ("cognito", [*COGNITO, "logout: {url: 'https://a.example/?{return_to}'}"], "https://a.example/?https%3A"),
        ("cognito", [*COGNITO, f"endpoints: {{end_session: '{STANDARD}'}}"], STANDARD),
    ],
)  # fmt: skip
def test_the_logout_url_comes_from_the_file_then_the_preset_then_the_metadata(
    tmp_path: Path, preset: str, lines: list[str], begins: str | None
) -> None:
    provider = tenant(tmp_path, text_of(preset, *lines)).default_provider
    metadata = ProviderMetadata(
        provider.issuer,
        "https://id.example/authorize",
        "https://id.example/token",
        "https://id.example/jwks",
        end_session_endpoint=STANDARD,
    )
    url = logout_url(
        provider,
        metadata,
        id_token=None,
        post_logout_redirect_uri="https://portal.example/t/acme/signed-out",
        state="s",
    )
    assert url is None if begins is None else url is not None and url.startswith(begins)


ISSUERS = {
    "entra": [f"issuer: https://login.microsoftonline.com/{DIRECTORY}/v2.0"],
    "keycloak": ["issuer: https://id.acme.example/realms/a"],
    "cognito": COGNITO[:1],
    "google": [],
}
"""Keys for presets that cannot derive the issuer from a domain."""


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("lines", "requested"),
    [
        ([], None),
        (["userinfo: true"], True),
        (["userinfo: false"], False),
        (["discovery: false", "endpoints: {authorization: 'https://a.example', token: 'https://a.example', "
          "jwks: 'https://a.example'}"], False),
    ],
)  # fmt: skip
def test_userinfo_is_requested_according_to_the_file_or_the_preset(
    tmp_path: Path, preset: str, lines: list[str], requested: bool | None
) -> None:
    by_preset = preset in {"okta", "gitlab", "zitadel", "login_gov"}
    provider = loaded(tmp_path, preset, *lines).tenant.default_provider
    assert provider.userinfo is (by_preset if requested is None else requested)


@pytest.mark.parametrize(
    ("scopes", "refused"),
    [
        ("openid, profile, offline_access", False),
        ("openid, User.Read", False),
        ("openid, 'https://graph.microsoft.com/User.Read'", False),
        ("openid, 'api://acme/orders.read'", True),
        ("openid, 'https://api.acme.example/.default'", True),
        (f"openid, {DIRECTORY}/.default", True),
        ("openid, 'https://api.acme.example/https://graph.microsoft.com/'", True),
    ],
)
def test_entra_userinfo_is_refused_together_with_a_scope_of_another_api(
    tmp_path: Path, scopes: str, refused: bool
) -> None:
    lines = [*ISSUERS["entra"], f"scopes: [{scopes}]"]
    assert tenant(tmp_path, text_of("entra", *lines)).default_provider.userinfo is False
    if not refused:
        assert tenant(tmp_path, text_of("entra", *lines, "userinfo: true")).default_provider.userinfo
        return
    assert problems(tmp_path, text_of("entra", *lines, "userinfo: true")) == [
        "acme.yaml:5:11: userinfo needs an access token for https://graph.microsoft.com/, but scopes "
        "request one for another API; remove userinfo: ID tokens of Microsoft Entra ID contain the same "
        "claims"
    ]


def test_only_entra_may_omit_the_issuer_in_a_frontchannel_logout(tmp_path: Path) -> None:
    leaving_out = {
        preset
        for preset in PRESETS
        if loaded(tmp_path, preset).tenant.default_provider.frontchannel_without_issuer
    }
    assert leaving_out == {"entra"}


def test_login_gov_gets_signed_assertions_and_no_id_token_hint(tmp_path: Path) -> None:
    provider = loaded(tmp_path, "login_gov").tenant.default_provider
    assert provider.issuer == "https://secure.login.gov/"
    assert (provider.client_auth, provider.client_signing_alg) == (ClientAuth.PRIVATE_KEY_JWT, "RS256")
    assert provider.assertion_audience is AssertionAudience.TOKEN_ENDPOINT
    assert provider.signing_certificate is not None
    assert provider.acr_values == ("urn:acr.login.gov:auth-only",)
    assert provider.authorize_params == (("prompt", "select_account"),)
    assert not provider.logout_id_token_hint
    assert not provider.refresh_tokens
    sandbox = loaded(tmp_path, "login_gov", "domain: idp.int.identitysandbox.gov").tenant.default_provider
    assert sandbox.issuer == "https://idp.int.identitysandbox.gov/"


@pytest.mark.parametrize(
    ("preset", "lines", "issuer"),
    [
        ("adfs", ["domain: fs.acme.example"], "https://fs.acme.example/adfs"),
        ("onelogin", ["domain: acme.onelogin.com"], "https://acme.onelogin.com/oidc/2"),
        ("authentik", ["domain: a.example", "fields: {application: x}"], "https://a.example/application/o/x/"),
        ("entra", [f"fields: {{directory_id: {DIRECTORY}}}"],
         f"https://login.microsoftonline.com/{DIRECTORY}/v2.0"),
        ("cognito", ["fields: {region: eu-west-1, user_pool_id: eu-west-1_a}"],
         "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a"),
        ("cognito", ["fields: {region: eu-west-1, user_pool_id: eu-west-1_a}", "domain: login.example"],
         "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a"),
        ("linkedin", [], "https://www.linkedin.com/oauth"),
        ("salesforce", ["domain: acme.my.salesforce.com"], "https://acme.my.salesforce.com"),
    ],
)  # fmt: skip
def test_the_fields_of_a_preset_determine_the_issuer(
    tmp_path: Path, preset: str, lines: list[str], issuer: str
) -> None:
    assert tenant(tmp_path, text_of(preset, *lines)).default_provider.issuer == issuer


def test_cognito_signs_out_at_the_domain_beside_its_fields(tmp_path: Path) -> None:
    lines = ["fields: {region: eu-west-1, user_pool_id: eu-west-1_a}", "domain: login.example"]
    provider = tenant(tmp_path, text_of("cognito", *lines)).default_provider
    assert provider.logout_template == (
        "https://login.example/logout?client_id={client_id}&logout_uri={return_to}"
    )
    assert tenant(tmp_path, text_of("cognito", lines[0])).default_provider.logout_template is None
