"""Whether a draft may be published: docs/decisions/055.

A mistake of an admin must not reach a user, and must not lock everybody out (THREATS A7). So each provider
that differs from the live revision needs a test login with exactly what is published, and the account of that
login must meet the access rules of the draft as they are at the publication.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from portal.access.accounts import is_listed
from portal.access.rules import Rule, sign_in_refusal
from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.draft_state import FailedTest, TestResult, sign_in_fingerprint
from portal.sentences import message, sentence
from portal.tenancy.model import Tenant

LONGEST_VALIDITY = 24 * 3600.0
"""Seconds after which a test login does not count."""


SHORTEST_SESSION = 5 * 60.0
"""Seconds that a login must last at least: an admin needs them to correct what was published."""
ONE_OF_SEVERAL = message(
    "Who may sign in, or who is an admin, has changed: a test login at one of the providers must show that "
    "somebody still may."
)


class Tested(StrEnum):
    """What the last test login at a provider is worth."""

    GOOD = "good"
    MISSING = "missing"
    """There is none, or it does not count any more."""
    FAILED = "failed"
    REFUSED = "refused"
    """It succeeded, but the access rules of the draft refuse its account."""


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
    state: Tested = Tested.GOOD
    failed: FailedTest | None = None
    """The last test login, if it failed and none counts."""


def tested_providers(
    tenant: Tenant,
    live: Tenant | None,
    tests: Mapping[str, TestResult],
    *,
    failed: Mapping[str, FailedTest],
    now: float,
) -> tuple[TestedProvider, ...]:
    """What the test logins of a draft are worth.

    Parameters: tenant, of the draft; live, of the live revision, None if there is none that this version can
    read; tests, and those that failed last, by the id of the provider; now, seconds, UTC.
    """
    return tuple(
        _tested(tenant, live, id_, tests.get(id_), failed.get(id_), now=now) for id_ in tenant.providers
    )


def missing_tests(
    providers: Iterable[TestedProvider], tenant: Tenant, live: Tenant | None
) -> tuple[str, ...]:
    """Why the test logins do not suffice for a publication, in sentences; empty when they do."""
    providers = tuple(providers)
    missing = tuple(_about(one) for one in providers if one.differs and one.missing)
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
        return (_about(concerned[0]),)
    return (ONE_OF_SEVERAL,)


def admin_warning(tenant: Tenant, tests: Iterable[TestResult], actor: Actor) -> str:
    """Say when the actor, an admin of the tenant, would not be one after the publication; else return "".

    Parameters: tests, the test logins of the draft: only those of the actor tell.
    """
    if actor.type is not ActorType.ADMIN:
        return ""
    if not tenant.admins:
        return message(
            "The draft has no admins: after its publication, only an operator can change this organisation."
        )
    own = [test for test in tests if actor_of(test.actor) == actor and test.provider in tenant.providers]
    if own and not any(is_listed(tenant.admins, test.provider, test.claims) for test in own):
        return message(
            "After its publication you would no longer be an admin: the account of your test login meets "
            "none of the rules of admins."
        )
    if not own and not any(one.accepts_issuer(actor.provider) for one in tenant.providers.values()):
        return message(
            "The draft no longer has the provider where you signed in: after its publication you would no "
            "longer be an admin, unless your account at another provider is one."
        )
    return ""


def short_session(tenant: Tenant) -> str:
    """Say when logins would end before anybody could correct that; else return ""."""
    durations = (tenant.session.idle, tenant.session.absolute)
    if all(one is None or one >= SHORTEST_SESSION for one in durations):
        return ""
    minutes = f"{SHORTEST_SESSION // 60:.0f}"
    return sentence("Logins must last at least %(minutes)s minutes: see session.", minutes=minutes)


def counted_tests(providers: Iterable[TestedProvider]) -> str:
    """The `test` of a revision: who tested what and when, as JSON; empty when nothing was tested."""
    tests = {
        one.id: {"at": one.test.at, "actor": actor_of(one.test.actor).as_json()}
        for one in providers
        if one.test is not None and not one.missing
    }
    return json.dumps({"tests": tests}) if tests else ""


def _about(provider: TestedProvider) -> str:
    title = f"{provider.name} ({provider.id})"
    return sentence("%(title)s: %(missing)s", title=title, missing=sentence(provider.missing))


def _tested(
    tenant: Tenant,
    live: Tenant | None,
    id_: str,
    test: TestResult | None,
    failed: FailedTest | None,
    *,
    now: float,
) -> TestedProvider:
    provider, new = tenant.providers[id_], live is None or id_ not in live.providers
    fingerprint = sign_in_fingerprint(tenant, id_)
    differs = live is None or new or fingerprint != sign_in_fingerprint(live, id_)
    rules_differ = live is None or _sign_in_rules(tenant, id_) != _sign_in_rules(live, id_)
    state, missing = _worth(tenant, id_, test, fingerprint, now=now)
    if failed is not None and (not missing or (test is not None and test.at > failed.at)):
        failed = None
    if failed is not None and failed.registration == fingerprint:
        state, missing = (
            Tested.FAILED,
            sentence("the last test login failed: %(title)s.", title=sentence(failed.title)),
        )
    elif failed is not None:
        state, missing = (
            Tested.MISSING,
            message("it has changed since the test login that failed; test it again."),
        )
        failed = None
    elif test is None:
        rules = rules_differ or live is None or tenant.admins != live.admins
        missing = _never_tested(new=new, differs=differs, rules_differ=rules)
    return TestedProvider(
        id=id_,
        name=provider.label or provider.issuer,
        differs=differs,
        rules_differ=rules_differ,
        test=test,
        missing=missing,
        state=state,
        failed=failed,
    )


def _worth(
    tenant: Tenant, id_: str, test: TestResult | None, fingerprint: str, *, now: float
) -> tuple[Tested, str]:
    """What a test login that succeeded is worth, and why it does not count."""
    if test is None:
        return Tested.MISSING, message("nobody has made a test login yet.")
    if test.registration != fingerprint:
        return Tested.MISSING, message("it has changed since the test login; test it again.")
    if test.at + LONGEST_VALIDITY <= now:
        return Tested.MISSING, message("the test login is older than 24 hours; test it again.")
    refusal = sign_in_refusal(tenant.access.get(id_, ()), test.claims)
    if refusal is not None:
        return Tested.REFUSED, sentence(
            "the account of the test login may not sign in: %(refusal)s.", refusal=refusal.in_words()
        )
    return Tested.GOOD, ""


def _never_tested(*, new: bool, differs: bool, rules_differ: bool) -> str:
    """Why a test login is needed that nobody has made."""
    if new:
        return message("nobody has made a test login yet.")
    if differs:
        return message("it has changed since it was published; test it again.")
    if rules_differ:
        return message("who may sign in, or who is an admin, has changed; test it again.")
    return message("nobody has tested this draft.")


def _sign_in_rules(tenant: Tenant, id_: str) -> list[Rule]:
    return [rule for access in tenant.access.get(id_, ()) for rule in access.require]
