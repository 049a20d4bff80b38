"""Live checks: what each says about a provider or an API."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from portal.clock import now
from portal.oidc.provider import ClientAuth, Endpoints, Provider, ResponseMode
from portal.outbound.client import OutboundClient
from portal.secret import Secret, UnsetSecret
from portal.tenancy.checks.live.guide import Guide
from portal.tenancy.checks.live.model import Context
from portal.tenancy.checks.live.page_text import LONGEST_PAGE, form_fields, visible_text
from portal.tenancy.checks.live.runner import run_live_checks
from portal.tenancy.model import Api
from tests.kit.samples import sample_provider, sample_tenant
from tests.unit.outbound.wire import Received, Response, calling, http_response
from tests.unit.tenancy.scripted_provider import (
    CLIENT_SECRET,
    REDIRECT_URI,
    RSA,
    check,
    json_response,
    parameters,
    redirect,
    returned,
    scripted,
)

METADATA = "/.well-known/openid-configuration"
PAGE = [("Content-Type", "text/html")]


@pytest.mark.gen_test
async def test_a_correct_provider_passes(log_lines: object) -> None:
    async with scripted() as provider:
        checked = await check(provider)
    assert {result.check for result in checked.results if result.status in {"fail", "warn"}} == set()
    assert [result.provider for result in checked.results][-1] is None


# --- the authorization endpoint


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(returned(error="consent_required"), ("pass", "accepts"), id="another code"),
        pytest.param(
            redirect("https://login.acme.example/sign-in?x=1"), ("pass", "shows a page"), id="redirect"
        ),
        pytest.param(
            http_response(
                200, "<h1>Sign in</h1><input name=user><input type=password name='password'>", PAGE
            ),
            ("pass", "shows a page"),
            id="a form to sign in",
        ),
        pytest.param(
            http_response(
                200,
                f'<form action="{REDIRECT_URI}"><input name="error" value="login_required"></form>',
                PAGE,
            ),
            ("pass", "accepts"),
            id="a form to be posted",
        ),
        pytest.param(
            http_response(400, "<h1>Error</h1><p>Invalid redirect_uri", PAGE),
            ("fail", f"refuses the redirect URI {REDIRECT_URI}: Error Invalid redirect_uri"),
            id="an error page",
        ),
        pytest.param(
            redirect("/error?error=redirect_mismatch&client_id=portal"),
            ("fail", "refuses the redirect URI"),
            id="a redirect to an error page",
        ),
        pytest.param(
            json_response(400, {"error": "invalid_request", "error_description": "Bad callback URL"}),
            ("fail", ": Bad callback URL"),
            id="an error as JSON",
        ),
        pytest.param(
            json_response(401, {"error": "invalid_client"}), ("fail", "does not know the client"), id="client"
        ),
        pytest.param(http_response(200, "AADSTS700016: x", PAGE), ("fail", "does not know"), id="Microsoft"),
        pytest.param(
            http_response(400, "post_logout_redirect_uris must use https", PAGE),
            ("skipped", "before it looks at"),
            id="another URI",
        ),
        pytest.param(
            http_response(500, "oops", PAGE), ("skipped", "before it looks at"), id="a server error"
        ),
    ],
)
@pytest.mark.gen_test
async def test_the_response_of_the_authorization_endpoint_is_read(
    response: Any, expected: tuple[str, str]
) -> None:
    async with scripted() as provider:
        provider.responses["/authorize"] = response
        checked = await check(provider)
        (request,) = provider.requests("/authorize")
    status, seen = checked.told("redirect_uri")
    assert status == expected[0]
    assert expected[1] in seen
    sent = parameters(request)
    assert sent["prompt"] == "none"
    for secret in (sent["state"], sent["nonce"], sent["code_challenge"]):
        assert secret not in json.dumps([str(result) for result in checked.results])


@pytest.mark.gen_test
async def test_nothing_is_followed() -> None:
    async with scripted() as provider, scripted() as other:
        provider.responses["/authorize"] = redirect(f"{other.issuer}/sign-in")
        provider.responses[METADATA] = redirect(f"{other.issuer}{METADATA}")
        await check(provider)
        del provider.responses[METADATA]
        await check(provider)
        assert other.wire.received == []


@pytest.mark.gen_test
async def test_a_signed_response_is_read() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"error": "invalid_scope"}).encode()).decode().rstrip("=")
    async with scripted() as provider:
        provider.metadata["response_modes_supported"] = ["jwt"]
        provider.responses["/authorize"] = returned(response=f"e30.{payload}.sig")
        checked = await check(provider, response_mode=ResponseMode.JWT)
    assert checked.told("redirect_uri")[0] == "pass"
    assert "(invalid_scope)" in checked.told("scopes")[1]


@pytest.mark.parametrize(
    ("error", "description", "advice"),
    [
        ("unauthorized_client", "", "allow the authorization code flow for the client"),
        ("invalid_request", "code_challenge is not allowed", "allow it for the client"),
        ("invalid_target", "", "register the API of audience or resources"),
        ("unsupported_response_mode", "", "choose another response_mode"),
    ],
)
@pytest.mark.gen_test
async def test_an_error_of_the_request_is_named(error: str, description: str, advice: str) -> None:
    async with scripted() as provider:
        provider.responses["/authorize"] = returned(error=error, error_description=description)
        checked = await check(provider)
    result = checked.one("authorization_request")
    assert (result.status, error in result.seen, advice in result.advice) == ("fail", True, True)
    assert checked.told("redirect_uri")[0] == "pass"


@pytest.mark.gen_test
async def test_an_error_that_says_nothing_about_the_request_is_a_warning() -> None:
    async with scripted() as provider:
        provider.responses["/authorize"] = returned(error="server_error", error_description="Oh no")
        checked = await check(provider)
    assert checked.told("authorization_request") == (
        "warn",
        "the response does not show whether the request is accepted: server_error: Oh no",
    )


@pytest.mark.gen_test
async def test_a_response_with_another_issuer_is_named() -> None:
    async with scripted() as provider:
        provider.responses["/authorize"] = returned(error="login_required", iss="https://other.example")
        checked = await check(provider)
    assert checked.told("authorization_request") == (
        "fail",
        "the response has iss https://other.example, which is not the issuer (RFC 9207)",
    )


@pytest.mark.gen_test
async def test_each_redirect_uri_is_asked_for() -> None:
    def only_the_first(request: Received) -> Response:
        if parameters(request)["redirect_uri"] == REDIRECT_URI:
            return returned(error="login_required")(request)
        return http_response(400, "redirect_uri mismatch", PAGE)

    async with scripted() as provider:
        provider.responses["/authorize"] = only_the_first
        checked = await check(provider, redirect_uris=(REDIRECT_URI, "https://acme.example/t/acme/callback"))
    assert [result.status.value for result in checked.of("redirect_uri")] == ["pass", "fail"]


# --- client credentials


@pytest.mark.parametrize(
    ("response", "status", "seen", "where"),
    [
        (json_response(400, {"error": "invalid_grant"}), "pass", "accepts the client", ""),
        (
            json_response(401, {"error": "invalid_client"}),
            "fail",
            "the client secret is wrong",
            "client.secret",
        ),
        (json_response(401, {"error": "unauthorized_client"}), "fail", "secret is wrong", "client.secret"),
        (
            json_response(400, {"error": "unauthorized_client"}),
            "fail",
            "may not use the authorization code flow",
            "the settings of the client at the provider",
        ),
        (json_response(400, {"error": "unsupported_grant_type"}), "fail", "code flow", "the settings of"),
        (json_response(400, {"error": "invalid_target"}), "fail", "the client is accepted, but", "resources"),
        (json_response(400, {"error": "invalid_request"}), "warn", "does not show whether", ""),
        (json_response(503, {}), "fail", "responded with 503", ""),
        (redirect("https://x.example/"), "fail", "responded with 302", "endpoints.token"),
        (http_response(401, "<h1>no</h1>"), "fail", "the client secret is wrong", "client.secret"),
    ],
)
@pytest.mark.gen_test
async def test_the_response_to_a_made_up_code_is_read(
    response: bytes, status: str, seen: str, where: str
) -> None:
    async with scripted() as provider:
        provider.responses["/token"] = response
        checked = await check(provider)
    result = checked.one("client_credentials")
    assert (result.status.value, seen in result.seen) == (status, True), result
    assert result.where.startswith(where)


@pytest.mark.gen_test
async def test_a_secret_sent_the_other_way_is_suggested_if_that_works() -> None:
    def only_in_the_body(request: Received) -> Response:
        accepted = "client_secret" in parameters(request)
        return json_response(400, {"error": "invalid_grant" if accepted else "invalid_client"})

    async with scripted() as provider:
        provider.responses["/token"] = only_in_the_body
        checked = await check(provider)
        codes = [parameters(request)["code"] for request in provider.requests("/token")]
    result = checked.one("client_credentials")
    assert result.seen == "the token endpoint refuses client_secret_basic, and accepts client_secret_post"
    assert (result.advice, result.where) == ("write auth: client_secret_post", "client.auth")
    assert len(codes) == 2
    assert not any(code in str(checked.results) for code in codes)


@pytest.mark.parametrize(
    ("auth", "seen"),
    [
        (ClientAuth.NONE, "the client needs a secret or another authentication method"),
        (ClientAuth.CLIENT_SECRET_JWT, "refuses the assertion made with the client secret"),
        (ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH, "needs a client certificate, and none is configured"),
    ],
)
@pytest.mark.gen_test
async def test_other_methods_of_client_authentication_are_named(auth: ClientAuth, seen: str) -> None:
    async with scripted() as provider:
        provider.responses["/token"] = json_response(401, {"error": "invalid_client"})
        checked = await check(provider, client_auth=auth)
    assert seen in checked.one("client_credentials").seen


@pytest.mark.gen_test
async def test_without_its_secret_or_key_the_credentials_are_not_checked() -> None:
    async with scripted() as provider:
        unset = UnsetSecret("the environment variable ACME_SECRET")
        checked = await check(provider, client_secret=unset)
        assert checked.told("client_credentials") == (
            "skipped",
            "the environment variable ACME_SECRET with the client secret is not set here",
        )
        assert checked.told("redirect_uri")[0] == "pass"
        by_key = await check(provider, client_auth=ClientAuth.PRIVATE_KEY_JWT)
        assert by_key.told("client_credentials")[0] == "skipped"
        pushed = await check(
            provider,
            client_secret=unset,
            par=True,
            endpoints=Endpoints(pushed_authorization_request=f"{provider.issuer}/par"),
        )
        assert pushed.told("redirect_uri")[0] == "skipped"
        assert provider.requests("/token") == provider.requests("/par") == []


@pytest.mark.parametrize(
    ("accepted", "statuses"),
    [
        ({"1", "2"}, ["pass", "pass"]),
        ({"2"}, ["warn", "pass"]),
        ({"1"}, ["pass", "warn"]),
        (set(), ["fail"] * 2),
    ],
)
@pytest.mark.gen_test
async def test_each_of_two_client_secrets_is_checked(accepted: set[str], statuses: list[str]) -> None:
    def respond(request: Received) -> Response:
        is_accepted = parameters(request).get("client_secret", "")[-1:] in accepted
        return json_response(400, {"error": "invalid_grant" if is_accepted else "invalid_client"})

    async with scripted() as provider:
        provider.responses["/token"] = respond
        checked = await check(
            provider,
            client_auth=ClientAuth.CLIENT_SECRET_POST,
            client_secret=Secret("secret-of-acme-1"),
            next_client_secret=Secret("secret-of-acme-2"),
        )
    found = [result for result in checked.results if result.check == "client_credentials"]
    assert [result.status.value for result in found] == statuses
    assert [result.seen.partition(":")[0] for result in found] == [
        "the first client secret",
        "the second client secret",
    ]


def test_what_was_sent_and_what_looks_like_a_secret_is_removed_from_a_servers_text() -> None:
    tenant = sample_tenant()
    context = Context(tenant, tenant.default_provider, OutboundClient(), (), now)
    context.secrets.append("a short code")
    assert context.quote("no user for a short code and a+short+code") == "no user for … and …"
    assert context.quote(f"session {'x' * 40} and {'y' * 39}") == f"session … and {'y' * 39}"


@pytest.mark.gen_test
async def test_everything_that_is_made_up_for_a_request_is_removed_from_texts() -> None:
    async with scripted() as provider, calling() as http:
        registered = replace(sample_provider(), issuer=provider.issuer, client_secret=Secret(CLIENT_SECRET))
        tenant = replace(sample_tenant(), providers={"default": registered}, api=None)
        context = Context(tenant, registered, http, (REDIRECT_URI,), now)
        await run_live_checks([context])
        asked = parameters(provider.requests("/authorize")[0])
        exchanged = parameters(provider.requests("/token")[0])
    made_up = {asked["state"], asked["nonce"], exchanged["code"], exchanged["code_verifier"]}
    assert made_up <= set(context.secrets)


# --- what the metadata announces


@pytest.mark.parametrize(
    ("metadata", "changes", "check_name", "expected"),
    [
        ({"code_challenge_methods_supported": None}, {}, "pkce", "warn"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, {}, "client_auth", "warn"),
        ({"response_types_supported": ["id_token"]}, {}, "response_mode", "fail"),
        (
            {"id_token_signing_alg_values_supported": None},
            {"id_token_algs": ("ES256",)},
            "algorithms",
            "warn",
        ),
        ({"dpop_signing_alg_values_supported": ["RS256"]}, {"dpop": True}, "request_protection", "fail"),
        ({"dpop_signing_alg_values_supported": ["ES256"]}, {"dpop": True}, "request_protection", "pass"),
        (
            {"response_modes_supported": None},
            {"response_mode": ResponseMode.FORM_POST},
            "response_mode",
            "warn",
        ),
        ({"response_modes_supported": ["form_post"]}, {}, "response_mode", "fail"),
        ({"scopes_supported": None}, {}, "scopes", "pass"),
        ({"scopes_supported": ["openid"]}, {}, "scopes", "warn"),
        (
            {"response_modes_supported": ["jwt"], "authorization_signing_alg_values_supported": ["ES256"]},
            {"response_mode": ResponseMode.JWT},
            "response_mode",
            "fail",
        ),
        (
            {"userinfo_signing_alg_values_supported": ["ES256"]},
            {"userinfo_algs": ("RS256",)},
            "algorithms",
            "fail",
        ),
        (
            {"token_endpoint_auth_signing_alg_values_supported": ["RS256"]},
            {"client_auth": ClientAuth.CLIENT_SECRET_JWT},
            "algorithms",
            "fail",
        ),
    ],
)
@pytest.mark.gen_test
async def test_the_file_is_compared_with_the_metadata(
    metadata: dict[str, Any], changes: dict[str, Any], check_name: str, expected: str
) -> None:
    async with scripted() as provider:
        provider.metadata.update(metadata)
        checked = await check(provider, **changes)
    assert checked.one(check_name).status.value == expected, checked.one(check_name)


@pytest.mark.gen_test
async def test_without_discovery_the_endpoints_of_the_file_are_checked() -> None:
    async with scripted() as provider:
        endpoints = Endpoints(*(f"{provider.issuer}/{name}" for name in ("authorize", "token", "jwks")))
        checked = await check(provider, discovery=False, endpoints=endpoints)
        assert provider.requests(METADATA) == []
    assert checked.told("endpoints")[0] == checked.told("client_credentials")[0] == "pass"
    assert checked.told("pkce") == ("skipped", "the tenant file has discovery: false, so no metadata is read")


@pytest.mark.gen_test
async def test_keys_for_only_some_algorithms_are_a_warning() -> None:
    async with scripted() as provider:
        provider.metadata["id_token_signing_alg_values_supported"] = ["RS256", "ES256"]
        checked = await check(provider, id_token_algs=("RS256", "ES256"))
    assert checked.told("jwks") == ("warn", "no usable key for ES256; there is one for RS256")


@pytest.mark.gen_test
async def test_a_key_that_is_too_short_is_not_usable() -> None:
    async with scripted() as provider:
        provider.responses["/jwks"] = json_response(200, {"keys": [{**RSA, "n": "u" * 171}]})
        checked = await check(provider)
    assert checked.told("jwks")[0] == "fail"


@pytest.mark.gen_test
async def test_several_directories_with_one_issuer_state_a_template() -> None:
    from portal.oidc.issuer import IssuerTemplate

    async with scripted() as provider:
        template = f"{provider.issuer}/{{tenantid}}/v2.0"
        provider.metadata["issuer"] = template
        checked = await check(provider, issuer_template=IssuerTemplate(template, None))
    assert checked.told("discovery")[0] == "pass"


# --- clock and API


@pytest.mark.parametrize(
    ("offset", "age", "status"),
    [(0, 0, "pass"), (-29, 0, "pass"), (40, 0, "warn"), (-90, 0, "fail"), (-900, 900, "pass")],
)
@pytest.mark.gen_test
async def test_the_clock_is_read_from_the_date_header(offset: int, age: int, status: str) -> None:
    time = 1_800_000_000.0
    async with scripted() as provider:
        headers = {"Date": formatdate(time + offset, usegmt=True), "Age": str(age)}
        provider.responses["/jwks"] = json_response(200, {"keys": [RSA]}, **headers)
        checked = await check(provider, clock=lambda: time)
    assert checked.told("clock")[0] == status


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00"]
)
@pytest.mark.gen_test
async def test_an_unusable_date_is_not_judged(date: str) -> None:
    async with scripted() as provider:
        provider.responses["/jwks"] = json_response(200, {"keys": [RSA]}, Date=date)
        checked = await check(provider)
    assert checked.told("clock") == ("skipped", "no response of the provider has a usable Date header")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "pass"), (403, "pass"), (200, "warn"), (404, "warn"), (302, "warn"), (500, "fail")],
)
@pytest.mark.gen_test
async def test_the_api_must_refuse_a_call_without_a_token(status: int, expected: str) -> None:
    async with scripted() as provider:
        provider.responses["/v1/orders"] = http_response(status)
        checked = await check(provider, api=Api(f"{provider.issuer}/v1", example_paths=("/orders", "/x")))
        (request,) = provider.requests("/v1/orders")
    assert checked.told("api")[0] == expected
    assert request.header("Authorization") is None


# --- advice


@pytest.mark.gen_test
async def test_a_guide_says_where_and_what_to_do() -> None:
    guide = Guide(
        "Keycloak",
        {"redirect_uri": "Clients, Settings, Valid redirect URIs", "client.secret": "Clients, Credentials"},
        lambda error: "Look at Credentials." if error.startswith("invalid_client") else None,
    )
    async with scripted() as provider:
        provider.responses["/authorize"] = http_response(400, "Invalid parameter: redirect_uri", PAGE)
        provider.responses["/token"] = json_response(401, {"error": "invalid_client"})
        checked = await check(provider, guide=guide)
    assert checked.one("redirect_uri").where == "Keycloak: Clients, Settings, Valid redirect URIs"
    credentials = checked.one("client_credentials")
    assert credentials.where == "client.secret; Keycloak: Clients, Credentials"
    assert credentials.advice == "Look at Credentials."


@pytest.mark.gen_test
async def test_a_key_of_one_of_several_providers_has_its_id() -> None:
    async with scripted() as provider, scripted() as second:
        provider.responses["/token"] = json_response(401, {"error": "invalid_client"})
        other = Provider("acme", "partners", second.issuer, "portal", Secret("x"), scopes=("openid",))
        checked = await check(provider, others=(other,))
    found = {result.provider: result for result in checked.of("client_credentials")}
    assert found["default"].where == "providers.default.client.secret"
    assert found["partners"].status == "pass"
    assert len(checked.of("api")) == 1


# --- texts of servers


def test_the_text_of_a_page_has_no_markup() -> None:
    page = b"<head><title>x</title></head><header>Acme</header><script>let a='<b>'</script><p>A &amp; B<br>c<"
    assert visible_text(page) == "Acme A & B c"
    assert visible_text(b"<script>endless <b>") == ""


def test_the_fields_of_a_page_are_read() -> None:
    page = b"""<input><FORM action="https://x.example/?a&amp;b"><input name='error' value="a &quot;b">"""
    assert form_fields(page)[""] == "https://x.example/?a&b"
    assert form_fields(page)["error"] == 'a "b'


@pytest.mark.parametrize(
    "piece", ["<", "<script", "<input ", "<input a='", "a=", '<form action="', "</script", "&amp"]
)
def test_a_hostile_page_is_read_in_linear_time(piece: str) -> None:
    import time

    page = (piece * LONGEST_PAGE).encode()
    begun = time.process_time()
    visible_text(page)
    form_fields(page)
    assert time.process_time() - begun < 0.1


@pytest.mark.gen_test
async def test_texts_of_the_provider_are_bounded_and_have_no_control_characters() -> None:
    async with scripted() as provider:
        hostile = "\x1b[31m\u202e<b>" + "x" * 10_000
        provider.responses["/authorize"] = returned(error="invalid_request", error_description=hostile[:5000])
        provider.responses["/token"] = json_response(
            400, {"error": "invalid_client", "error_description": hostile}
        )
        checked = await check(provider)
    for result in checked.results:
        assert result.seen.isprintable()
        assert len(result.seen) <= 600
