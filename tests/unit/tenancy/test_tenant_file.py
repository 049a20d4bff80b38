"""Reading a tenant file into a tenant, or into problems with their positions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portal.errors import ConfigurationError
from portal.oidc.jose.algorithms import SUPPORTED
from portal.oidc.provider import ClientAuth, Endpoints, Provider
from portal.secret import Secret
from portal.tenancy.loading import read_tenant, slug_of
from portal.tenancy.model import Api, Branding, ClaimNames, ForwardAuth, Link, SessionLimits
from portal.tenancy.schema.provider import ProviderFile
from tests.unit.tenancy.files import ACME, ENVIRON, problems, tenant, write

EVERYTHING = """\
name: "  Acme Corporation "
label: Staff
preset: generic
issuer: https://login.acme.example/realms/staff
client:
  id: portal
  secret: ${ACME_SECRET}
  auth: client_secret_post
audience: https://api.acme.example
resources: [https://api.acme.example/a, https://api.acme.example/b]
scopes: [openid, "read:orders", openid]
authorize_params: {organization: org_1, acr_values: gold silver}
discovery: false
endpoints:
  authorization: https://login.acme.example/a
  token: https://login.acme.example/t
  jwks: https://login.acme.example/j
  userinfo: https://login.acme.example/u
  end_session: https://login.acme.example/e
  revocation: https://login.acme.example/r
id_token_algs: [ES256, HS256]
max_age: 10m
logout: {url: "https://login.acme.example/out?c={client_id}&r={return_to}", id_token_hint: false}
api:
  base_url: https://api.acme.example/v1/
  example_paths: [/orders, "/orders?limit=5"]
  timeout: 10s
  idle_timeout: 5m
hosts: [Portal.Acme.example]
email_domains: [acme.example, ACME.example]
branding: {color: "#FA0"}
claims:
  {name: nickname, email: mail, roles: "https://acme.example/roles", show: [sub, org], page: [org, team, org]}
session: {idle: 90s, absolute: 12h}
"""


def test_every_key_of_a_tenant_file_is_in_the_tenant(tmp_path: Path) -> None:
    made = tenant(tmp_path, EVERYTHING)
    assert (made.slug, made.name) == ("acme", "Acme Corporation")
    assert made.default_provider == Provider(
        tenant="acme",
        id="default",
        issuer="https://login.acme.example/realms/staff",
        client_id="portal",
        client_secret=Secret("s3cret-of-acme"),
        client_auth=ClientAuth.CLIENT_SECRET_POST,
        scopes=("openid", "read:orders"),
        audience="https://api.acme.example",
        resources=("https://api.acme.example/a", "https://api.acme.example/b"),
        api_audiences=("https://api.acme.example", "https://api.acme.example/a"),
        authorize_params=(("organization", "org_1"),),
        discovery=False,
        endpoints=Endpoints(
            authorization="https://login.acme.example/a",
            token="https://login.acme.example/t",
            jwks="https://login.acme.example/j",
            userinfo="https://login.acme.example/u",
            end_session="https://login.acme.example/e",
            revocation="https://login.acme.example/r",
        ),
        id_token_algs=("ES256", "HS256"),
        max_age=600,
        acr_values=("gold", "silver"),
        logout_template="https://login.acme.example/out?c={client_id}&r={return_to}",
        ignores_end_session_endpoint=True,
        logout_id_token_hint=False,
        label="Staff",
        refresh_tokens=False,
    )
    assert made.api == Api(
        "https://api.acme.example/v1",
        example_paths=("/orders", "/orders?limit=5"),
        timeout=10.0,
        idle_timeout=300.0,
    )
    assert made.hosts == ("portal.acme.example",)
    assert made.email_domains == ("acme.example",)
    assert made.branding == Branding("#ffaa00")
    assert made.claims == ClaimNames(
        "nickname", "mail", "https://acme.example/roles", ("sub", "org"), ("org", "team")
    )
    assert made.session == SessionLimits(90.0, 43200.0)


@pytest.mark.parametrize("name", ["nonce", "sid", "session_expiry", "at_hash"])
def test_pages_are_given_no_claim_about_the_token(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, ACME + f"claims: {{page: [email, {name}]}}\n")
    assert found.startswith("acme.yaml:6:24: claims.page")
    assert "is about the token, not about the user" in found


def test_what_applications_behind_a_proxy_learn_is_read(tmp_path: Path) -> None:
    made = tenant(tmp_path, ACME + "forward_auth: {claims: [name, email, name], token: true}\n")
    assert made.forward_auth == ForwardAuth(("name", "email"), token=True)
    assert tenant(tmp_path, ACME).forward_auth == ForwardAuth()
    (found,) = problems(tmp_path, ACME + "forward_auth: {claims: [nonce]}\n")
    assert "is about the token, not about the user" in found


def test_a_token_that_is_bound_to_the_portal_is_not_for_applications(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, ACME + "dpop: true\nforward_auth: {token: true}\n")
    assert "with dpop the access token is bound to a key of the portal" in found


def test_everything_but_name_provider_and_client_has_a_default(tmp_path: Path) -> None:
    made = tenant(tmp_path, ACME)
    provider = made.default_provider
    assert provider.scopes == ("openid", "profile", "email", "offline_access")
    assert provider.client_auth is ClientAuth.CLIENT_SECRET_BASIC
    assert provider.id_token_algs == ("RS256",)
    assert (provider.max_age, provider.audience, provider.logout_template) == (None, None, None)
    assert (made.api, made.hosts) == (None, ())
    assert made.claims == ClaimNames()
    assert made.session == SessionLimits()


def test_several_providers_keep_their_order_and_names(tmp_path: Path) -> None:
    made = tenant(
        tmp_path,
        """\
name: Acme
providers:
  staff:
    label: Staff
    issuer: https://login.acme.example/staff
    client: {id: a, secret: "${ACME_SECRET}"}
  partners:
    issuer: https://login.acme.example/partners
    client: {id: b, auth: none}
""",
    )
    assert list(made.providers) == ["staff", "partners"]
    assert made.default_provider.label == "Staff"
    partners = made.providers["partners"]
    assert (partners.key, partners.client_auth, partners.client_secret) == (
        "acme/partners",
        ClientAuth.NONE,
        None,
    )


def test_all_mistakes_are_reported_in_reading_order(tmp_path: Path) -> None:
    text = ACME.replace("portal", "7").replace("${ACME_SECRET}", "${NOT_SET}") + "hosts: [a:1]\nnope: 1\n"
    places = [problem.split(": ")[0] for problem in problems(tmp_path, text)]
    assert places == ["acme.yaml:4:7", "acme.yaml:5:11", "acme.yaml:6:9", "acme.yaml:7:1"]


@pytest.mark.parametrize(
    "name",
    ["state", "nonce", "redirect_uri", "response_type", "response_mode", "client_id", "client_secret",
     "code_challenge", "code_challenge_method", "code_verifier", "request", "request_uri", "client_assertion",
     "scope", "audience", "resource", "max_age", "id_token_hint",
     "iss", "sub", "aud", "exp", "nbf", "iat", "jti"],
)  # fmt: skip
def test_a_parameter_that_protects_a_login_cannot_be_set(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, ACME + f"authorize_params:\n  prompt: login\n  {name}: x\n")
    assert problem.startswith("acme.yaml:8:3: authorize_params.<name> ")


@pytest.mark.parametrize("url", ["http://localhost:9000", "http://127.0.0.1/v1", "https://10.0.0.7"])
def test_private_addresses_need_allow_private_networks(tmp_path: Path, url: str) -> None:
    text = ACME + f"api: {{base_url: '{url}'}}\n"
    assert problems(tmp_path, text) != []
    made = tenant(tmp_path, text, private=True)
    assert made.api is not None
    assert made.api.base_url == url


def test_http_is_refused_for_hosts_other_than_localhost_even_with_private_networks(tmp_path: Path) -> None:
    text = ACME + "api: {base_url: http://10.0.0.7}\n"
    (problem,) = problems(tmp_path, text, private=True)
    assert problem == (
        "acme.yaml:6:17: api.base_url must be an https URL (http only to localhost), found text"
    )


def test_the_slug_is_the_name_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, name="acme-eu.yml")
    assert read_tenant(path, environ=ENVIRON).tenant.slug == "acme-eu"


@pytest.mark.parametrize(
    "name",
    ["Acme.yaml", "acme corp.yaml", "-acme.yaml", "acme.yaml.bak", "a.b.yaml", ".yaml", "acme", "ä.yaml",
             "a" * 64 + ".yaml", "acme\n.yaml"]
)  # fmt: skip
def test_a_name_that_is_no_slug_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid name for a tenant file"):
        slug_of(Path("tenants") / name)


def test_the_revision_changes_with_the_text_and_with_the_secret(tmp_path: Path) -> None:
    first = tenant(tmp_path, ACME).revision
    assert tenant(tmp_path, ACME).revision == first
    assert tenant(tmp_path, ACME + "# a comment\n").revision != first
    assert tenant(tmp_path, ACME, environ={"ACME_SECRET": "another"}).revision != first


def test_the_algorithms_of_a_file_are_those_the_relying_party_knows() -> None:
    items = ProviderFile.model_json_schema()["properties"]["id_token_algs"]["items"]
    assert set(items["enum"]) == SUPPORTED


def test_a_secret_in_plain_text_causes_a_warning(tmp_path: Path) -> None:
    loaded = read_tenant(write(tmp_path, ACME.replace("${ACME_SECRET}", "hunter2")), environ={})
    (warning,) = loaded.warnings
    assert warning.place.endswith("acme.yaml:5:11")
    assert warning.message == "the client secret is in plain text; write ${NAME} or file:/path instead"
    assert read_tenant(write(tmp_path), environ=ENVIRON).warnings == ()


TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*ProviderFile.model_fields, "name", "api", "hosts", "admins", "session", "claims"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS | TEXTS, VALUES, max_size=6))
@example({"providers": {"a": None}})
@example({"providers": [1]})
@example({"name": "x", "client": {"id": "x", "secret": {"a": "b"}}})
def test_any_values_give_a_tenant_or_problems(tmp_path: Path, values: dict[str, object]) -> None:
    import json

    for problem in problems(tmp_path, json.dumps(values)):
        assert problem.startswith("acme.yaml:")


LINKS = """\
home_url: /desk/acme/
links:
  - {title: Wiki, url: "https://wiki.acme.example/start?x=1#top", description: What we know.}
  - {title: Orders, url: /orders}
"""


def test_applications_of_a_tenant_are_links(tmp_path: Path) -> None:
    made = tenant(tmp_path, ACME + LINKS)
    assert made.home_url == "/desk/acme/"
    assert made.links == (
        Link("Wiki", "https://wiki.acme.example/start?x=1#top", "What we know."),
        Link("Orders", "/orders"),
    )
    assert tenant(tmp_path, ACME).home_url is None


@pytest.mark.parametrize(
    "url",
    [
        *("http://wiki.acme.example/", "javascript:alert(1)", "data:text/html,x", "//evil.example/", "wiki"),
        *(
            "https://user@evil.example/",
            "https:///x",
            "https://a b/",
            "/a b",
            "/\\\\evil",
            "https://ex\u00e4.de/",
        ),
        *("https://", "ftp://a.example", "/x\\ty", "", "HTTPS:evil.example"),
    ],
)
def test_a_link_is_https_or_a_path_of_the_portal(tmp_path: Path, url: str) -> None:
    for text in (f"home_url: {json.dumps(url)}\n", f"links: [{{title: x, url: {json.dumps(url)}}}]\n"):
        (problem,) = problems(tmp_path, ACME + text)
        assert "https URL, or a path of the portal" in problem or "visible characters" in problem


@pytest.mark.parametrize(
    "url",
    [
        "/t/acme/api",
        "/t/acme/api/orders?limit=1",
        "/t/acme/apis/billing/x",
        "/t/globex/api/",
        "/t/acme/%61pi/orders",
        "/t/acme%2Fapi/orders",
        "/t/acme/%2561pi/orders",
        "/x/../t/acme/api/",
        "/x/%2e%2e/t/acme/api/",
        "/t/acme/./api/",
        "/t/acme/api//..",
        "/t//acme/api/x",
        "https://portal.example/t/acme/api/orders",
        "https://PORTAL.example:443/t/acme/api/orders",
        "https://portal.acme.example/t/acme/apis/billing",
        "https://portal.acme.example:8443/./t/acme/api",
        "https://127.0.0.1/t/acme/api#x",
    ],
)
def test_S1_no_link_leads_to_an_api_of_the_portal(tmp_path: Path, url: str) -> None:
    hosts = "hosts: [portal.acme.example]\n"
    for text in (f"home_url: {json.dumps(url)}\n", f"links: [{{title: x, url: {json.dumps(url)}}}]\n"):
        (problem,) = problems(tmp_path, ACME + hosts + text)
        assert "has the path of an API of the portal" in problem


@pytest.mark.parametrize(
    "url", ["/t/acme/", "/t/acme/developer", "/t/acme/apidocs", "https://api.example/t/api"]
)
def test_other_links_of_the_portal_are_accepted(tmp_path: Path, url: str) -> None:
    assert tenant(tmp_path, f"{ACME}home_url: {url}\n").home_url == url


def test_a_tenant_has_at_most_twenty_links(tmp_path: Path) -> None:
    links = [{"title": str(number), "url": "/x"} for number in range(21)]
    assert tenant(tmp_path, f"{ACME}links: {json.dumps(links[:20])}\n").links[19].title == "19"
    (problem,) = problems(tmp_path, f"{ACME}links: {json.dumps(links)}\n")
    assert "20" in problem
