"""Every comparison of the access rules, with values that it must accept and refuse (THREATS A8)."""

from __future__ import annotations

import pytest

from portal.access.rules import (
    LONGEST_LIST,
    AccessRules,
    Comparison,
    Rule,
    first_refusal,
    name_of,
    sign_in_refusal,
)

NOT_THERE = object()


def holds(rule: Rule, claims: dict[str, object]) -> bool:
    return first_refusal((rule,), claims) is None


def claims(name: str, value: object) -> dict[str, object]:
    return {} if value is NOT_THERE else {name: value}


def rule(comparison: str, *values: str | int | bool, claim: str = "c", verified_by: str = "") -> Rule:
    return Rule(
        tuple(claim.split(".")), Comparison(comparison), values, (verified_by,) if verified_by else None
    )


@pytest.mark.parametrize(
    ("tried", "allowed", "refused"),
    [
        (
            rule("equals", "gold"),
            ["gold"],
            [NOT_THERE, None, "Gold", "gold ", "ɡold", ["gold"], {"gold": 1}, ""],
        ),
        (rule("equals", 1), [1], [True, "1", 1.0, [1], 0]),
        (rule("equals", True), [True], [1, "true", "True", [True], None, False]),
        (rule("equals", False), [False], [0, "", None, NOT_THERE, [], "false"]),
        (rule("one_of", "a", 2), ["a", 2], ["b", ["a"], "2", True, None, NOT_THERE, {"a": 2}]),
        (
            rule("contains", "staff"),
            [["staff"], ["x", "staff", 1]],
            ["staff", [], [["staff"]], {"staff": 1}, ["Staff"], ["staff "], "a staff b", None, NOT_THERE],
        ),
        (rule("contains", 1), [[1]], [[True], ["1"], [1.0], 1]),
        (rule("contains_any", "a", "b"), [["b"], ["a", "b"]], [["c"], [], "a", [["a"]], "ab", NOT_THERE]),
        (rule("contains_all", "a", "b"), [["b", "x", "a"]], [["a"], ["b"], "ab", [["a", "b"]], ["a", ["b"]]]),
        (rule("present"), ["x", 0, [1], {"a": 1}, True, [False]], [NOT_THERE, None, False, "", [], {}]),
    ],
    ids=lambda value: str(value) if isinstance(value, Rule) else None,
)  # fmt: skip
def test_a_comparison_accepts_its_values_and_no_others(
    tried: Rule, allowed: list[object], refused: list[object]
) -> None:
    assert [value for value in allowed if not holds(tried, claims("c", value))] == []
    assert [value for value in refused if holds(tried, claims("c", value))] == []


@pytest.mark.parametrize(
    "address",
    [
        *("ada@acme.example.evil.example", "ada@evil-acme.example", "ada@notacme.example", "acme.example"),
        *("@acme.example", "ada@ACME.example", "ada@acme.EXAMPLE", "ada@acme.example.", "ada@acme.example "),
        *("ada@evil.example@acme.example", '"ada@evil.example"@acme.example', "<a@b.example>@acme.example"),
        *("ada@evil.example, x@acme.example", "ada@evil.example(@acme.example", "a@b.example\n@acme.example"),
        *("ada@evil.example\x00@acme.example", "ada@\u0430cme.example", "ada@acme\u2024example"),
        *("ada@acme.example\u200b", "ada\uff20acme.example", "ada@a\u200dcme.example", "\u00e4@acme.example"),
        *("ada @acme.example", "ada\t@acme.example", "mailto:ada@acme.example", "a@b.example;x@acme.example"),
        *("ada@acm\u212f.example", "ada@acme.e\uff58ample", "ada@ACME\u3002example", "\"ada\"@acme.example"),
        *(["ada@acme.example"], {"@acme.example": 1}, None, True, 5, NOT_THERE, ""),
    ],
)  # fmt: skip
def test_a_lookalike_of_an_address_of_the_domain_is_refused(address: object) -> None:
    tried = rule("ends_with", "@acme.example", claim="email", verified_by="email_verified")
    found = claims("email", address) | {"email_verified": True}
    assert not holds(tried, found), address


@pytest.mark.parametrize("address", ["ada@acme.example", "a.b+c@acme.example", "o'neil_1@acme.example"])
def test_an_address_of_the_domain_is_accepted(address: str) -> None:
    tried = rule("ends_with", "@other.example", "@acme.example", claim="email", verified_by="email_verified")
    assert holds(tried, {"email": address, "email_verified": True})


