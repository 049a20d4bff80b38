from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.authorization import (
    LONGEST_HINT,
    PROTECTED_PARAMETERS,
    AuthorizationOptions,
    code_challenge,
    requested_scopes,
)
from portal.oidc.interaction import Interaction
from portal.oidc.provider import AuthorizationRequest, Provider, ProviderMetadata, ResponseMode
from portal.secret import Secret
from tests.kit.authorization import build_request
from tests.kit.samples import START
from tests.unit.oidc.signing import CLIENT_ID, ISSUER, registration

CALLBACK = "https://portal.example/t/acme/callback?x=1&y=ä"


def metadata(endpoint: str = "https://login.acme.example/authorize", **changes: Any) -> ProviderMetadata:
    return ProviderMetadata(
        ISSUER, endpoint, "https://login.acme.example/token", "https://x.example/", **changes
    )


def request(
    provider: Provider | None = None, endpoint: str | None = None, **options: Any
) -> AuthorizationRequest:
    where = metadata() if endpoint is None else metadata(endpoint)
    return build_request(
        provider or registration(), where, redirect_uri=CALLBACK, options=AuthorizationOptions(**options)
    )


def parameters(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, strict_parsing=True, keep_blank_values=True)


def test_the_request_has_exactly_the_required_parameters() -> None:
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
    assert "&redirect_uri=https%3A%2F%2Fportal.example%2Ft%2Facme" in made.url
    assert "&scope=openid%20profile%20email%20offline_access&" in made.url
    assert made.redirect_uri == CALLBACK
    assert verifier not in made.url


