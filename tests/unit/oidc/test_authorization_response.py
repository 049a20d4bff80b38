from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.authorization_response import (
    accept_response,
    check_delivery,
    known_parameters,
    response_state,
    single,
)
from portal.oidc.errors import (
    LoginRejected,
    ProviderDenied,
    ResponseIssuerRejected,
    ResponseMalformed,
    ResponseModeRejected,
)
from portal.oidc.provider import ResponseMode
from tests.unit.oidc.signing import ISSUER, registration, signed
from tests.unit.oidc.test_authorization import metadata


def accept(response: dict[str, list[str]], **changes: Any) -> str:
    return accept_response(response, registration(), metadata(**changes)).reveal()


def test_the_code_of_a_valid_response_is_returned() -> None:
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


def test_a_missing_issuer_is_rejected_when_the_metadata_promises_it() -> None:
    with pytest.raises(ResponseIssuerRejected):
        accept({"code": ["c"]}, iss_parameter_supported=True)
    assert accept({"code": ["c"]}) == "c"


@pytest.mark.parametrize("name", ["code", "state", "iss", "error", "error_description"])
def test_a_repeated_parameter_is_malformed(name: str) -> None:
    response = {"code": ["c"], name: ["a", "a"]}
    with pytest.raises(ResponseMalformed):
        accept(response)


@pytest.mark.parametrize("code", [[], [""], ["x" * 8193], ["a\x00b"], ["a\nb"], ["ä"]])
def test_a_missing_or_invalid_code_is_malformed(code: list[str]) -> None:
    with pytest.raises(ResponseMalformed):
        accept({"code": code})


def test_an_error_takes_precedence_over_a_code() -> None:
    with pytest.raises(ProviderDenied) as denial:
        accept({"error": ["login_required"], "error_description": ["<b>no</b>"], "code": ["c"]})
    assert (denial.value.error, denial.value.explanation) == ("login_required", "<b>no</b>")


def test_a_code_or_state_in_an_error_description_is_removed_from_the_log() -> None:
    response = {
        "error": ["x"],
        "error_description": ["no c0de of st4te"],
        "code": ["c0de"],
        "state": ["st4te"],
    }
    with pytest.raises(ProviderDenied) as denial:
        accept(response)
    assert denial.value.detail == "the provider responded with error=x: no … of …"


def test_no_rejection_reveals_the_code() -> None:
    with pytest.raises(LoginRejected) as rejection:
        accept({"code": ["s3cret-code"], "iss": ["https://other.example"]})
    assert "s3cret" not in f"{rejection.value!r}{rejection.value.detail}"


def test_a_single_value_or_none_is_returned() -> None:
    assert single({"a": ["1"]}, "a") == "1"
    assert single({"a": []}, "a") is None
    assert single({}, "a") is None


@given(
    st.dictionaries(
        st.sampled_from(["code", "iss", "error", "error_description", "state"]),
        st.lists(st.text(max_size=9), max_size=2),
    )
)
def test_any_response_returns_a_code_or_is_rejected(response: dict[str, list[str]]) -> None:
    try:
        code = accept(response)
    except LoginRejected:
        return
    assert response["code"] == [code]
    assert not response.get("error")


# --- the response mode


@pytest.mark.parametrize("mode", list(ResponseMode))
@pytest.mark.parametrize("posted", [True, False])
def test_a_code_is_accepted_only_in_the_requested_response_mode(mode: ResponseMode, posted: bool) -> None:
    response = {"code": ["c"], "state": ["s"]}
    if mode.posted == posted:
        check_delivery(response, mode, posted=posted)
        return
    with pytest.raises(ResponseModeRejected):
        check_delivery(response, mode, posted=posted)


def test_a_provider_without_form_post_may_report_an_error_in_the_url() -> None:
    response = {"error": ["unsupported_response_mode"], "state": ["s"]}
    check_delivery(response, ResponseMode.FORM_POST, posted=False)
    with pytest.raises(ResponseModeRejected):
        check_delivery(response, ResponseMode.FORM_POST_JWT, posted=False)
    with pytest.raises(ResponseModeRejected):
        check_delivery(response, ResponseMode.QUERY, posted=True)


def test_an_unrequested_signed_response_is_rejected() -> None:
    with pytest.raises(ResponseModeRejected):
        accept({"code": ["c"], "response": ["a.b.c"]})


def test_unknown_parameters_are_ignored_and_repeated_ones_rejected() -> None:
    given = {"code": ["c"], "return_to": ["x", "y"], "state": ["s"]}
    assert known_parameters(given) == {"code": ["c"], "state": ["s"]}
    for name in ("code", "state", "iss", "error", "error_description", "session_state", "response"):
        with pytest.raises(ResponseMalformed):
            known_parameters({name: ["1", "1"]})


def test_the_state_inside_a_signed_response_takes_precedence() -> None:
    token = signed({"state": "inside"}).reveal()
    assert response_state({"state": ["outside"]}) == "outside"
    assert response_state({"state": ["outside"], "response": [token]}) == "inside"
    assert response_state({}) == ""
    for wrong in ("", "a.b", signed({"state": 1}).reveal(), signed({}).reveal()):
        with pytest.raises(LoginRejected):
            response_state({"state": ["outside"], "response": [wrong]})
