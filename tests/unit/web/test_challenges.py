"""Reading `WWW-Authenticate` of APIs, and what a step-up challenge requires."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.step_up import MOST_VALUES, StepUp
from portal.web.api_proxy.challenges import LONGEST, ChallengesMalformed, read_challenges
from portal.web.api_proxy.step_up import required_step_up, step_up_error, step_up_url
from portal.web.step_up_errors import StepUpNotAccepted, StepUpRequired
from tests.kit.samples import START, sample_login, sample_provider, sample_tenant

Read = list[tuple[str, dict[str, str]]]


def read(*values: str) -> Read:
    found = read_challenges([("Content-Type", "text/plain"), *(("www-Authenticate", one) for one in values)])
    return [(one.scheme, dict(one.parameters)) for one in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Bearer", [("bearer", {})]),
        ('Bearer realm="a"', [("bearer", {"realm": "a"})]),
        ("Bearer Error=invalid_token", [("bearer", {"error": "invalid_token"})]),
        ('Bearer  a = "b" ,c\t=\t"d"', [("bearer", {"a": "b", "c": "d"})]),
        (r'Bearer a="\"b\" \\, c", d="e"', [("bearer", {"a": r'"b" \, c', "d": "e"})]),
        ('Bearer a="", b=","', [("bearer", {"a": "", "b": ","})]),
        ("Negotiate YWJj==", [("negotiate", {})]),
        ("Negotiate", [("negotiate", {})]),
        (
            'Basic realm="x", Negotiate abc=, DPoP algs="ES256", Bearer',
            [("basic", {"realm": "x"}), ("negotiate", {}), ("dpop", {"algs": "ES256"}), ("bearer", {})],
        ),
    ],
)
def test_challenges_are_read(value: str, expected: Read) -> None:
    assert read(value) == expected


def test_several_header_lines_are_read_in_order() -> None:
    assert read("Basic", 'Bearer a="b"') == [("basic", {}), ("bearer", {"a": "b"})]


@pytest.mark.parametrize(
    "value",
    [
        'Bearer a="b" c="d"',
        'Bearer a="b", a="c"',
        'Bearer a="b", A="c"',
        'a="b"',
        'Bearer a="b',
        'Bearer a=b"',
        'Bearer a="b\x01"',
        "Bearer a b c",
        'Bearer a="b"; c="d"',
        "=",
        '"',
        "Bearer é=x",
        "x" * (LONGEST + 1),
    ],
)
def test_what_does_not_follow_the_grammar_is_refused(value: str) -> None:
    with pytest.raises(ChallengesMalformed):
        read(value)


@given(st.text(alphabet='abB =,"\\\t-1', max_size=60))
def test_any_text_is_read_or_refused(value: str) -> None:
    try:
        found = read(value)
    except ChallengesMalformed:
        return
    assert all(scheme and scheme == scheme.lower() for scheme, _ in found)


def required(status: int, value: str) -> StepUp | None:
    return required_step_up(status, [("WWW-Authenticate", value)])


AUTHENTICATION = 'Bearer error="insufficient_user_authentication"'
SCOPE = 'Bearer error="insufficient_scope"'


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (401, f'{AUTHENTICATION}, acr_values="gold silver"', StepUp(("gold", "silver"))),
        (401, f'{AUTHENTICATION}, max_age="0"', StepUp(max_age=0)),
        (401, f"{AUTHENTICATION}, max_age=300", StepUp(max_age=300)),
        (401, f'{AUTHENTICATION}, acr_values="g", max_age="5", scope="x"', StepUp(("g",), 5, ("x",))),
        (401, f'DPoP {AUTHENTICATION.removeprefix("Bearer ")}, acr_values="g"', StepUp(("g",))),
        (401, f'Basic realm="x", {AUTHENTICATION}, acr_values="g"', StepUp(("g",))),
        (403, f'{SCOPE}, scope="delete:orders"', StepUp(scope=("delete:orders",))),
        (403, f'{SCOPE}, scope="a b a", acr_values="gold"', StepUp(scope=("a", "b"))),
    ],
)
def test_a_step_up_challenge_is_recognized(status: int, value: str, expected: StepUp) -> None:
    assert required(status, value) == expected


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (401, AUTHENTICATION),
        (403, SCOPE),
        (403, f'{AUTHENTICATION}, acr_values="gold"'),
        (401, f'{SCOPE}, scope="a"'),
        (401, 'Bearer error="invalid_token", acr_values="gold"'),
        (401, 'Basic error="insufficient_user_authentication", acr_values="gold"'),
        (401, f'{AUTHENTICATION}, acr_values=""'),
        (401, f'{AUTHENTICATION}, acr_values="a  b"'),
        (401, f'{AUTHENTICATION}, acr_values="a\\"b"'),
        (401, f'{AUTHENTICATION}, acr_values="a\tb"'),
        (401, f'{AUTHENTICATION}, acr_values="{"a" * 201}"'),
        (401, f'{AUTHENTICATION}, acr_values="{" ".join(map(str, range(MOST_VALUES + 1)))}"'),
        (401, f'{AUTHENTICATION}, max_age="-1"'),
        (401, f'{AUTHENTICATION}, max_age="1.5"'),
        (401, f'{AUTHENTICATION}, max_age=""'),
        (401, f'{AUTHENTICATION}, max_age="9999999999"'),
        (401, f'{AUTHENTICATION}, acr_values="g", acr_values="h"'),
        (403, f'{SCOPE}, scope="{"a" * 999} bc"'),
        (403, f'{SCOPE}, scope="é"'),
    ],
)
def test_any_other_challenge_is_none(status: int, value: str) -> None:
    assert required(status, value) is None


# --- the error for the page


def test_the_login_of_one_of_several_providers_is_named() -> None:
    staff, partners = sample_provider(id="staff"), sample_provider(id="partners")
    several = sample_tenant(providers={"staff": staff, "partners": partners})
    assert step_up_url(several, partners, StepUp(("a&b",), 5)) == (
        "/t/acme/login?provider=partners&acr_values=a%26b&max_age=5"
    )
    only = sample_tenant()
    assert step_up_url(only, only.default_provider, StepUp(scope=("x",))) == "/t/acme/login?scope=x"


def test_the_way_to_a_step_up_leads_back_to_a_page() -> None:
    error = StepUpRequired("detail", status=401, login_url="/t/acme/login?scope=x")
    assert (
        error.url_back_to("/t/acme/a?b=c&d") == "/t/acme/login?scope=x&return_to=%2Ft%2Facme%2Fa%3Fb%3Dc%26d"
    )


CHALLENGE = [("WWW-Authenticate", f'{SCOPE}, scope="email"')]


def test_a_scope_that_the_login_has_is_not_asked_for_again() -> None:
    tenant, login = sample_tenant(), sample_login()
    refused = step_up_error(403, CHALLENGE, tenant=tenant, login=login, granted={"email"}, now=START)
    assert isinstance(refused, StepUpNotAccepted)
    assert refused.status == 403
    offered = step_up_error(403, CHALLENGE, tenant=tenant, login=login, granted=set(), now=START)
    assert isinstance(offered, StepUpRequired)


def test_a_login_of_a_provider_that_is_gone_gets_the_response_of_the_api() -> None:
    login = sample_login(provider="former")
    assert (
        step_up_error(403, CHALLENGE, tenant=sample_tenant(), login=login, granted=set(), now=START) is None
    )