def test_the_challenge_matches_the_example_of_the_rfc() -> None:
    # RFC 7636 appendix B
    assert (
        code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
        == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_state_nonce_and_verifier_are_256_bits_and_never_repeat() -> None:
    made = [request() for _ in range(50)]
    values = [value for one in made for value in (one.state, one.nonce, one.code_verifier.reveal())]
    assert len(set(values)) == 150
    assert all(len(base64.urlsafe_b64decode(value + "=")) == 32 for value in values)
    assert all(43 <= len(value) <= 128 for value in values)


def test_configured_optional_parameters_are_sent() -> None:
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
    made = request(provider)
    assert made.interaction == Interaction(START, max_age=0, login=True)
    sent = parameters(made.url)
    assert sent["audience"] == ["https://api.acme.example"]
    assert sent["resource"] == ["https://one.example", "https://two.example"]
    assert sent["max_age"] == ["0"]
    assert sent["acr_values"] == ["gold silver"]
    assert sent["organization"] == ["org 1"]
    assert sent["ui_locales"] == ["de fr"]
    assert sent["claims"] == ['{"a":1}']
    assert sent["prompt"] == ["login"]


def test_prompt_and_login_hint_of_the_attempt_override_those_of_the_tenant_file() -> None:
    provider = registration(authorize_params=(("prompt", "login"), ("login_hint", "nobody")))
    sent = parameters(request(provider, prompt="none", login_hint="ada@acme.example&x=y").url)
    assert sent["prompt"] == ["none"]
    assert sent["login_hint"] == ["ada@acme.example&x=y"]


@pytest.mark.parametrize("name", sorted(PROTECTED_PARAMETERS))
def test_a_tenant_file_never_sets_a_security_parameter(name: str) -> None:
    sent = parameters(request(registration(authorize_params=((name, "tampered"),))).url)
    assert "tampered" not in sent.get(name, [])
    assert len(sent.get(name, [])) <= 1


def test_openid_is_always_requested_and_no_scope_twice() -> None:
    assert requested_scopes(registration(scopes=("a", "b", "a"))) == ("openid", "a", "b")
    assert requested_scopes(registration(scopes=("a", "openid"))) == ("a", "openid")
    assert requested_scopes(registration(scopes=())) == ("openid",)


def test_the_query_of_an_endpoint_is_kept_but_overrides_nothing() -> None:
    url = request(
        endpoint="https://login.acme.example/auth?p=B2C_1&state=theirs&client_id=x&request_uri=y&e=#top"
    ).url
    sent = parameters(url)
    assert sent["p"] == ["B2C_1"]
    assert sent["e"] == [""]
    assert sent["client_id"] == [CLIENT_ID]
    assert sent["state"] != ["theirs"]
    assert "request_uri" not in sent
    assert "#" not in url  # RFC 6749 3.1


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=12)), max_size=5))
def test_parameters_of_a_tenant_file_do_not_change_the_others(extra: list[tuple[str, str]]) -> None:
    made = request(registration(authorize_params=tuple(extra)))
    pairs = parse_qsl(urlsplit(made.url).query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    own = ["response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge"]
    assert names[:8] == [*own, "code_challenge_method"]
    assert not PROTECTED_PARAMETERS.intersection(names[8:])
    assert dict(pairs[:8])["redirect_uri"] == CALLBACK
    assert made.url.isascii()


# --- options of an attempt


@pytest.mark.parametrize(
    ("registered", "asked", "sent"),
    [
        (None, None, None),
        (None, "login", "login"),
        ("consent", "login", "login consent"),
        ("login", "login", "login"),
        ("consent", "none", "none"),
        ("none", None, "none"),
        ("none", "select_account", "select_account"),
    ],
)
def test_the_prompt_of_an_attempt_is_added_to_the_registered_one_and_none_is_sent_alone(
    registered: str | None, asked: str | None, sent: str | None
) -> None:
    params = () if registered is None else (("prompt", registered),)
    made = request(registration(authorize_params=params), prompt=asked)
    assert parameters(made.url).get("prompt") == (None if sent is None else [sent])
    assert made.silent == (sent == "none")


@pytest.mark.parametrize("registered", ["none", "none consent", "consent"])
def test_an_interactive_attempt_never_sends_prompt_none(registered: str) -> None:
    made = request(registration(authorize_params=(("prompt", registered),)), prompt="none", interactive=True)
    assert "none" not in parameters(made.url).get("prompt", [""])[0].split()
    assert not made.silent


@pytest.mark.parametrize(("select_account", "sent"), [(True, "select_account login"), (False, "login")])
def test_a_registered_select_account_is_left_out_after_the_provider_rejected_it(
    select_account: bool, sent: str
) -> None:
    provider = registration(authorize_params=(("prompt", "select_account login"),))
    assert parameters(request(provider, select_account=select_account).url)["prompt"] == [sent]


def test_a_request_with_dpop_names_the_key_of_the_attempt() -> None:
    made = request(registration(dpop=True))
    assert made.dpop_key is not None
    assert parameters(made.url)["dpop_jkt"] == [made.dpop_key.thumbprint]


def test_an_id_token_hint_is_sent_only_with_prompt_none() -> None:
    hint = Secret("e30.e30.c2ln")
    assert parameters(request(prompt="none", id_token_hint=hint).url)["id_token_hint"] == [hint.reveal()]
    for prompt in (None, "login", "select_account"):
        assert "id_token_hint" not in parameters(request(prompt=prompt, id_token_hint=hint).url)


def test_a_hint_that_would_make_the_url_too_long_is_left_out() -> None:
    for length, there in ((LONGEST_HINT, True), (LONGEST_HINT + 1, False)):
        sent = parameters(request(prompt="none", id_token_hint=Secret("x" * length)).url)
        assert ("id_token_hint" in sent) == there
        assert sent["prompt"] == ["none"]


@pytest.mark.parametrize("mode", list(ResponseMode))
def test_response_mode_is_sent_unless_it_is_the_default(mode: ResponseMode) -> None:
    sent = parameters(request(registration(response_mode=mode)).url)
    assert sent.get("response_mode") == (None if mode is ResponseMode.QUERY else [mode.value])


def test_requested_claims_override_authorize_params() -> None:
    provider = registration(requested_claims='{"id_token":{}}', authorize_params=(("claims", "{}"),))
    assert parameters(request(provider).url)["claims"] == ['{"id_token":{}}']


def test_the_repr_of_a_request_has_no_state_nonce_or_hint() -> None:
    made = request(prompt="none", id_token_hint=Secret("hint-hint"))
    for hidden in (made.state, made.nonce, made.code_verifier.reveal(), "hint-hint"):
        assert hidden not in repr(made)


def test_the_language_of_the_user_is_sent_where_the_registration_has_none() -> None:
    assert parameters(request(ui_locales="de").url)["ui_locales"] == ["de"]
    assert "ui_locales" not in parameters(request().url)
    fixed = registration(authorize_params=(("ui_locales", "fr en"),))
    assert parameters(request(fixed, ui_locales="de").url)["ui_locales"] == ["fr en"]
