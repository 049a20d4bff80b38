"""Keys of a tenant file for the form of authorization requests and responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portal.oidc.provider import ResponseMode
from tests.unit.tenancy.files import ACME, problems, tenant


def test_a_minimal_file_gives_plain_requests_and_responses(tmp_path: Path) -> None:
    provider = tenant(tmp_path, ACME).default_provider
    assert provider.response_mode is ResponseMode.QUERY
    assert provider.response_algs == ("RS256",)
    assert (provider.par, provider.signed_request) == (False, False)
    assert (provider.requested_claims, provider.essential_acr) == (None, None)
    assert provider.endpoints.pushed_authorization_request is None


def test_every_option_reaches_the_provider(tmp_path: Path) -> None:
    text = """\
response_mode: form_post.jwt
response_algs: [PS256, ES256, PS256]
par: true
request_object: signed
endpoints: {pushed_authorization_request: "https://login.acme.example/par"}
requested_claims:
  id_token:
    acr: {essential: true, values: [gold, silver]}
    email: {}
  userinfo:
    given_name: {essential: true}
    locale: {value: de}
"""
    provider = tenant(tmp_path, ACME + text).default_provider
    assert provider.response_mode is ResponseMode.FORM_POST_JWT
    assert provider.response_algs == ("PS256", "ES256")
    assert (provider.par, provider.signed_request) == (True, True)
    assert provider.endpoints.pushed_authorization_request == "https://login.acme.example/par"
    assert provider.essential_acr == ("gold", "silver")
    assert json.loads(provider.requested_claims or "") == {
        "userinfo": {"given_name": {"essential": True}, "locale": {"value": "de"}},
        "id_token": {"acr": {"essential": True, "values": ["gold", "silver"]}, "email": None},
    }


@pytest.mark.parametrize(
    ("acr", "essential"),
    [
        ("{}", None),
        ("{values: [gold]}", None),
        ("{essential: true}", ()),
        ("{essential: true, value: gold}", ("gold",)),
    ],
)
def test_only_an_essential_acr_is_checked(
    tmp_path: Path, acr: str, essential: tuple[str, ...] | None
) -> None:
    text = ACME + f"requested_claims: {{id_token: {{acr: {acr}}}}}\n"
    assert tenant(tmp_path, text).default_provider.essential_acr == essential


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "response_mode: form-post\n",
            'acme.yaml:6:16: response_mode is "form-post"; expected one of: query, form_post, query.jwt, '
            'form_post.jwt, jwt; did you mean "form_post"?',
        ),
        ("response_mode: fragment\n", "acme.yaml:6:16: response_mode must be one of: query"),
        ("response_algs: [none]\n", "acme.yaml:6:17: response_algs[1] must be one of: RS256"),
        ("response_algs: []\n", "acme.yaml:6:16: response_algs must have at least 1 entry, found 0"),
        ("par: yes\n", "acme.yaml:6:6: par must be true or false, found text"),
        (
            "request_object: encrypted\n",
            "acme.yaml:6:17: request_object must be one of: none",
        ),
        (
            "requested_claims: {id_token: {acr: {value: a, values: [b]}}}\n",
            'acme.yaml:6:44: requested_claims.id_token.<name>.value conflicts with "values"; keep one',
        ),
        ("requested_claims: {access_token: {}}\n", "acme.yaml:6:20: unknown key in requested"),
        ("requested_claims: {id_token: {acr: {essentail: true}}}\n", "acme.yaml:6:37: unknown key "),
        (
            'authorize_params: {claims: "{}"}\n',
            'acme.yaml:6:20: authorize_params.<name> has a separate key: write "requested_claims" next to '
            "authorize_params",
        ),
        (
            "authorize_params: {response_mode: form_post}\n",
            "acme.yaml:6:20: authorize_params.<name> has a separate key",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_position(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, ACME + text)
    assert found.startswith(problem)


def test_an_algorithm_with_the_client_secret_needs_one(tmp_path: Path) -> None:
    public = ACME.replace("  secret: ${ACME_SECRET}\n", "  auth: none\n")
    (found,) = problems(tmp_path, public + "response_algs: [HS256]\n")
    assert "response_algs lists an HS algorithm, which needs a client secret" in found


def test_more_than_fifty_claims_are_too_many(tmp_path: Path) -> None:
    many = ", ".join(f"c{number}: {{}}" for number in range(51))
    (found,) = problems(tmp_path, ACME + f"requested_claims: {{userinfo: {{{many}}}}}\n")
    assert "requests more than 50 claims" in found


def test_the_scopes_of_a_step_up_are_further_ones(tmp_path: Path) -> None:
    text = "scopes: [openid, a]\nstep_up_scopes: [delete:orders, b, b]\n"
    provider = tenant(tmp_path, ACME + text).default_provider
    assert provider.scopes == ("openid", "a")
    assert provider.step_up_scopes == ("delete:orders", "b")
    (problem,) = problems(tmp_path, ACME + "scopes: [openid, a]\nstep_up_scopes: [a]\n")
    assert problem.endswith('step_up_scopes has "a", which every sign-in requests; remove it')
    (problem,) = problems(tmp_path, ACME + "step_up_scopes: [profile]\n")
    assert "every sign-in requests" in problem
    (problem,) = problems(tmp_path, ACME + 'step_up_scopes: ["a b"]\n')
    assert "one scope, without spaces or quotes" in problem
