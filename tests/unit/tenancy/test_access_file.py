"""`access` and `hosted_domain` in a tenant file: the resulting rules, and messages for invalid values."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.access.rules import AccessRules, Comparison, Rule
from portal.tenancy.loading import read_tenant
from portal.tenancy.public_issuers import PUBLIC_ISSUERS
from tests.unit.tenancy.files import ACME, ENVIRON, problems, tenant, write

SCALAR = "must be text of 1 to 500 visible characters, a whole number, true or false, found"
CLAIM = (
    "must be the name of a claim, with dots between the names of nested objects; write a name that contains "
    'dots or slashes as a list, such as ["https://acme.example/roles"], found text'
)
RULE_PATH = (
    "must be a path of the API that begins with /, such as /admin/: letters, digits and - . _ ~ between "
    "slashes, without percent-encoding and placeholders, found text"
)
EMAIL = '{claim: email, ends_with: "@acme.example", verified_by: email_verified}'
BY_EMAIL = Rule(("email",), Comparison.ENDS_WITH, ("@acme.example",), ("email_verified",))
CLIENT = "client: {id: x, secret: '${ACME_SECRET}'}\n"
TWO = f"""\
name: Acme
access: {{require: [{EMAIL}], contact: Ada}}
providers:
  staff: {{issuer: https://login.acme.example, {CLIENT.strip()}}}
  partners:
    issuer: https://partners.acme.example
    {CLIENT.strip()}
    access: {{require: [{{claim: roles, contains: partner}}]}}
"""


def with_rule(text: str) -> str:
    return f"{ACME}access: {{require: [{text}]}}\n"


def loaded_rule(folder: Path, text: str) -> Rule:
    ((access,),) = tenant(folder, with_rule(text)).access.values()
    (rule,) = access.require
    return rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (EMAIL, BY_EMAIL),
        ("{claim: realm_access.roles, contains_any: [staff, 1, true]}",
         Rule(("realm_access", "roles"), Comparison.CONTAINS_ANY, ("staff", 1, True))),
        ('{claim: ["https://acme.example/plan"], equals: gold}',
         Rule(("https://acme.example/plan",), Comparison.EQUALS, ("gold",))),
        ('{claim: ["a.b", c], equals: " x "}', Rule(("a.b", "c"), Comparison.EQUALS, (" x ",))),
        ("{claim: cognito:groups, contains_all: [a]}",
         Rule(("cognito:groups",), Comparison.CONTAINS_ALL, ("a",))),
        ("{claim: suspended, equals: false}", Rule(("suspended",), Comparison.EQUALS, (False,))),
        ("{claim: hd, one_of: [a.example, b.example]}",
         Rule(("hd",), Comparison.ONE_OF, ("a.example", "b.example"))),
        ("{claim: a, present: true}", Rule(("a",), Comparison.PRESENT)),
        ('{claim: email, ends_with: ["@a.example", .b.example]}',
         Rule(("email",), Comparison.ENDS_WITH, ("@a.example", ".b.example"))),
    ],
)  # fmt: skip
def test_a_rule_is_read(tmp_path: Path, text: str, rule: Rule) -> None:
    assert loaded_rule(tmp_path, text) == rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{claim: email}",
         "lacks a comparison: one of equals, one_of, contains, contains_any, contains_all, ends_with, "
         "present"),
        ("{claim: a, equals: 1, contains: 1}",
         "contains combines equals and contains; write one rule for each"),
        ("{claim: a, one_of: []}", "one_of must have at least 1 entry, found 0"),
        ("{claim: a, contains_all: []}", "contains_all must have at least 1 entry, found 0"),
        ("{claim: a, equals: [x]}", f"equals {SCALAR} a list"),
        ("{claim: a, equals: 0.5}", f"equals {SCALAR} a number"),
        ('{claim: a, equals: ""}', f"equals {SCALAR} text"),
        ("{claim: a, equals: 18014398509481984}", f"equals {SCALAR} a number"),
        ("{claim: email, ends_with: acme.example}", 'ends_with must begin with @, . or /, such as '
         '"@acme.example"; otherwise addresses in other domains could match'),
        ('{claim: email, ends_with: "@"}',
         "ends_with must be @, . or /, followed by printable ASCII characters without spaces or another @"),
        ('{claim: email, ends_with: "@a@b"}',
         "ends_with must be @, . or /, followed by printable ASCII characters without spaces or another @"),
        ('{claim: email, ends_with: "@\u00e4cme.example"}',
         "ends_with contains non-ASCII characters; write the domain in its ASCII form (xn--…)"),
        ("{claim: email, ends_with: []}", "ends_with must be an ending, or a list of 1 to 100, found a list"),
        ("{claim: a, present: false}",
         "present must be true; a rule cannot require that a claim is absent, found false"),
        ("{claim: email, equals: x, verified_by: email}",
         "verified_by names the compared claim itself; name another, such as email_verified"),
        ("{claim: nonce, present: true}",
         "claim describes a token, not a user; choose another claim"),
        ("{claim: https://acme.example/x, present: true}", f"claim {CLAIM}"),
        ("{claim: a..b, present: true}", f"claim {CLAIM}"),
        ("{claim: [], present: true}",
         "claim must be a path of 1 to 10 names, found a list"),
        ("{claim: [a, 1], present: true}",
         "claim must be the name of a claim, or a list of names that form a path to it, found a list"),
    ],
)  # fmt: skip
def test_an_invalid_or_ambiguous_rule_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, with_rule(text))
    separator = " " if problem.startswith("lacks") else "."
    assert found.partition(": ")[2] == f"access.require[1]{separator}{problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("access: all\n", "6:9: access must be anyone, or a mapping with require, found text"),
        ("access: []\n", "6:9: access must be a mapping, found a list"),
        ("access: {}\n", "6:9: access is empty; add require, or write access: anyone"),
        ("access: {require: []}\n", "6:19: access.require must have at least 1 entry, found 0"),
        ("access: {contact: Ada}\n",
         "6:9: access has a contact but no rules that could refuse a user; add require"),
        (f"access: {{require: [{', '.join([EMAIL] * 21)}]}}\n",
         "6:19: access.require must have at most 20 entries, found 21"),
        (f"access: {{paths: [{{path: /a, require: [{EMAIL}]}}, {{path: /A/, require: [{EMAIL}]}}]}}\n",
         "6:17: access.paths lists the same path twice; case does not matter here"),
        *(
            (f"access: {{paths: [{{path: {path}, require: [{EMAIL}]}}]}}\n",
             f"6:25: access.paths[1].path {RULE_PATH}")
            for path in ("admin", "//admin", "/a/../b", "/a/./b", "/a%20b", "/*", '"/{id}"', "/a;b", "/a.")
        ),
        ("access: {paths: [{path: /a}]}\n",
         '6:18: access.paths[1] lacks the key "require": rules that must all be met'),
        ("hosted_domain: acme.example\n", "6:16: hosted_domain is only valid with preset google"),
    ],
)  # fmt: skip
def test_an_invalid_access_is_refused_with_its_position(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, ACME + text) == [f"acme.yaml:{problem}"]


def test_access_of_the_tenant_and_of_a_provider_both_apply(tmp_path: Path) -> None:
    access = tenant(tmp_path, TWO).access
    of_tenant = AccessRules((BY_EMAIL,), contact="Ada")
    assert access["staff"] == (of_tenant,)
    assert access["partners"] == (
        AccessRules((Rule(("roles",), Comparison.CONTAINS, ("partner",)),)),
        of_tenant,
    )
    assert tenant(tmp_path, TWO).contact("partners") == "Ada"


def test_without_access_anyone_may_sign_in_at_a_private_provider(tmp_path: Path) -> None:
    assert tenant(tmp_path, ACME).access == {"default": ()}
    assert tenant(tmp_path, ACME + "access: anyone\n").access == {"default": (AccessRules(),)}


# --- providers with accounts for the general public

DIRECTORY = "72f988bf-86f1-41af-91ab-2d7cd011db47"
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"
PUBLIC = [
    "preset: google\n",
    "preset: gitlab\n",
    "preset: entra\ndomain: common\ntenant_ids: any\n",
    "preset: entra\ndomain: organizations\ntenant_ids: any\n",
    f"preset: entra\ndomain: common\ntenant_ids: [{DIRECTORY}, {PERSONAL}]\n",
    f"preset: entra\nissuer: https://login.microsoftonline.com/{PERSONAL}/v2.0\n",
    *(f"issuer: {issuer}\n" for issuer in PUBLIC_ISSUERS),
    "issuer: https://accounts.google.com/\n",
]
PRIVATE = [
    "preset: gitlab\ndomain: gitlab.acme.example\n",
    f"preset: entra\ndomain: common\ntenant_ids: [{DIRECTORY}]\n",
    f"preset: entra\nissuer: https://login.microsoftonline.com/{DIRECTORY}/v2.0\n",
    "issuer: https://login.acme.example\n",
]


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_public_provider_needs_access_or_hosted_domain(tmp_path: Path, kind: str) -> None:
    file = f"name: A\n{kind}{CLIENT}"
    (problem,) = problems(tmp_path, file)
    place, _, message = problem.partition(": ")
    assert place == ("acme.yaml:2:9" if kind.startswith("preset") else "acme.yaml:1:1")
    assert message.startswith("access is missing, but anyone can create an account at ")
    assert f"access: {{require: [{EMAIL}]}}" in message
    assert "access: anyone accepts every account" in message
    assert ("hosted_domain: acme.example" in message) == ("preset: google" in kind)
    for stated in ("access: anyone\n", f"access: {{require: [{EMAIL}]}}\n"):
        assert problems(tmp_path, file + stated) == []
    only_paths = f"access: {{paths: [{{path: /a, require: [{EMAIL}]}}]}}\n"
    assert problems(tmp_path, file + only_paths)[0].endswith(message)


@pytest.mark.parametrize("kind", PRIVATE)
def test_a_private_provider_needs_no_access(tmp_path: Path, kind: str) -> None:
    assert problems(tmp_path, f"name: A\n{kind}{CLIENT}") == []


def test_each_of_several_providers_is_checked_and_the_tenants_access_counts(tmp_path: Path) -> None:
    two = f"""\
name: A
providers:
  staff: {{issuer: https://login.acme.example, {CLIENT.strip()}}}
  guests:
    preset: google
    {CLIENT}"""
    (problem,) = problems(tmp_path, two)
    assert problem.startswith("acme.yaml:5:13: access is missing")
    assert problems(tmp_path, f"{two}access: anyone\n") == []
    assert problems(tmp_path, f"{two}    access: anyone\n") == []


# --- hosted_domain


def test_hosted_domain_is_sent_and_required(tmp_path: Path) -> None:
    made = tenant(tmp_path, f"name: A\npreset: google\nhosted_domain: Acme.example\n{CLIENT}")
    assert ("hd", "acme.example") in made.default_provider.authorize_params
    assert made.access["default"] == (AccessRules((Rule(("hd",), Comparison.EQUALS, ("acme.example",)),)),)


def test_hosted_domain_is_written_once_and_can_have_a_contact(tmp_path: Path) -> None:
    google = f"name: A\npreset: google\nhosted_domain: acme.example\n{CLIENT}"
    assert tenant(tmp_path, f"{google}access: {{contact: Ada}}\n").contact("default") == "Ada"
    assert problems(tmp_path, f"{google}authorize_params: {{hd: acme.example}}\n") == [
        "acme.yaml:3:16: hosted_domain is also in authorize_params as hd; remove hd there"
    ]
    assert problems(tmp_path, f"{google}access: anyone\n") == [
        "acme.yaml:5:9: access is anyone, but hosted_domain restricts sign-in; keep one of the two"
    ]


# --- the documentation


def test_the_example_of_the_guide_is_a_tenant_file(tmp_path: Path) -> None:
    guide = Path(__file__).resolve().parents[3] / "docs" / "reference" / "access.md"
    example = guide.read_text().split("```yaml\n")[1].partition("```")[0]
    ((access,),) = tenant(tmp_path, ACME + example).access.values()
    assert [str(rule) for rule in access.require] == [
        'email must end with "@acme.example", and email_verified must be true',
        'realm_access.roles must be a list with one of "staff", "partner"',
        '["https://acme.example/plan"] must be "gold"',
    ]
    assert [part.path for part in access.paths] == ["/admin/"]
    assert "hosted_domain: acme.example" in guide.read_text()


# --- warnings


def warned(folder: Path, text: str) -> list[str]:
    return [
        str(one).replace(f"{folder}/", "")
        for one in read_tenant(write(folder, text), environ=ENVIRON).warnings
    ]


def test_a_rule_on_an_unverified_email_address_causes_a_warning(tmp_path: Path) -> None:
    rule = '{claim: email, ends_with: "@acme.example"}'
    warning = (
        "a rule on email without verified_by accepts users who can set an arbitrary address in their account "
        "at the provider; add verified_by: email_verified"
    )
    assert warned(tmp_path, with_rule(rule)) == [f"acme.yaml:6:28: {warning}"]
    assert warned(tmp_path, with_rule(EMAIL)) == []
    assert len(warned(tmp_path, f"{ACME}access: {{paths: [{{path: /a, require: [{rule}]}}]}}\n")) == 1
    assert len(warned(tmp_path, TWO.replace(", verified_by: email_verified", ""))) == 1
