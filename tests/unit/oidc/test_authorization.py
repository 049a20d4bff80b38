from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.errors import LoginRejected, ProviderDenied, ResponseIssuerRejected, ResponseMalformed
from portal.oidc.authorization import (
    PROTECTED_PARAMETERS,
    accept_response,
    authorization_error,
    build_request,
    code_challenge,
    requested_scopes,
    single,
)
from portal.oidc.provider import AuthorizationRequest, Provider, ProviderMetadata
from tests.unit.oidc.signing import CLIENT_ID, ISSUER, registration

CALLBACK = "https://portal.example/t/acme/callback?x=1&y=ä"


def metadata(endpoint: str = "https://login.acme.example/authorize", **changes: Any) -> ProviderMetadata:
    return ProviderMetadata(
        ISSUER, endpoint, "https://login.acme.example/token", "https://x.example/", **changes
    )


def request(
    provider: Provider | None = None, endpoint: str | None = None, **hints: str
) -> AuthorizationRequest:
    where = metadata() if endpoint is None else metadata(endpoint)
    return build_request(provider or registration(), where, redirect_uri=CALLBACK, **hints)


def parameters(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, strict_parsing=True, keep_blank_values=True)


def accept(response: dict[str, list[str]], **changes: Any) -> str:
    return accept_response(response, registration(), metadata(**changes)).reveal()


def test_the_request_holds_what_the_standards_demand_and_no_more() -> None:
    made = request()
    verifier = made.code_verifier.reveal()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    assert made.url.startswith("https://login.acme.example/authorize?")
    assert parameters(made.url) == {
        "response_type": ["code"],
        "client_id": [CLIENT_ID],
        "redirect_uri": [CALLBACK],
        "scope": ["openid profile email offline_access"],
        "state": [made.state],
        "nonce": [made.nonce],
        "code_challenge": [challenge],
        "code_challenge_method": ["S256"],
    }
    assert made.redirect_uri == CALLBACK
    assert verifier not in made.url


