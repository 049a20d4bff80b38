"""Whether a draft may be published: docs/decisions/055.

A mistake of an admin must not reach a user, and must not lock everybody out (THREATS A7). So each provider
that differs from the live revision needs a test login with exactly what is published, and the account of that
login must meet the access rules of the draft as they are at the publication.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.access.accounts import is_listed
from portal.access.rules import Rule, sign_in_refusal
from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.draft_state import TestResult, sign_in_fingerprint
from portal.tenancy.model import Tenant

LONGEST_VALIDITY = 24 * 3600.0
"""Seconds after which a test login does not count."""


SHORTEST_SESSION = 5 * 60.0
"""Seconds that a login must last at least: an admin needs them to correct what was published."""
ONE_OF_SEVERAL = (
    "Who may sign in, or who is an admin, has changed: a test login at one of the providers must show that "
    "somebody still may."
)


@dataclass(frozen=True, slots=True)
class TestedProvider:
    """A provider of a draft, and its test login."""

    id: str
    name: str
    differs: bool
    """Whether it is new, or differs from the live revision in what decides a sign-in."""
    rules_differ: bool
    """Whether its accounts have other access rules than in the live revision."""
    test: TestResult | None
    """The last test login at it, whether it counts or not."""
    missing: str
    """Why there is no test login that counts, as a sentence; empty when there is one."""


def tested_providers(
    tenant: Tenant, live: Tenant | None, tests: Mapping[str, TestResult], *, now: float
) -> tuple[TestedProvider, ...]:
    """What the test logins of a draft are worth.

    Parameters: tenant, of the draft; live, of the live revision, None if there is none that this version can
    read; tests, by the id of the provider; now, seconds, UTC.
    """
    return tuple(
        TestedProvider(
            id=id_,
            name=provider.label or provider.issuer,
            differs=live is None
            or id_ not in live.providers
            or sign_in_fingerprint(tenant, id_) != sign_in_fingerprint(live, id_),
            rules_differ=live is None or _sign_in_rules(tenant, id_) != _sign_in_rules(live, id_),
            test=tests.get(id_),
            missing=_missing(tenant, id_, tests.get(id_), now=now),
        )
        for id_, provider in tenant.providers.items()
    )


def missing_tests(
    providers: Iterable[TestedProvider], tenant: Tenant, live: Tenant | None
) -> tuple[str, ...]:
    """Why the test logins do not suffice for a publication, in sentences; empty when they do."""
    providers = tuple(providers)
    missing = tuple(f"{_title(one)}: {one.missing}" for one in providers if one.differs and one.missing)
    if missing:
        return missing
    concerned = [one for one in providers if one.rules_differ]
    if (
        not concerned
        and live is not None
        and (tenant.admins != live.admins or live.providers.keys() - tenant.providers.keys())
    ):
        concerned = list(providers)
    if not concerned or any(not one.missing for one in concerned):
        return ()
    if len(concerned) == 1:
        return (f"{_title(concerned[0])}: {concerned[0].missing}",)
    return (ONE_OF_SEVERAL,)


def admin_warning(tenant: Tenant, tests: Iterable[TestResult], actor: Actor) -> str:
    """Say when the actor, an admin of the tenant, would not be one after the publication; else return "".

    Parameters: tests, the test logins of the draft: only those of the actor tell.
    """
    if actor.type is not ActorType.ADMIN:
        return ""
    if not tenant.admins:
        return (
            "The draft has no admins: after its publication, only an operator can change this organisation."
        )
    own = [test for test in tests if actor_of(test.actor) == actor and test.provider in tenant.providers]
    if own and not any(is_listed(tenant.admins, test.provider, test.claims) for test in own):
        return (
            "After its publication you would no longer be an admin: the account of your test login meets "
            "none of the rules of admins."
        )
    if not own and not any(one.accepts_issuer(actor.provider) for one in tenant.providers.values()):
        return (
            "The draft no longer has the provider where you signed in: after its publication you would no "
            "longer be an admin, unless your account at another provider is one."
        )
    return ""


def short_session(tenant: Tenant) -> str:
    """Say when logins would end before anybody could correct that; else return ""."""
    durations = (tenant.session.idle, tenant.session.absolute)
    if all(one is None or one >= SHORTEST_SESSION for one in durations):
        return ""
    return f"Logins must last at least {SHORTEST_SESSION // 60:.0f} minutes: see session."


def counted_tests(providers: Iterable[TestedProvider]) -> str:
    """The `test` of a revision: who tested what and when, as JSON; empty when nothing was tested."""
    tests = {
        one.id: {"at": one.test.at, "actor": actor_of(one.test.actor).as_json()}
        for one in providers
        if one.test is not None and not one.missing
    }
    return json.dumps({"tests": tests}) if tests else ""


def _title(provider: TestedProvider) -> str:
    return f"{provider.name} ({provider.id})"


def _missing(tenant: Tenant, id_: str, test: TestResult | None, *, now: float) -> str:
    if test is None:
        return "nobody has made a test login yet."
    if test.registration != sign_in_fingerprint(tenant, id_):
        return "it has changed since the test login; test it again."
    if test.at + LONGEST_VALIDITY <= now:
        return "the test login is older than 24 hours; test it again."
    refusal = sign_in_refusal(tenant.access.get(id_, ()), test.claims)
    if refusal is not None:
        return f"the account of the test login may not sign in: {refusal}."
    return ""


def _sign_in_rules(tenant: Tenant, id_: str) -> list[Rule]:
    return [rule for access in tenant.access.get(id_, ()) for rule in access.require]
