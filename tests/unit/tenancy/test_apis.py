"""`apis` of a tenant file: what is accepted, what is refused, and how access tokens will be requested."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.oidc.api_target import MAX_APIS
from portal.tenancy.loading import read_tenant
from portal.tenancy.model import ApiAccess
from tests.unit.tenancy.files import ACME, ENVIRON, problems, tenant, write

URL = "base_url: https://billing.acme.example/v1"


def with_api(entry: str, *, more: str = "", key: str = "apis") -> str:
    keys = f"{URL}, {entry}" if entry else URL
    return f"{ACME}{more}{f'apis: {{billing: {{{keys}}}}}' if key == 'apis' else f'api: {{{keys}}}'}\n"


@pytest.mark.parametrize("key", ["api", "apis"])
@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("audience: a, resource: https://a.example", 'resource conflicts with "audience"; keep one'),
        ("resource: a", "resource must be an absolute URI without #"),
        ("resource: https://a.example/#b", "resource must be an absolute URI without #"),
        ("token: shared, scopes: [a]", "scopes has no effect with token: shared"),
        ("token: exchange", "token needs audience, resource or scopes"),
        ("token: login", "token needs audience, resource or scopes"),
        ("access: anonymous, token: shared", "token has no effect with access: anonymous"),
        ("access: anonymous, scopes: [a]", "scopes has no effect with access: anonymous"),
        ("access: anonymous, mtls: true", "mtls has no effect with access: anonymous"),
        ("access: client, token: refresh, audience: a", "token has no effect with access: client"),
        ("max_body: 10", "max_body must be a size such as 500KB"),
        ("max_body: 0MB", "max_body must be a size such as 500KB"),
        ("max_body: 2000GB", "max_body must be a size such as 500KB"),
        ("request_headers: [X-Anything]", "request_headers has a header that passes without being listed"),
        ("response_headers: [ETag]", "response_headers has a header that passes without being listed"),
        *(
            (f"request_headers: [{name}]", "request_headers has a header that never passes")
            for name in (
                *("Authorization", "Cookie", "Host", "X-Portal-CSRF", "X-Forwarded-For", "Forwarded", "DPoP"),
                *(
                    "Connection",
                    "Transfer-Encoding",
                    "Sec-Fetch-Site",
                    "X-Real-IP",
                    "Content-Length",
                    "Origin",
                ),
            )
        ),
        *(
            (f"response_headers: [{name}]", "response_headers has a header that never passes")
            for name in (
                *("Set-Cookie", "Content-Security-Policy", "Clear-Site-Data", "Service-Worker-Allowed"),
                *("Access-Control-Allow-Origin", "Strict-Transport-Security", "X-Portal-Problem", "Trailer"),
                *("Cache-Control", "CDN-Cache-Control", "Location", "WWW-Authenticate", "X-Accel-Redirect"),
            )
        ),
        ('request_headers: ["a b"]', "request_headers[1] must be the name of a header"),
        ("mtls: true", "has mtls: true, but no client has a certificate"),
        ("timeout: 0s", "timeout must be between 1s and 1h"),
    ],
)
def test_a_mistake_is_refused_for_each_api(tmp_path: Path, key: str, entry: str, problem: str) -> None:
    found = problems(tmp_path, with_api(entry, key=key))
    assert len(found) == 1, found
    assert problem in found[0]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("", "has no effect for an API that gets the access token of the login; add the scopes to"),
        ("token: shared, audience: a", "has no effect for an API that gets the access token of the login"),
        ("access: client, audience: a", "has no effect with access: client"),
        ("access: anonymous", "has no effect with access: anonymous"),
        ("audience: a, scopes: [write]", 'has "write", which every access token of this API is requested'),
    ],
)
def test_scopes_of_a_step_up_need_access_tokens_of_the_api(tmp_path: Path, entry: str, problem: str) -> None:
    more = ", ".join(one for one in (entry, "step_up_scopes: [write]") if one)
    [found] = problems(tmp_path, with_api(more))
    assert f"step_up_scopes {problem}" in found
    assert not problems(tmp_path, with_api("audience: a, step_up_scopes: [write]"))


def test_the_default_api_has_the_step_up_scopes_of_the_provider(tmp_path: Path) -> None:
    assert "unknown key in api" in problems(tmp_path, with_api("step_up_scopes: [write]", key="api"))[0]
    more = "step_up_scopes: [delete]\n"
    api = tenant(tmp_path, with_api("audience: a", more=more, key="api")).api
    assert api is not None
    assert {"openid", "delete"} <= set(api.targets["default"].step_up_scopes)
    [named] = tenant(tmp_path, with_api("audience: a, step_up_scopes: [write]", more=more)).apis.values()
    assert named.targets["default"].step_up_scopes == ("write",)


@pytest.mark.parametrize("key", ["api", "apis"])
@pytest.mark.parametrize("url", ["http://billing.acme.example", "https://10.0.0.1", "https://u:p@b.example"])
def test_the_rules_of_urls_hold_for_each_api(tmp_path: Path, key: str, url: str) -> None:
    text = with_api("", key=key).replace("https://billing.acme.example/v1", url)
    assert len(problems(tmp_path, text)) == 1


def test_a_client_that_does_not_authenticate_gets_no_token_for_itself(tmp_path: Path) -> None:
    text = with_api("access: client, audience: a").replace("secret: ${ACME_SECRET}", "auth: none")
    assert "has access: client, but the client of the first provider" in problems(tmp_path, text)[0]


def test_names_are_slugs_and_there_are_at_most_twenty(tmp_path: Path) -> None:
    many = "".join(f"  api{number}: {{{URL}}}\n" for number in range(MAX_APIS))
    assert len(tenant(tmp_path, f"{ACME}apis:\n{many}").apis) == MAX_APIS
    assert "at most 20 entries" in problems(tmp_path, f"{ACME}apis:\n{many}  one-more: {{{URL}}}\n")[0]
    assert problems(tmp_path, f"{ACME}apis: {{Billing_API: {{{URL}}}}}\n")


@pytest.mark.parametrize("name", ["other", "catalog"])
def test_a_path_rule_needs_an_api_of_users(tmp_path: Path, name: str) -> None:
    rules = f"access: {{paths: [{{api: {name}, path: /a, require: [{{claim: a, present: true}}]}}]}}\n"
    apis = f"apis: {{billing: {{{URL}}}, catalog: {{{URL}, access: anonymous}}}}\n"
    assert "whose api is not the name of an API under apis" in problems(tmp_path, ACME + rules + apis)[0]
    assert not problems(tmp_path, (ACME + rules + apis).replace(f"api: {name}", "api: billing"))


def test_the_same_path_of_two_apis_is_not_listed_twice(tmp_path: Path) -> None:
    rule = "path: /a, require: [{claim: a, present: true}]"
    apis = f"apis: {{billing: {{{URL}}}}}\n"
    paths = f"{ACME}access: {{paths: [{{{rule}}}, {{api: billing, {rule}}}]}}\n{apis}"
    assert not problems(tmp_path, paths)
    twice = f"{ACME}access: {{paths: [{{api: billing, {rule}}}, {{api: billing, {rule}}}]}}\n{apis}"
    assert "lists the same path twice" in problems(tmp_path, twice)[0]


def test_an_audience_without_effect_is_a_warning(tmp_path: Path) -> None:
    loaded = read_tenant(write(tmp_path, with_api("access: anonymous, audience: a")), environ=ENVIRON)
    assert [str(one).partition(" ")[2] for one in loaded.warnings] == [
        "audience has no effect with access: anonymous, since no token is sent"
    ]


# --- how access tokens will be requested


def methods(folder: Path, entry: str, *, more: str = "", preset: str = "") -> list[str] | None:
    text = with_api(entry, more=more)
    if preset:
        text = f"preset: {preset}\n{text}"
    if preset in {"auth0", "entra"}:
        domain = "acme.eu.auth0.com" if preset == "auth0" else "72f988bf-86f1-41af-91ab-2d7cd011db47"
        key = "domain" if preset == "auth0" else "fields: {directory_id"
        end = "" if preset == "auth0" else "}"
        text = text.replace("issuer: https://login.acme.example/realms/staff", f"{key}: {domain}{end}")
    [api] = tenant(folder, text).apis.values()
    target = api.targets.get("default")
    return None if target is None else [one.value for one in target.methods]


OWN = "audience: https://api.acme.example\nscopes: [openid, read]\n"


@pytest.mark.parametrize(
    ("entry", "more", "preset", "expected"),
    [
        ("", "", "", None),
        ("token: shared", "", "", None),
        ("scopes: [read]", OWN, "", None),
        ("audience: https://api.acme.example", OWN, "", []),
        ("token: shared, audience: other", OWN, "", []),
        (
            "audience: https://api.acme.example, step_up_scopes: [write]",
            *(OWN, "", ["refresh_audience", "exchange", "login"]),
        ),
        ("audience: a", "", "", ["refresh_audience", "exchange", "login"]),
        ("resource: 'https://a.example'", "", "", ["refresh_resource", "exchange", "login"]),
        ("scopes: [write]", OWN, "", ["refresh_scope", "exchange", "login"]),
        ("audience: a, token: refresh", "", "", ["refresh_audience"]),
        ("audience: a, token: exchange", "", "", ["exchange"]),
        ("audience: a, token: login", "", "", ["login"]),
        ("audience: a", "", "keycloak", ["exchange", "login"]),
        ("resource: 'https://a.example', token: refresh", "", "keycloak", ["refresh_resource"]),
        ("resource: 'https://a.example'", "", "auth0", ["refresh_audience", "login"]),
        ("audience: a", "", "entra", ["refresh_scope", "login"]),
    ],
)
def test_the_methods_follow_from_the_file_and_the_preset(
    tmp_path: Path, entry: str, more: str, preset: str, expected: list[str] | None
) -> None:
    assert methods(tmp_path, entry, more=more, preset=preset) == expected


def test_entra_gets_a_scope_for_an_audience(tmp_path: Path) -> None:
    text = with_api("audience: 'api://billing'").replace(
        "issuer: https://login.acme.example/realms/staff",
        "preset: entra\nfields: {directory_id: 72f988bf-86f1-41af-91ab-2d7cd011db47}",
    )
    live = tenant(tmp_path, text)
    assert live.apis["billing"].targets["default"].scopes == ("api://billing/.default",)
    assert live.default_provider.api_scopes == ()


@pytest.mark.parametrize(
    ("entry", "resources", "scopes"),
    [
        ("resource: 'https://a.example', scopes: [write]", ("https://a.example",), ("write",)),
        ("audience: a, scopes: [write]", (), ("write",)),
        ("audience: a, token: exchange, scopes: [write]", (), ()),
        ("resource: 'https://a.example', token: login, scopes: [write]", (), ()),
        ("resource: 'https://a.example', access: client, scopes: [write]", (), ()),
    ],
)
def test_the_login_asks_for_what_the_refresh_token_will_be_used_for(
    tmp_path: Path, entry: str, resources: tuple[str, ...], scopes: tuple[str, ...]
) -> None:
    provider = tenant(tmp_path, with_api(entry)).default_provider
    assert (provider.api_resources, provider.api_scopes) == (resources, scopes)


@pytest.mark.parametrize(
    ("api", "billing", "expected"),
    [
        ("", "audience: a", {"https://api.acme.example", "a"}),
        ("audience: b", "resource: 'https://a.example'", {"b", "https://a.example"}),
        ("access: anonymous, audience: b", "audience: a", {"a"}),
        ("access: client, audience: b", "audience: a", {"a", "b"}),
        ("scopes: [write]", "audience: a", {"a"}),
        ("token: shared, audience: b", "audience: a", {"a", "b"}),
    ],
)
@pytest.mark.parametrize("preset", ["", "preset: keycloak\n"])
def test_a_provider_knows_the_audiences_of_all_apis(
    tmp_path: Path, api: str, billing: str, expected: set[str], preset: str
) -> None:
    default = f"api: {{{URL}{f', {api}' if api else ''}}}\n"
    live = tenant(tmp_path, f"{preset}{with_api(billing, more=f'{OWN}{default}')}")
    assert set(live.default_provider.api_audiences) == expected


def test_each_provider_has_a_target_of_its_own(tmp_path: Path) -> None:
    provider = "issuer: https://{0}.example, client: {{id: portal, secret: s3cret}}"
    text = (
        f"name: Acme\nproviders:\n  one: {{{provider.format('one')}, audience: a}}\n"
        f"  two: {{{provider.format('two')}}}\napis: {{billing: {{{URL}, audience: a}}}}\n"
    )
    targets = tenant(tmp_path, text).apis["billing"].targets
    assert [one.value for one in targets["one"].methods] == []
    assert [one.value for one in targets["two"].methods] == ["refresh_audience", "exchange", "login"]


def test_a_client_token_is_of_the_first_provider(tmp_path: Path) -> None:
    api = tenant(tmp_path, with_api("access: client, audience: a")).apis["billing"]
    assert api.access is ApiAccess.CLIENT
    assert api.targets["default"].methods == ()


def test_limits_and_headers_change_no_running_call_but_tokens_do(tmp_path: Path) -> None:
    api = tenant(tmp_path, with_api("audience: a")).apis["billing"]
    same = (
        "audience: a, max_body: 1MB",
        "audience: a, response_headers: [Server]",
        "audience: a, timeout: 2m",
    )
    assert not any(api.differs(tenant(tmp_path, with_api(one)).apis["billing"]) for one in same)
    others = ("audience: b", "access: anonymous", "audience: a, token: login")
    assert all(api.differs(tenant(tmp_path, with_api(one)).apis["billing"]) for one in others)