def test_the_challenge_is_that_of_the_example_in_the_standard() -> None:
    # RFC 7636 appendix B
    assert (
        code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
        == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_state_nonce_and_verifier_are_256_bits_and_never_the_same_twice() -> None:
    made = [request() for _ in range(50)]
    values = [value for one in made for value in (one.state, one.nonce, one.code_verifier.reveal())]
    assert len(set(values)) == 150
    assert all(len(base64.urlsafe_b64decode(value + "=")) == 32 for value in values)
    assert all(43 <= len(value) <= 128 for value in values)


def test_optional_parameters_are_sent_when_the_provider_has_them() -> None:
    provider = registration(
        audience="https://api.acme.example",
        resources=("https://one.example", "https://two.example"),
        max_age=0,
        acr_values=("gold", "silver"),
        authorize_params=(
            ("organization", "org 1"),
            ("ui_locales", "de fr"),
            ("claims", '{"a":1}'),
            ("prompt", "login"),
        ),
    )
    sent = parameters(request(provider).url)
    assert sent["audience"] == ["https://api.acme.example"]
    assert sent["resource"] == ["https://one.example", "https://two.example"]
    assert sent["max_age"] == ["0"]
    assert sent["acr_values"] == ["gold silver"]
    assert sent["organization"] == ["org 1"]
    assert sent["ui_locales"] == ["de fr"]
    assert sent["claims"] == ['{"a":1}']
    assert sent["prompt"] == ["login"]


def test_prompt_and_login_hint_of_the_attempt_win_over_those_of_the_tenant_file() -> None:
    provider = registration(authorize_params=(("prompt", "login"), ("login_hint", "nobody")))
    sent = parameters(request(provider, prompt="none", login_hint="ada@acme.example&x=y").url)
    assert sent["prompt"] == ["none"]
    assert sent["login_hint"] == ["ada@acme.example&x=y"]


@pytest.mark.parametrize("name", sorted(PROTECTED_PARAMETERS))
def test_a_tenant_file_never_sets_a_security_parameter(name: str) -> None:
    sent = parameters(request(registration(authorize_params=((name, "tampered"),))).url)
    assert "tampered" not in sent.get(name, [])
    assert len(sent.get(name, [])) <= 1


def test_openid_is_always_asked_for_and_nothing_twice() -> None:
    assert requested_scopes(registration(scopes=("a", "b", "a"))) == ("openid", "a", "b")
    assert requested_scopes(registration(scopes=("a", "openid"))) == ("a", "openid")
    assert requested_scopes(registration(scopes=())) == ("openid",)


def test_the_query_of_an_endpoint_stays_but_overrides_nothing() -> None:
    url = request(
        endpoint="https://login.acme.example/auth?p=B2C_1&state=theirs&client_id=x&request_uri=y&e="
    ).url
    sent = parameters(url)
    assert sent["p"] == ["B2C_1"]
    assert sent["e"] == [""]
    assert sent["client_id"] == [CLIENT_ID]
    assert sent["state"] != ["theirs"]
    assert "request_uri" not in sent


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=12)), max_size=5))
def test_whatever_a_tenant_file_adds_the_rest_stays_as_it_was(extra: list[tuple[str, str]]) -> None:
    made = request(registration(authorize_params=tuple(extra)))
    pairs = parse_qsl(urlsplit(made.url).query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    own = ["response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge"]
    assert names[:8] == [*own, "code_challenge_method"]
    assert not PROTECTED_PARAMETERS.intersection(names[8:])
    assert dict(pairs[:8])["redirect_uri"] == CALLBACK
    assert made.url.isascii()


# --- the response


def test_the_code_of_a_good_response_is_given() -> None:
    assert accept({"code": ["c0de"], "state": ["s"], "session_state": ["x"], "unknown": ["1", "2"]}) == "c0de"
    assert accept({"code": ["c0de"], "iss": [ISSUER]}, iss_parameter_supported=True) == "c0de"
    assert accept({"code": ["c0de"], "iss": [ISSUER]}) == "c0de"


@pytest.mark.parametrize(
    "iss",
    [
        "https://login.acme.example",
        "https://login.other.example/",
        "",
        "HTTPS://LOGIN.ACME.EXAMPLE/",
        "x" * 100_000,
    ],
)
@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize("outcome", [{"code": ["c"]}, {"error": ["access_denied"]}])
def test_a_response_of_another_issuer_is_rejected(
    iss: str, supported: bool, outcome: dict[str, list[str]]
) -> None:
    with pytest.raises(ResponseIssuerRejected):
        accept({**outcome, "iss": [iss]}, iss_parameter_supported=supported)


def test_a_missing_issuer_is_rejected_when_the_provider_always_names_it() -> None:
    with pytest.raises(ResponseIssuerRejected):
        accept({"code": ["c"]}, iss_parameter_supported=True)
    assert accept({"code": ["c"]}) == "c"


@pytest.mark.parametrize("name", ["code", "state", "iss", "error", "error_description"])
def test_a_repeated_parameter_is_malformed(name: str) -> None:
    response = {"code": ["c"], name: ["a", "a"]}
    with pytest.raises(ResponseMalformed):
        accept(response)


@pytest.mark.parametrize("code", [[], [""], ["x" * 8193], ["a\x00b"], ["a\nb"], ["ä"]])
def test_a_missing_or_odd_code_is_malformed(code: list[str]) -> None:
    with pytest.raises(ResponseMalformed):
        accept({"code": code})


def test_an_error_wins_over_a_code() -> None:
    with pytest.raises(ProviderDenied) as denial:
        accept({"error": ["login_required"], "error_description": ["<b>no</b>"], "code": ["c"]})
    assert (denial.value.error, denial.value.explanation) == ("login_required", "<b>no</b>")


def test_an_error_can_be_looked_at_before_anything_is_spent() -> None:
    assert authorization_error({"code": ["c"]}) is None
    found = authorization_error({"error": ["login_required"]})
    assert found is not None
    assert found.error == "login_required"


def test_no_rejection_tells_the_code() -> None:
    with pytest.raises(LoginRejected) as rejection:
        accept({"code": ["s3cret-code"], "iss": ["https://other.example"]})
    assert "s3cret" not in f"{rejection.value!r}{rejection.value.detail}"


def test_a_single_value_is_given_or_none() -> None:
    assert single({"a": ["1"]}, "a") == "1"
    assert single({"a": []}, "a") is None
    assert single({}, "a") is None


@given(
    st.dictionaries(
        st.sampled_from(["code", "iss", "error", "error_description", "state"]),
        st.lists(st.text(max_size=9), max_size=2),
    )
)
def test_any_response_gives_a_code_or_is_rejected(response: dict[str, list[str]]) -> None:
    try:
        code = accept(response)
    except LoginRejected:
        return
    assert response["code"] == [code]
    assert not response.get("error")
