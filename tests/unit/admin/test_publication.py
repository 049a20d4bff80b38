"""Which test logins a publication needs (docs/decisions/055)."""

from __future__ import annotations

import dataclasses

import pytest

from portal.admin import draft_state, publication
from portal.admin.actors import Actor, ActorType
from portal.tenancy.loading import read_stored_tenant
from portal.tenancy.model import Tenant
from tests.contract.entries import new_draft

TWO = """\
name: Acme
providers:
  staff:
    issuer: https://staff.example
    label: Staff
    client: {id: portal, secret: one}
  partners:
    issuer: https://partners.example
    client: {id: portal, secret: two}
    access: {require: [{claim: org, equals: acme}]}
"""
NOW = 1_800_000_000.0
ACTOR = '{"type": "admin", "subject": "ada", "provider": "https://staff.example"}'


def tenant(content: str = TWO) -> Tenant:
    return read_stored_tenant("acme", content, open_sealed=lambda sealed: sealed).tenant


def missing(new: Tenant, live: Tenant | None, *tested: str, **claims: object) -> tuple[str, ...]:
    tests = {
        id_: draft_state.TestResult(
            provider=id_,
            registration=draft_state.sign_in_fingerprint(new, id_),
            at=NOW - 60,
            actor=ACTOR,
            claims=claims,
            subject="ada",
            issuer="https://staff.example",
        )
        for id_ in tested
    }
    providers = publication.tested_providers(new, live, tests, now=NOW)
    return publication.missing_tests(providers, new, live)


def test_the_first_publication_needs_a_test_login_at_each_provider() -> None:
    assert len(missing(tenant(), None)) == 2
    assert missing(tenant(), None, "staff", org="acme") == (
        "https://partners.example (partners): nobody has made a test login yet.",
    )
    assert missing(tenant(), None, "staff", "partners", org="acme") == ()


@pytest.mark.parametrize(
    "change",
    [
        ("secret: one", "secret: other"),
        ("https://staff.example\n", "https://staff.example/\n"),
        ("id: portal, secret: one", "id: portal9, secret: one"),
        ("label: Staff", "scopes: [openid, email]"),
        ("label: Staff", "endpoints: {token: 'https://staff.example/token2'}"),
        ("label: Staff", "dpop: true"),
    ],
)
def test_a_provider_that_differs_needs_a_test_login_and_the_other_does_not(change: tuple[str, str]) -> None:
    new = tenant(TWO.replace(*change))
    assert len(missing(new, tenant())) == 1
    assert missing(new, tenant(), "partners", org="acme") != ()
    assert missing(new, tenant(), "staff") == ()


@pytest.mark.parametrize(
    "change",
    [
        ("name: Acme", "name: Acme Ltd"),
        ("label: Staff", "label: Employees"),
        ("name: Acme", "name: Acme\nclaims: {email: mail}\nbranding: {color: '#123456'}"),
        ("name: Acme", "name: Acme\napi: {base_url: 'https://api.acme.example'}"),
    ],
)
def test_what_decides_no_sign_in_needs_no_test_login(change: tuple[str, str]) -> None:
    assert missing(tenant(TWO.replace(*change)), tenant()) == ()


def test_a_provider_that_becomes_the_only_one_has_another_redirect_uri() -> None:
    only = tenant(TWO[: TWO.index("  partners:")])
    assert len(missing(only, tenant())) == 1
    assert len(missing(tenant(), only)) == 2
    assert draft_state.sign_in_fingerprint(only, "staff") != draft_state.sign_in_fingerprint(
        tenant(), "staff"
    )


def test_a_provider_that_is_removed_needs_a_test_login_at_another_one() -> None:
    three = tenant(TWO + "  guests: {issuer: 'https://guests.example', client: {id: a, auth: none}}\n")
    assert missing(tenant(), three) == (publication.ONE_OF_SEVERAL,)
    assert missing(tenant(), three, "staff") == ()
    assert missing(tenant(), three, "partners", org="other") != (), "that account may not sign in"


@pytest.mark.parametrize(
    ("issuer", "warned"),
    [("https://staff.example", False), ("https://guests.example", True), ("https://staff.example/", True)],
)
def test_A7_an_admin_whose_provider_is_removed_is_warned(issuer: str, warned: bool) -> None:
    new = tenant(TWO + "admins: [{claim: email, equals: ada@acme.example}]\n")
    admin = Actor(ActorType.ADMIN, "ada", provider=issuer)
    warning = publication.admin_warning(new, [], admin)
    assert ("no longer has the provider where you signed in" in warning) is warned
    operator = dataclasses.replace(admin, type=ActorType.OPERATOR)
    assert publication.admin_warning(new, [], operator) == ""


@pytest.mark.parametrize(
    ("session", "refused"),
    [("idle: 1s", True), ("absolute: 299s", True), ("idle: 5m, absolute: 5m", False), ("idle: 1h", False)],
)
def test_A7_logins_that_end_at_once_are_not_published(session: str, refused: bool) -> None:
    sentence = publication.short_session(tenant(TWO + f"session: {{{session}}}\n"))
    assert sentence == ("Logins must last at least 5 minutes: see session." if refused else "")


def test_rules_that_differ_need_a_test_login_that_they_let_in() -> None:
    new = tenant(TWO.replace("equals: acme", "equals: globex"))
    assert "no such claim" in missing(new, tenant(), "partners")[0]
    assert "found another text" in missing(new, tenant(), "partners", org="acme")[0]
    assert missing(new, tenant(), "staff", org="globex") != (), "other accounts have other rules"
    assert missing(new, tenant(), "partners", org="globex") == ()
    everywhere = tenant(TWO + "access: {require: [{claim: sub, present: true}]}\n")
    assert "a test login at one of the providers" in missing(everywhere, tenant())[0]
    assert missing(everywhere, tenant(), "staff", sub="ada") == ()


def test_a_test_login_at_another_configuration_does_not_count() -> None:
    old, new = tenant(), tenant(TWO.replace("secret: one", "secret: other"))
    test = draft_state.TestResult(
        "staff", draft_state.sign_in_fingerprint(old, "staff"), NOW, ACTOR, {}, "ada", "https://staff.example"
    )
    [staff, _] = publication.tested_providers(new, old, {"staff": test}, now=NOW)
    assert staff.missing == "it has changed since the test login; test it again."
    assert publication.counted_tests([staff]) == ""
    [staff, _] = publication.tested_providers(old, old, {"staff": test}, now=NOW)
    assert staff.missing == ""
    assert publication.counted_tests([staff]).startswith('{"tests": {"staff": {"at": 1800000000.0')


def test_a_test_login_that_has_no_room_is_refused_and_older_ones_make_room() -> None:
    def seal(text: str) -> str:
        return text

    test = draft_state.TestResult("a", "", NOW, ACTOR, {"groups": "g" * 40_000}, "ada", "https://a.example")
    state = draft_state.StoredState(edited=1).with_test(test, seal)
    both = state.with_test(dataclasses.replace(test, provider="b"), seal)
    assert both.tests.keys() == {"b"}
    with pytest.raises(draft_state.TestLoginTooLarge):
        state.with_test(dataclasses.replace(test, claims={"groups": "g" * 70_000}), seal)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"tests": 1}', '{"proposal": {}}', "x", '{"sub":"1"}']
)
def test_a_state_that_cannot_be_read_is_empty(text: str) -> None:
    state = draft_state.stored_state(new_draft(test=text))
    assert state.opened(lambda sealed: sealed) == draft_state.DraftState()
