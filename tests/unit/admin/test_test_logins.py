"""What a test login says about a draft, and where its response arrives."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from portal.access.accounts import AccountRule
from portal.access.rules import AccessRules, Comparison, PathRules, Rule
from portal.admin import draft_state, test_report
from portal.admin.draft_state import MAX_STATE_CHARACTERS, FailedTest, StoredState
from portal.admin.test_redirect_uris import redirect_uri
from portal.admin.test_report import MOST_CLAIMS, Choice, chosen, report
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.provider import Endpoints
from portal.tenancy.model import Tenant
from portal.web.sites import Site
from tests.kit.samples import START, sample_provider, sample_tenant

SITE = Site("https://portal.example")
USUAL = "https://portal.example/t/acme/callback"
CLAIMS = {
    "iss": "https://id.example",
    "sub": "1",
    "name": "Ada",
    "email": "ada@acme.example",
    "roles": ["dev", 7],
}


def result(**claims: object) -> draft_state.TestResult:
    return draft_state.TestResult("default", "fingerprint", START, "{}", claims, "1", "https://id.example")


def judged(tenant: Tenant | None = None, /, **claims: object) -> test_report.TestReport:
    return report(result(**(claims or CLAIMS)), tenant or sample_tenant())


# --- the report


def test_claims_about_the_user_come_first() -> None:
    names = [claim.name for claim in judged().claims]
    assert names == ["sub", "name", "email", "roles", "iss"]


def test_a_claim_is_shown_as_bounded_text_with_its_type() -> None:
    found = {
        one.name: (one.kind, one.value)
        for one in judged(a="x\u202ey", b=[1], c={"d": 1}, e=None, f=True).claims
    }
    assert found == {
        "a": ("text", "xy"),
        "b": ("list", "[1]"),
        "c": ("object", '{"d": 1}'),
        "e": ("nothing", "null"),
        "f": ("boolean", "true"),
    }
    assert len(judged(a="x" * 9_000).claims[0].value) == 1_000


def test_more_claims_than_the_page_shows_are_counted() -> None:
    found = judged(None, **{f"claim{number}": number for number in range(MOST_CLAIMS + 5)})
    assert (len(found.claims), found.more_claims) == (MOST_CLAIMS, 5)


def test_names_and_roles_are_chosen_among_claims_of_their_type() -> None:
    found = judged()
    assert Choice("name", "Ada") in found.texts
    assert "roles" not in {one.claim for one in found.texts}
    assert Choice("roles", "dev") in found.lists


@pytest.mark.parametrize("name", ["", "a\u202eb", " a", "a\nb", "x" * 201])
def test_a_claim_with_a_name_that_no_file_may_have_cannot_be_chosen(name: str) -> None:
    assert judged(None, **{name: "text"}).texts == ()


def test_the_preview_of_a_claim_that_is_missing_is_empty() -> None:
    assert (chosen(CLAIMS, "name"), chosen(CLAIMS, "nickname")) == ("Ada", "")


def test_each_rule_says_whether_the_account_meets_it() -> None:
    rules = AccessRules(
        require=(
            Rule(("name",), Comparison.EQUALS, ("Ada",)),
            Rule(("team",), Comparison.EQUALS, ("red",)),
        ),
        paths=(PathRules("/admin", (Rule(("roles",), Comparison.CONTAINS, ("ops",)),)),),
    )
    found = judged(sample_tenant(access={"default": (rules,)}))
    assert [(one.met, one.mismatch) for one in found.sign_in] == [(True, ""), (False, "no such claim")]
    assert [(one.path, [rule.mismatch for rule in one.rules]) for one in found.paths] == [
        ("/admin", ["a list of 2 without it"])
    ]
    assert not found.may_sign_in


def test_without_rules_every_account_may_sign_in_and_nobody_is_an_admin() -> None:
    assert (judged().may_sign_in, judged().is_admin) == (True, False)


def test_an_account_that_a_rule_of_the_draft_names_would_be_an_admin() -> None:
    rule = Rule(("email",), Comparison.EQUALS, ("ada@acme.example",))
    assert judged(sample_tenant(admins=(AccountRule(rule),))).is_admin
    assert not judged(sample_tenant(admins=(AccountRule(rule, provider="other"),))).is_admin


# --- where the response arrives


@pytest.mark.parametrize(
    "live",
    [
        None,
        sample_tenant(),
        sample_tenant(providers={"default": sample_provider(client_id="another", scopes=("openid",))}),
        sample_tenant(
            providers={name: sample_provider(id=name, issuer="https://other.example") for name in ("a", "b")}
        ),
    ],
    ids=["no live tenant", "the same", "another client of the same server", "others at other redirect URIs"],
)
def test_a_test_uses_the_redirect_uri_of_logins(live: Tenant | None) -> None:
    served = [live] if live is not None else []
    assert redirect_uri(sample_tenant(), sample_provider(), served, SITE) == USUAL


@pytest.mark.parametrize(
    "differing",
    [
        {"issuer": "https://login.evil.example/"},
        {"endpoints": Endpoints(token="https://login.evil.example/token")},
        {"endpoints": Endpoints(authorization="https://login.evil.example/authorize")},
        {"endpoints": Endpoints(userinfo="https://login.evil.example/userinfo")},
        {"issuer_template": IssuerTemplate("https://{tenantid}.example", None)},
        {"discovery": False},
    ],
    ids=str,
)
def test_T1_another_server_than_the_live_one_gets_a_redirect_uri_of_its_own(
    differing: dict[str, Any],
) -> None:
    provider = sample_provider(**differing)
    tenant = sample_tenant(providers={"default": provider})
    own = redirect_uri(tenant, provider, [sample_tenant()], SITE)
    assert re.fullmatch(rf"{USUAL}/default/test-[0-9a-f]{{16}}", own)
    evil = replace(provider, issuer="https://third.example/")
    assert redirect_uri(tenant, evil, [sample_tenant()], SITE) != own
    assert redirect_uri(tenant, provider, [tenant, sample_tenant()], SITE) == own, "one of two is enough"
    assert redirect_uri(tenant, provider, None, SITE) == own, "what is live cannot be read"


# --- what is kept


def kept(characters: int) -> draft_state.TestResult:
    return replace(result(data="x" * characters), provider="p")


def failed(provider: str) -> FailedTest:
    return FailedTest(provider, "f", START, "{}", "code", "title", "", "detail " * 100)


def plain(text: str) -> str:
    return text


def test_failed_tests_are_dropped_before_a_test_that_succeeded() -> None:
    state = StoredState().with_failed_test(failed("a"), plain).with_failed_test(failed("b"), plain)
    state = state.with_test(kept(MAX_STATE_CHARACTERS - 1_500), plain)
    assert (list(state.tests), list(state.failed)) == (["p"], ["b"])
    state = state.with_failed_test(failed("c"), plain)
    assert (list(state.tests), list(state.failed)) == (["p"], [])
    assert len(state.text()) <= MAX_STATE_CHARACTERS
    with pytest.raises(draft_state.TestLoginTooLarge):
        state.with_test(kept(MAX_STATE_CHARACTERS), plain)


def test_only_the_last_failed_tests_are_kept() -> None:
    state = StoredState()
    for provider in ("a", "b", "c", "a", "d"):
        state = state.with_failed_test(failed(provider), plain)
    assert list(state.failed) == ["c", "a", "d"]
    assert list(state.opened(plain).failed) == ["c", "a", "d"]


def test_a_test_that_succeeds_replaces_the_one_that_failed() -> None:
    state = StoredState().with_failed_test(failed("p"), plain).with_test(kept(1), plain)
    assert (list(state.tests), dict(state.failed)) == (["p"], {})
