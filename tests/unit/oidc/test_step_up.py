"""Step-up: what is asked for, and what a login must have afterwards."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.oidc.authorization import AuthorizationOptions, draft, request_url
from portal.oidc.provider import Provider, ProviderMetadata
from portal.oidc.step_up import (
    LEEWAY,
    RIGHT_AFTER,
    StepUp,
    StepUpMalformed,
    require_authentication,
    require_scope,
)
from portal.oidc.step_up_errors import AuthenticationTooOld, AuthenticationTooWeak, ScopeNotGranted
from tests.unit.oidc.signing import ISSUER, NOW, registration

MFA = StepUp(("mfa", "gold"))


def test_the_parameters_of_a_link_are_read_as_they_were_written() -> None:
    for step_up in (MFA, StepUp(max_age=0), StepUp(scope=("a", "b")), StepUp(("x",), 5, ("y",))):
        sent = dict(step_up.parameters())
        assert StepUp.read(**{name: sent.get(name) for name in ("acr_values", "max_age", "scope")}) == step_up
        assert step_up
    assert not StepUp()
    assert StepUp().parameters() == []


@pytest.mark.parametrize("text", ["", " ", "a  b", "a\n", 'a"', "\\", "é", "a" * 201, "x" * 1_001])
def test_a_list_with_other_characters_is_malformed(text: str) -> None:
    for name in ("acr_values", "scope"):
        with pytest.raises(StepUpMalformed):
            StepUp.read(**{"acr_values": None, "max_age": None, "scope": None, name: text})


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", " 1", "٣", "1" * 10])
def test_a_max_age_that_is_no_number_of_seconds_is_malformed(text: str) -> None:
    with pytest.raises(StepUpMalformed):
        StepUp.read(acr_values=None, max_age=text, scope=None)


@pytest.mark.parametrize(
    ("step_up", "claims", "met"),
    [
        (MFA, {"acr": "gold"}, True),
        (MFA, {"acr": "pwd"}, False),
        (MFA, {"acr": ["mfa"]}, False),
        (MFA, {}, False),
        (StepUp(max_age=300), {"auth_time": NOW - 299}, True),
        (StepUp(max_age=300), {"auth_time": NOW - 301}, False),
        (StepUp(max_age=300), {}, False),
        (StepUp(max_age=300), {"auth_time": True}, False),
        (StepUp(("mfa",), 300), {"acr": "mfa", "auth_time": NOW - 301}, False),
        (StepUp(scope=("a",)), {}, True),
        (StepUp(scope=("a", "z")), {}, False),
    ],
)
def test_a_login_has_what_is_required_or_not(
    step_up: StepUp, claims: dict[str, object], *, met: bool
) -> None:
    assert step_up.is_met(claims, ("a", "b"), signed_in_at=NOW - 3_000, now=NOW) is met


def test_right_after_a_login_no_other_one_would_be_more_recent() -> None:
    claims = {"auth_time": NOW - 5}
    just_now, long_ago = NOW - RIGHT_AFTER, NOW - RIGHT_AFTER - 1
    assert StepUp(max_age=0).is_met(claims, (), signed_in_at=just_now, now=NOW)
    assert not StepUp(max_age=0).is_met(claims, (), signed_in_at=long_ago, now=NOW)
    behind = {"auth_time": just_now - LEEWAY}  # the provider's clock
    assert StepUp(max_age=0).is_met(behind, (), signed_in_at=just_now, now=NOW)
    single_sign_on = {"auth_time": just_now - LEEWAY - 1}  # the user did not sign in for this login
    assert not StepUp(max_age=0).is_met(single_sign_on, (), signed_in_at=just_now, now=NOW)


def test_the_acr_that_came_back_is_one_of_those_that_were_asked_for() -> None:
    require_authentication({"acr": "gold"}, MFA, requested_at=NOW)
    for acr in ("pwd", "", None, 5, ["gold"], "Gold"):
        with pytest.raises(AuthenticationTooWeak, match=r"acr is .*; expected mfa or gold"):
            require_authentication({"acr": acr}, MFA, requested_at=NOW)


def test_the_sign_in_that_came_back_is_recent_enough() -> None:
    step_up = StepUp(max_age=300)
    require_authentication({"auth_time": NOW - 300 - LEEWAY}, step_up, requested_at=NOW)
    for auth_time in (NOW - 301 - LEEWAY, None, True, "now", -1e300):
        with pytest.raises(AuthenticationTooOld):
            require_authentication({"auth_time": auth_time}, step_up, requested_at=NOW)


def test_the_scopes_that_came_back_are_all_that_were_asked_for() -> None:
    require_scope(("openid", "a", "b"), StepUp(scope=("a", "b")))
    with pytest.raises(ScopeNotGranted, match="scope is openid, a; expected also b"):
        require_scope(("openid", "a"), StepUp(scope=("a", "b")))


# --- the authorization request


def asked(provider: Provider, step_up: StepUp, *, claims_supported: bool = False) -> dict[str, str]:
    metadata = ProviderMetadata(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}authorize",
        token_endpoint=f"{ISSUER}token",
        jwks_uri=f"{ISSUER}jwks",
        claims_parameter_supported=claims_supported,
    )
    options = AuthorizationOptions(step_up=step_up)
    drafted = draft(provider, redirect_uri="https://portal.example/", options=options, metadata=metadata)
    url = request_url(metadata, drafted.parameters)
    assert drafted.sent_as(url, now=NOW).interaction.step_up == step_up  # type: ignore[union-attr]
    sent = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in sent.values())
    return {name: value for name, [value] in sent.items()}


def test_a_provider_that_supports_claims_is_asked_for_an_essential_acr() -> None:
    sent = asked(registration(acr_values=("silver", "mfa", "gold")), MFA, claims_supported=True)
    acr = {"essential": True, "values": ["mfa", "gold"]}
    assert json.loads(sent["claims"]) == {"id_token": {"acr": acr}}
    assert "acr_values" not in sent


def test_any_other_provider_is_asked_for_acr_values() -> None:
    sent = asked(registration(acr_values=("silver", "gold")), MFA)
    assert sent["acr_values"] == "gold"
    assert "claims" not in sent


@pytest.mark.parametrize("claims_supported", [True, False])
def test_L1_a_step_up_cannot_replace_what_the_registration_asks_for(claims_supported: bool) -> None:
    sent = asked(registration(acr_values=("mfa",)), StepUp(("pwd",)), claims_supported=claims_supported)
    assert "mfa" in f"{sent.get('acr_values')} {sent.get('claims')}"
    assert "pwd" not in str(sent)


def test_the_registrations_own_claims_are_kept() -> None:
    own = {"userinfo": {"a": None}, "id_token": {"b": {"essential": True}, "acr": {"value": "silver"}}}
    sent = json.loads(asked(registration(requested_claims=json.dumps(own)), StepUp(("mfa",)))["claims"])
    assert sent["userinfo"] == {"a": None}
    assert sent["id_token"] == {
        "b": {"essential": True},
        "acr": {"essential": True, "values": ["mfa"]},
    }


def test_a_step_up_never_asks_for_less_than_the_registration() -> None:
    strict = registration(
        max_age=60,
        essential_acr=("gold", "platinum"),
        requested_claims='{"id_token":{"acr":{"essential":true,"values":["gold","platinum"]}}}',
    )
    sent = asked(strict, StepUp(("mfa", "gold"), 300))
    assert sent["max_age"] == "60"
    assert json.loads(sent["claims"])["id_token"]["acr"]["values"] == ["gold"]
    assert asked(registration(max_age=60), StepUp(max_age=5))["max_age"] == "5"
    assert asked(registration(acr_values=("silver",)), StepUp(max_age=5))["acr_values"] == "silver"


def test_the_scopes_of_a_step_up_are_added() -> None:
    sent = asked(registration(scopes=("openid", "a")), StepUp(scope=("a", "delete:orders")))
    assert sent["scope"] == "openid a delete:orders"