@pytest.mark.parametrize("verified", [NOT_THERE, None, False, "true", "True", 1, "yes", [True], {"a": True}])
def test_an_unverified_address_is_refused(verified: object) -> None:
    tried = rule("ends_with", "@acme.example", claim="email", verified_by="email_verified")
    assert not holds(tried, {"email": "ada@acme.example"} | claims("email_verified", verified))


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("ada@eu.acme.example", True),
        ("eu.acme.example", True),
        ("ada@acme.example", False),
        ("ada@.acme.example", False),
        ("ada@eu..acme.example", False),
        (".acme.example", False),
        ("\u0430.eu.acme.example", False),
        ("e u.acme.example", False),
        ("eu\u200b.acme.example", False),
        ("ada@b@eu.acme.example", False),
    ],
)
def test_an_ending_with_a_dot_matches_subdomains_only(value: str, allowed: bool) -> None:
    assert holds(rule("ends_with", ".acme.example"), {"c": value}) is allowed


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        ({"realm_access": {"roles": ["staff"]}}, True),
        ({"realm_access.roles": ["staff"]}, False),
        ({"realm_access": [{"roles": ["staff"]}]}, False),
        ({"realm_access": "roles"}, False),
        ({"realm_access": {"roles": {"roles": ["staff"]}}}, False),
        ({"roles": ["staff"]}, False),
        ({"realm_access": None}, False),
    ],
)
def test_dots_lead_into_objects_only(found: dict[str, object], allowed: bool) -> None:
    assert holds(rule("contains", "staff", claim="realm_access.roles"), found) is allowed


def test_a_list_is_an_exact_path() -> None:
    exact = Rule(("https://acme.example/plan",), Comparison.EQUALS, ("gold",))
    assert holds(exact, {"https://acme.example/plan": "gold"})
    assert not holds(exact, {"https://acme": {"example/plan": "gold"}})


def test_a_list_that_is_too_long_matches_no_rule() -> None:
    tried = rule("contains", "staff")
    assert holds(tried, {"c": ["staff", *["x"] * (LONGEST_LIST - 1)]})
    assert not holds(tried, {"c": ["staff", *["x"] * LONGEST_LIST]})


def test_all_rules_of_tenant_and_provider_must_be_satisfied() -> None:
    first, second, third = (rule("equals", name, claim=name) for name in "abc")
    access = (AccessRules((first, second)), AccessRules((third,)))
    assert sign_in_refusal(access, {"a": "a", "b": "b", "c": "c"}) is None
    for missing in "abc":
        refusal = sign_in_refusal(access, {name: name for name in "abc" if name != missing})
        assert refusal is not None
        assert str(refusal) == f'{missing} must be "{missing}"; found no such claim'
    assert sign_in_refusal((AccessRules(),), {}) is None


@pytest.mark.parametrize(
    ("tried", "found", "message"),
    [
        (
            rule("ends_with", "@acme.example", claim="email", verified_by="email_verified"),
            {"email": "ada@secret.example", "email_verified": True},
            'email must end with "@acme.example", and email_verified must be true; '
            "found text that ends otherwise",
        ),
        (
            rule("ends_with", "@acme.example", claim="email", verified_by="email_verified"),
            {"email": "ada@acme.example", "email_verified": "true"},
            'email must end with "@acme.example", and email_verified must be true; '
            "found email_verified is text",
        ),
        (
            rule("contains_any", *"abcdefg", claim="realm_access.roles"),
            {"realm_access": {"roles": "secret"}},
            'realm_access.roles must be a list with one of "a", "b", "c", "d", "e" and 2 more; '
            "found text, not a list",
        ),
        (rule("equals", "a"), {"c": "secret"}, 'c must be "a"; found another text'),
        (rule("equals", 1), {"c": True}, "c must be 1; found true"),
        (rule("contains_all", "a", "b"), {"c": ["secret"]}, 'c must be a list with all of "a", "b"; '
         "found a list of 1 without them"),
        (rule("present"), {"c": {}}, "c must be present; found empty object"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_rule_and_the_kind_of_value_but_no_claim(
    tried: Rule, found: dict[str, object], message: str
) -> None:
    refusal = first_refusal((tried,), found)
    assert refusal is not None
    assert str(refusal) == message
    assert "secret" not in str(refusal)


def test_a_claim_is_named_in_the_notation_of_tenant_files() -> None:
    assert name_of(("realm_access", "roles")) == "realm_access.roles"
    assert name_of(("https://acme.example/roles",)) == '["https://acme.example/roles"]'
