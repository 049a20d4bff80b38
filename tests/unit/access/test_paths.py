"""Which rules apply to a path of an API, in any spelling of the path."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.access.paths import path_refusal, rules_for
from portal.access.rules import AccessRules, Comparison, PathRules, Rule
from portal.errors import RequestRefused
from portal.web.api_proxy.rules import target_url


def part(path: str) -> PathRules:
    return PathRules(path, (Rule(("roles",), Comparison.CONTAINS, (path,)),))


ADMIN, PUBLIC, ORDERS, ALL = part("/admin/"), part("/admin/public"), part("/v1/orders"), part("/")


def applicable(path: str, *parts: PathRules) -> list[str]:
    return [one.path for one in rules_for(parts or (ADMIN, PUBLIC, ORDERS), path)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", []),
        ("/", []),
        ("/other", []),
        ("/administration", []),
        ("/admin-old", []),
        ("/x/admin", []),
        ("/admin", ["/admin/"]),
        ("/admin/", ["/admin/"]),
        ("/admin/users/7", ["/admin/"]),
        ("/admin/publication", ["/admin/"]),
        ("/admin/public", ["/admin/public"]),
        ("/admin/public/x", ["/admin/public"]),
        ("/%61dmin/public/x", ["/admin/public"]),
        ("/v1/orders", ["/v1/orders"]),
        ("/v1", []),
        # other spellings: every rule that applies to some interpretation
        ("/ADMIN/public", ["/admin/", "/admin/public"]),
        ("/admin/PUBLIC", ["/admin/", "/admin/public"]),
        ("/admin%3bx/public", ["/admin/", "/admin/public"]),
        ("/admin.json", ["/admin/"]),
        ("/v1/Orders(7)", ["/v1/orders"]),
        ("/%3bx/admin", ["/admin/"]),
        ("/%20admin", ["/admin/"]),
        ("/%20/admin/users", ["/admin/"]),
        ("/v1/orders:archive", ["/v1/orders"]),
    ],
)
def test_the_longest_literal_match_applies(path: str, expected: list[str]) -> None:
    assert applicable(path) == expected


def test_a_rule_for_the_root_applies_to_every_path() -> None:
    assert applicable("", ALL) == ["/"]
    assert applicable("/x", ALL, ADMIN) == ["/"]
    assert applicable("/admin", ALL, ADMIN) == ["/admin/"]


def test_rules_of_the_tenant_and_of_the_provider_apply_separately() -> None:
    access = (AccessRules(paths=(ADMIN,)), AccessRules(paths=(PUBLIC,)))
    assert path_refusal(access, {"roles": ["/admin/", "/admin/public"]}, "/admin/public") is None
    for role in ("/admin/", "/admin/public"):
        refusal = path_refusal(access, {"roles": [role]}, "/admin/public")
        assert refusal is not None
        assert str(refusal).endswith("without it")


def readings(segment: str) -> st.SearchStrategy[str]:
    """Spellings of a segment that some API treats as equal."""
    escaped = st.lists(st.booleans(), min_size=len(segment), max_size=len(segment)).map(
        lambda flags: "".join(
            f"%{ord(char):02x}" if flag else char for char, flag in zip(segment, flags, strict=True)
        )
    )
    cased = st.lists(st.booleans(), min_size=len(segment), max_size=len(segment)).map(
        lambda flags: "".join(
            char.upper() if flag else char for char, flag in zip(segment, flags, strict=True)
        )
    )
    wide = st.just(quote("".join(chr(ord(char) + 0xFEE0) for char in segment)))
    twice = st.just("".join(f"%25{ord(char):02x}" for char in segment))
    return st.one_of(escaped, cased, wide, twice)


ENDINGS = st.sampled_from(
    ("", "%3b", "%3Bv=1", ".", "%20", "%3f", "%23x", ".json", "+", "%E2%80%8B", "%2e", "(1)")
)


@settings(max_examples=150, deadline=None)
@given(readings("admin"), ENDINGS, st.sampled_from(("", "/", "/users", "/public%3bx")))
def test_no_spelling_of_a_segment_bypasses_its_rule(segment: str, ending: str, rest: str) -> None:
    path = f"/{segment}{ending}{rest}"
    try:
        target_url("https://api.example", path, "")
    except RequestRefused:
        return
    assert "/admin/" in applicable(path), path


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_any_path_is_accepted(text: str) -> None:
    assert set(applicable(f"/{quote(text)}")) <= {"/admin/", "/admin/public", "/v1/orders"}


@pytest.mark.parametrize(
    "path",
    [
        "/adm%C4%B1n",  # a dotless i, whose upper case is I: equal to i for equalsIgnoreCase of Java
        "/ADM%C4%B0N",  # an I with a dot, whose lower case is i
        "/%C3%A1dmin",  # an a with an accent, which some comparisons ignore
        "/a%CC%81dmin",
        "/%C2%85admin",  # a line break that trimming removes
        "/%E1%9A%80admin/users",
        "/admin%EF%BC%8Fusers",
        "/v1%EF%BC%8Forders",  # a full-width slash
        "/v1%E2%88%95orders/7",
        "/v1%EF%BC%BCorders",
    ],
)
def test_lookalikes_of_letters_and_slashes_bypass_no_rule(path: str) -> None:
    target_url("https://api.example", path, "")
    assert applicable(path), path
