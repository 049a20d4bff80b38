"""Compares the access rules with a second implementation, on claims of every shape."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from portal.access.rules import AccessRules, Comparison, Rule, Scalar, sign_in_refusal

DOMAIN = "acme.example"
NAMES = ("email", "email_verified", "roles", "realm_access", "hd")
LOOKALIKES = (
    "ACME.example",
    "аcme.example",
    "acme.example.",
    "acme。example",
    "acme.exаmple",
    "evilacme.example",
)
ADDRESSES = st.one_of(
    st.just("ada@acme.example"),
    st.sampled_from(LOOKALIKES).map(lambda domain: f"ada@{domain}"),
    st.text(alphabet='adA@."\\ \n\u0430\u2024\uff20<>(),;', max_size=12).map(lambda text: f"{text}@{DOMAIN}"),
    st.text(max_size=8).map(lambda text: f"ada@{DOMAIN}{text}"),
)
TEXTS = st.one_of(st.sampled_from(("staff", "Staff", "admin", "gold", "", "true", "1", DOMAIN)), ADDRESSES)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-1, 2), st.none(), st.sampled_from((0.0, 1.0)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from((*NAMES, "staff")), inner, max_size=3)
    ),
    max_leaves=8,
)
CLAIMS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)
EXPECTED: st.SearchStrategy[Scalar] = st.sampled_from(
    ("staff", "admin", "gold", "1", "true", 1, 0, True, False, DOMAIN)
)
PATHS = st.one_of(
    st.sampled_from(NAMES).map(lambda name: (name,)),
    st.just(("realm_access", "roles")),
    st.just(("hd", "staff")),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    comparison = draw(st.sampled_from(Comparison))
    values: tuple[Scalar, ...]
    if comparison is Comparison.ENDS_WITH:
        values = draw(
            st.sampled_from(((f"@{DOMAIN}",), (".example", "/staff"), (f"@{DOMAIN}", "@b.example")))
        )
    elif comparison is Comparison.PRESENT:
        values = ()
    elif comparison in {Comparison.EQUALS, Comparison.CONTAINS}:
        values = (draw(EXPECTED),)
    else:
        values = tuple(draw(st.lists(EXPECTED, min_size=1, max_size=3)))
    return Rule(draw(PATHS), comparison, values, draw(st.sampled_from((None, ("email_verified",)))))


# --- the second implementation: compares JSON values with their types, and parses addresses itself


def typed(value: Any) -> object:
    """A form of the value in which different JSON values are different in Python, too."""
    if isinstance(value, dict):
        return ("object", tuple(sorted((name, typed(inner)) for name, inner in value.items())))
    if isinstance(value, list):
        return ("array", tuple(typed(inner) for inner in value))
    return (type(value).__name__, repr(value))


def reached(claims: Any, path: tuple[str, ...]) -> list[Any]:
    if not path:
        return [claims]
    if type(claims) is not dict or path[0] not in claims:
        return []
    return reached(claims[path[0]], path[1:])


def is_address_at(text: str, domain: str) -> bool:
    local, at, rest = text.partition("@")
    allowed = re.compile(r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~.-]+")
    return at == "@" and rest == domain and allowed.fullmatch(local) is not None


def ends(text: Any, end: str) -> bool:
    if type(text) is not str or any(not 32 < ord(char) < 127 for char in text):
        return False
    if end.startswith("@"):
        return is_address_at(text, end[1:])
    if "@" in text and not is_address_at(text, text.partition("@")[2]):
        return False
    if "@" in text and not re.fullmatch(r"[A-Za-z0-9.-]+", text.partition("@")[2]):
        return False
    return len(text) > len(end) and text[-len(end) :] == end and text[-len(end) - 1].isalnum()


def accepts(rule: Rule, claims: Any) -> bool:
    if rule.verified_by is not None and [typed(one) for one in reached(claims, rule.verified_by)] != [
        typed(True)
    ]:
        return False
    found = reached(claims, rule.claim)
    if not found:
        return False
    (value,) = found
    expected = [typed(one) for one in rule.values]
    match rule.comparison.value:
        case "equals" | "one_of":
            return typed(value) in expected
        case "present":
            empty: tuple[Any, ...] = (None, False, "", [], {})
            return typed(value) not in [typed(one) for one in empty]
        case "ends_with":
            return any(ends(value, str(end)) for end in rule.values)
    entries = [typed(one) for one in value] if type(value) is list else []
    if rule.comparison.value == "contains_all":
        return type(value) is list and all(one in entries for one in expected)
    return any(one in entries for one in expected)


@settings(max_examples=200, deadline=None)
@given(st.lists(rules(), min_size=1, max_size=3), CLAIMS)
def test_both_implementations_accept_the_same_users(tried: list[Rule], claims: Any) -> None:
    refusal = sign_in_refusal((AccessRules(tuple(tried)),), claims)
    assert (refusal is None) == all(accepts(rule, claims) for rule in tried), refusal


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_only_a_verified_address_of_the_domain_is_accepted(email: Any, verified: Any) -> None:
    rule = Rule(("email",), Comparison.ENDS_WITH, (f"@{DOMAIN}",), ("email_verified",))
    refusal = sign_in_refusal((AccessRules((rule,)),), {"email": email, "email_verified": verified})
    if refusal is None:
        assert verified is True
        assert is_address_at(email, DOMAIN)
