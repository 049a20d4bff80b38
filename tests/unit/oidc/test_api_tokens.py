"""Access tokens for further APIs: what is requested, what is refused, and what `aud` must contain."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from portal.oidc.api_errors import ApiTokenMismatch, ApiTokenRefused
from portal.oidc.api_target import TOKEN_EXCHANGE, ApiTarget, ApiTokenMethod, ApiTokenRequest
from portal.oidc.api_token_client import check_audience
from portal.oidc.authorization import AuthorizationOptions, draft, for_api
from portal.oidc.errors import ClientRejected, ProviderUnavailable, RefreshRejected, TokenRequestRejected
from portal.oidc.refresh_refusal import refresh_error
from portal.secret import Secret
from tests.unit.oidc.party import Party, acme, held
from tests.unit.oidc.signing import registration, signed

BILLING = "https://billing.acme.example"
BY_AUDIENCE = ApiTarget("billing", audience=BILLING, scopes=("read:invoices",))
BY_RESOURCE = ApiTarget("billing", resource=BILLING, scopes=("read:invoices",))
BY_SCOPE = ApiTarget("billing", scopes=("api://billing/read",))


def sent(party: Party) -> dict[str, str]:
    """The parameters of the last token request."""
    [*_, last] = [one for one in party.wire.received if one.target == "/token"]
    return dict(parse_qsl(last.body.decode()))


@pytest.mark.parametrize(
    ("target", "method", "parameters"),
    [
        (BY_RESOURCE, "refresh_resource", {"resource": BILLING, "scope": "read:invoices"}),
        (BY_AUDIENCE, "refresh_audience", {"audience": BILLING, "scope": "read:invoices"}),
        (BY_SCOPE, "refresh_scope", {"scope": "api://billing/read"}),
        (BY_AUDIENCE, "refresh_scope", {"scope": "read:invoices"}),
        (BY_RESOURCE, "refresh_audience", {"audience": BILLING, "scope": "read:invoices"}),
        (BY_AUDIENCE, "exchange", {"audience": BILLING, "scope": "read:invoices"}),
        (BY_RESOURCE, "exchange", {"resource": BILLING, "scope": "read:invoices"}),
        (ApiTarget("x", audience="a"), "refresh_audience", {"audience": "a"}),
    ],
)
def test_each_method_selects_the_api_in_its_own_way(
    target: ApiTarget, method: str, parameters: dict[str, str]
) -> None:
    assert dict(target.parameters(ApiTokenMethod(method))) == parameters


def test_a_token_belongs_to_what_it_was_requested_for() -> None:
    others = [
        ApiTarget("billing", audience=BILLING),
        ApiTarget("billing", resource=BILLING),
        ApiTarget("billing", audience=f"{BILLING}/", scopes=("read:invoices",)),
        BY_RESOURCE,
        BY_SCOPE,
    ]
    assert len({one.key for one in (BY_AUDIENCE, *others)}) == 6
    renamed = ApiTarget("other", BILLING, None, ("read:invoices",))
    assert renamed.key != BY_AUDIENCE.key, "APIs with the same scopes would share what a step-up has added"
    requested = replace(BY_AUDIENCE, methods=(ApiTokenMethod.EXCHANGE,), step_up_scopes=("delete:invoices",))
    assert requested.key == BY_AUDIENCE.key


@pytest.mark.parametrize("aud", [BILLING, [BILLING], ["other", BILLING]])
def test_a_token_for_the_api_is_accepted(aud: object) -> None:
    check_audience(signed({"aud": aud}), BY_AUDIENCE)


@pytest.mark.parametrize("aud", [None, "other", [], ["other"], f"{BILLING}/", BILLING[:-1], {BILLING: 1}, 5])
def test_a_token_for_another_api_is_not(aud: object) -> None:
    with pytest.raises(ApiTokenMismatch, match=r"apis\.billing: aud of the access token is"):
        check_audience(signed({} if aud is None else {"aud": aud}), BY_AUDIENCE)


@pytest.mark.parametrize("aud", [["stock", BILLING], [BILLING, "stock", "account"]])
def test_a_token_for_another_api_as_well_is_not(aud: list[str]) -> None:
    others = (BILLING, "stock")
    with pytest.raises(ApiTokenMismatch, match=r"aud of the access token is .* also names stock$"):
        check_audience(signed({"aud": aud}), BY_AUDIENCE, others=others)
    for accepted in ([BILLING, "account"], [BILLING, BILLING], BILLING):
        check_audience(signed({"aud": accepted}), BY_AUDIENCE, others=others)
    check_audience(signed({"aud": aud}), BY_SCOPE, others=others)  # it states no audience


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "e30.e30.x.y.z", "x" * 70_000])
def test_a_token_that_cannot_be_read_is_accepted(token: str) -> None:
    check_audience(Secret(token), BY_AUDIENCE)


def test_the_audience_of_an_api_that_states_none_is_not_checked() -> None:
    check_audience(signed({"aud": "anything"}), BY_SCOPE)


@pytest.mark.gen_test
async def test_a_refresh_for_an_api_names_it_instead_of_the_resource_of_the_login() -> None:
    async with acme() as party:
        api = ApiTokenRequest(BY_RESOURCE, ApiTokenMethod.REFRESH_RESOURCE)
        provider = party.provider(resources=("https://api.acme.example",))
        await party.relying_party.refresh(provider, held(), subject="user-1", api=api)
        assert sent(party)["resource"] == BILLING
        assert sent(party)["refresh_token"] == "old-rt"
        await party.relying_party.refresh(provider, held(), subject="user-1")
        assert sent(party)["resource"] == "https://api.acme.example"
        assert "scope" not in sent(party)


@pytest.mark.gen_test
async def test_an_exchange_sends_the_access_token_and_no_refresh_token() -> None:
    async with acme() as party:
        issued = await party.relying_party.exchange(party.provider(), held(), BY_AUDIENCE)
        parameters = sent(party)
        assert parameters["grant_type"] == TOKEN_EXCHANGE
        assert parameters["subject_token"] == "old-at"
        assert parameters["audience"] == BILLING
        assert "refresh_token" not in parameters
        assert issued.access_token == Secret("at")


@pytest.mark.gen_test
async def test_client_credentials_send_nothing_of_a_user() -> None:
    async with acme(tokens={"id_token": None, "refresh_token": None}) as party:
        issued = await party.relying_party.client_token(party.provider(), BY_AUDIENCE)
        parameters = sent(party)
        assert parameters["grant_type"] == "client_credentials"
        assert parameters["scope"] == "read:invoices"
        assert not {"subject_token", "refresh_token", "code"} & parameters.keys()
        assert issued.refresh_token is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("invalid_target", ApiTokenRefused),
        ("invalid_grant", ApiTokenRefused),
        ("unsupported_grant_type", ApiTokenRefused),
        ("invalid_client", ApiTokenRefused),  # of Keycloak for an unknown audience
        ("temporarily_unavailable", ProviderUnavailable),
    ],
)
@pytest.mark.gen_test
async def test_a_refused_exchange_never_ends_the_login(error: str, raised: type[Exception]) -> None:
    body = json.dumps({"error": error}).encode()
    response = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with acme(failing={"/token": response}) as party:
        with pytest.raises(raised):
            await party.relying_party.exchange(party.provider(), held(), BY_AUDIENCE)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("invalid_target", ApiTokenRefused),
        ("invalid_scope", ApiTokenRefused),
        ("invalid_request", ApiTokenRefused),
        ("invalid_grant", RefreshRejected),
        ("anything_else", RefreshRejected),
        ("invalid_client", ClientRejected),
        ("server_error", ProviderUnavailable),
    ],
)
def test_a_refusal_of_the_api_is_not_one_of_the_refresh_token(error: str, raised: type[Exception]) -> None:
    api = ApiTokenRequest(BY_AUDIENCE, ApiTokenMethod.REFRESH_AUDIENCE)
    assert type(refresh_error(TokenRequestRejected(error, "detail"), api)) is raised


def test_without_an_api_the_same_errors_refuse_the_refresh_token() -> None:
    assert isinstance(refresh_error(TokenRequestRejected("invalid_target", "")), RefreshRejected)


# --- authorization requests


def parameters_of(**changes: Any) -> dict[str, list[str]]:
    options = AuthorizationOptions(target=changes.pop("target", None))
    provider = for_api(registration(**changes), options.target)
    drafted = draft(provider, redirect_uri="https://portal.example/t/acme/callback", options=options)
    found: dict[str, list[str]] = {}
    for name, value in drafted.parameters:
        found.setdefault(name, []).append(value)
    return found


def test_a_login_asks_for_the_resources_and_scopes_that_its_refresh_token_is_for() -> None:
    asked = parameters_of(
        scopes=("openid", "offline_access"),
        resources=("https://api.acme.example",),
        api_resources=(BILLING, "https://api.acme.example"),
        api_scopes=("read:invoices", "openid"),
    )
    assert asked["resource"] == ["https://api.acme.example", BILLING]
    assert asked["scope"] == ["openid offline_access read:invoices"]


def test_a_login_for_one_api_asks_for_nothing_else() -> None:
    asked = parameters_of(
        target=BY_RESOURCE,
        scopes=("openid", "offline_access", "read:orders"),
        audience="https://api.acme.example",
        resources=("https://api.acme.example",),
        api_resources=("https://stock.acme.example",),
        api_scopes=("read:stock",),
    )
    assert asked["resource"] == [BILLING]
    assert asked["scope"] == ["openid read:invoices"]
    assert "audience" not in asked
