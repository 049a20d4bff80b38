"""What a test login says about a draft: the claims, and what the draft's rules make of them. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.access.accounts import is_listed
from portal.access.rules import ReadValues, Rule, outcomes
from portal.admin.draft_state import TestResult
from portal.display_text import display_text
from portal.oidc.protocol_claims import PROTOCOL_CLAIMS
from portal.tenancy.model import Tenant

MOST_CLAIMS = 100
LONGEST_NAME = 200
"""Characters of the name of a claim that can be chosen; other names are shown only."""
_LONGEST_VALUE = 1_000
_LONGEST_PREVIEW = 120
_MOST_ROLES = 20
_KINDS = {str: "text", int: "number", float: "number", bool: "boolean", list: "list", dict: "object"}


@dataclass(frozen=True, slots=True)
class ReceivedClaim:
    """A claim of the user as bounded text."""

    name: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A claim that can be the user's name, e-mail address or roles, and what users would see."""

    claim: str
    preview: str


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """A rule in words, and why the account does not meet it; empty when it does."""

    rule: str
    mismatch: str

    @property
    def met(self) -> bool:
        """Whether the account meets it."""
        return not self.mismatch


@dataclass(frozen=True, slots=True)
class PathOutcomes:
    """The rules for the paths of the API that begin with `path`."""

    path: str
    rules: tuple[RuleOutcome, ...]


@dataclass(frozen=True, slots=True)
class TestReport:
    """A test login, judged by the draft as it is now."""

    __test__ = False  # not a class of tests

    claims: tuple[ReceivedClaim, ...]
    """Those about the user first."""
    more_claims: int
    """How many are not among them."""
    texts: tuple[Choice, ...]
    """What can be the name or the e-mail address."""
    lists: tuple[Choice, ...]
    """What can be the roles."""
    sign_in: tuple[RuleOutcome, ...]
    """The rules for signing in."""
    paths: tuple[PathOutcomes, ...]
    is_admin: bool
    """Whether the account would be an admin of the tenant."""

    @property
    def may_sign_in(self) -> bool:
        """Whether the account meets all rules for signing in."""
        return all(one.met for one in self.sign_in)


def report(test: TestResult, tenant: Tenant) -> TestReport:
    """Judge a test login. Parameters: tenant, of the draft."""
    claims, values = test.claims, ReadValues()
    access = tenant.access.get(test.provider, ())
    shown = sorted(claims, key=lambda name: name in PROTOCOL_CLAIMS)[:MOST_CLAIMS]
    return TestReport(
        claims=tuple(_received(name, claims[name]) for name in shown),
        more_claims=len(claims) - len(shown),
        texts=_choices(claims, shown, (str,)),
        lists=_choices(claims, shown, (list, str)),
        sign_in=_outcomes((rule for one in access for rule in one.require), claims, values),
        paths=tuple(
            PathOutcomes(path.place, _outcomes(path.require, claims, values))
            for one in access
            for path in one.paths
        ),
        is_admin=is_listed(tenant.admins, test.provider, claims),
    )


def chosen(claims: Mapping[str, object], name: str) -> str:
    """What users would see of a claim that the draft names; empty without one."""
    return _preview(claims.get(name))


def _outcomes(
    rules: Iterable[Rule], claims: Mapping[str, object], values: ReadValues
) -> tuple[RuleOutcome, ...]:
    return tuple(
        RuleOutcome(rule.in_words(), refusal.found if refusal else "")
        for rule, refusal in outcomes(rules, claims, values)
    )


def _received(name: str, value: object) -> ReceivedClaim:
    return ReceivedClaim(
        display_text(name, LONGEST_NAME),
        _KINDS.get(type(value), "nothing"),
        display_text(value, _LONGEST_VALUE, line_breaks=True),
    )


def _choices(
    claims: Mapping[str, object], names: Iterable[str], types: tuple[type, ...]
) -> tuple[Choice, ...]:
    return tuple(
        Choice(name, _preview(claims[name]))
        for name in names
        if isinstance(claims[name], types) and name not in PROTOCOL_CLAIMS and _can_be_chosen(name)
    )


def _can_be_chosen(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name == display_text(name, LONGEST_NAME)


def _preview(value: object) -> str:
    """A text, or the texts of a list, as the tenant's page shows them."""
    if isinstance(value, list):
        texts = [display_text(one, _LONGEST_PREVIEW) for one in value[:_MOST_ROLES] if isinstance(one, str)]
        return display_text(", ".join(text for text in texts if text), _LONGEST_PREVIEW)
    return display_text(value, _LONGEST_PREVIEW) if isinstance(value, str) else ""
