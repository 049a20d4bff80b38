"""The data of the pages of test logins."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from portal.access.rules import sign_in_refusal
from portal.admin.actors import actor_of
from portal.admin.draft_state import FailedTest, TestResult
from portal.admin.drafts import OpenDraft
from portal.admin.general_form import admin_rule
from portal.admin.test_login_errors import TestLoginRefused
from portal.admin.test_logins import PlannedTest, TestLogins
from portal.admin.test_report import Choice, TestReport, chosen, report
from portal.display_text import display_text
from portal.oidc.provider import Provider
from portal.sentences import message, moment
from portal.tenancy.model import ClaimNames, Tenant
from portal.tenancy.schema.tenant import ONLY_PROVIDER
from portal.web.admin.actor_name import actor_name

_LONGEST_LABEL = 120
_LONGEST_URL = 500


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider of the draft, and what is known about test logins at it. Untrusted, bounded text."""

    id: str
    label: str
    issuer: str
    redirect_uri: str
    separate: bool
    """Whether only test logins use this redirect URI."""
    state: str
    """`passed`, `refused` (by the access rules), `changed` (since), `failed` (the last one) or `untested`."""
    at: str
    """When the last test login was; empty before the first."""

    @property
    def words(self) -> str:
        """The state in words."""
        return {
            "passed": message("The test login succeeded"),
            "refused": message("Signed in at the provider, but your rules refuse this account"),
            "changed": message("Changed since the test login"),
            "failed": message("The last test login failed"),
            "untested": message("Not tested yet"),
        }[self.state]

    @property
    def button(self) -> str:
        return message("Test this provider") if self.state == "untested" else message("Test again")


@dataclass(frozen=True, slots=True)
class TestLoginsPage:
    """`GET /admin/t/{tenant}/draft/test`."""

    __test__ = False  # not a class of tests

    slug: str
    providers: tuple[ProviderView, ...]
    refusal: str
    """Why no test login is possible, as a sentence; empty when one is."""


@dataclass(frozen=True, slots=True)
class FailureView:
    """A test login that failed. Untrusted, bounded text."""

    title: str
    explanation: str
    detail: str
    code: str
    at: str
    actor: str


@dataclass(frozen=True, slots=True)
class ResultView:
    """A test login that succeeded. Untrusted, bounded text."""

    at: str
    actor: str
    own: bool
    """Whether the viewer made it: only then what the claims contain is shown."""
    account: str
    issuer: str
    subject: str
    scopes: tuple[str, ...]
    refresh_token: bool
    warnings: tuple[str, ...]
    counts: bool
    """Whether the provider is still what was tested."""


@dataclass(frozen=True, slots=True)
class ClaimChoice:
    """A field of the form with which a claim is chosen."""

    name: str
    label: str
    hint: str
    value: str
    """The claim that is chosen; empty: none."""
    required: bool
    preview: str
    """What users would see; empty when the account has no such claim."""
    options: tuple[Choice, ...]
    error: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether the chosen claim is one of the options."""
        return any(option.claim == self.value for option in self.options)


@dataclass(frozen=True, slots=True)
class TestResultPage:
    """`GET /admin/t/{tenant}/draft/test/{provider}`."""

    __test__ = False

    slug: str
    version: int | None
    """Of the draft, for the form."""
    provider: ProviderView
    failure: FailureView | None
    result: ResultView | None
    report: TestReport | None
    choices: tuple[ClaimChoice, ...]
    new_admin: str = ""
    """The account, if the viewer can make it an admin of the tenant."""
    notice: str = ""
    saved: bool = False
    """Whether claims were just chosen."""


def provider_views(draft: OpenDraft, logins: TestLogins) -> tuple[tuple[ProviderView, ...], str]:
    """The providers of a draft, and why none of them can be tested, if that is so."""
    views, refusal = [], ""
    for id_ in draft.loaded.tenant.providers if draft.loaded is not None else ():
        try:
            views.append(provider_view(draft, logins.plan(draft, id_)))
        except TestLoginRefused as refused:
            refusal = refused.explanation or refused.title
    if draft.loaded is None:
        refusal = message("The draft has problems. Correct them before the test login.")
    return tuple(views), refusal


def provider_view(draft: OpenDraft, planned: PlannedTest) -> ProviderView:
    """A provider of a draft."""
    id_, provider = planned.provider.id, planned.provider
    test, failed = draft.state.tests.get(id_), draft.state.failed.get(id_)
    state, last = "untested", 0.0
    if test is not None:
        state, last = _state(draft, planned, test), test.at
    if failed is not None and (test is None or failed.at > test.at):
        state, last = "failed", failed.at
    return ProviderView(
        id=id_,
        label=_label(provider),
        issuer=display_text(provider.issuer, _LONGEST_URL),
        redirect_uri=planned.redirect_uri,
        separate=planned.separate,
        state=state,
        at=moment(last, date=True) if last else "",
    )


def result_page(
    draft: OpenDraft,
    tenant: Tenant,
    planned: PlannedTest,
    actor: str,
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    notice: str = "",
) -> TestResultPage:
    """The page of the last test login at a provider.

    Parameters: tenant, of the draft; actor, the viewer as JSON; typed, what was chosen in the form, if it is
    shown again; errors, by the name of the field.
    """
    id_ = planned.provider.id
    test, failed = draft.state.tests.get(id_), draft.state.failed.get(id_)
    if test is not None and failed is not None and failed.at < test.at:
        failed = None
    own = test is not None and test.actor == actor
    found = report(test, tenant) if test is not None else None
    can_become_admin = own and found is not None and found.may_sign_in and not found.is_admin
    return TestResultPage(
        slug=draft.slug,
        version=draft.version,
        provider=provider_view(draft, planned),
        failure=_failure(failed) if failed is not None else None,
        result=_result(test, planned, tenant, own=own) if test is not None else None,
        report=found,
        choices=_claim_choices(test, found, tenant, typed, errors or {}) if test and found and own else (),
        new_admin=_new_admin(test, tenant) if test is not None and can_become_admin else "",
        notice=notice,
    )


def _new_admin(test: TestResult, tenant: Tenant) -> str:
    """The account, by the e-mail address if the rule for admins is about it."""
    email = admin_rule({**test.claims, "sub": test.subject}, test.provider, several=True).get("equals")
    return _account(test, tenant) if email == test.subject else display_text(email, _LONGEST_LABEL)


def _account(test: TestResult, tenant: Tenant) -> str:
    """What the page calls the account of a test login."""
    names = (tenant.claims.name, tenant.claims.email, "preferred_username")
    account = next((text for name in names if (text := chosen(test.claims, name))), test.subject)
    return display_text(account, _LONGEST_LABEL)


def _state(draft: OpenDraft, planned: PlannedTest, test: TestResult) -> str:
    """Of a provider whose last test login succeeded."""
    if test.registration != planned.fingerprint:
        return "changed"
    access = draft.loaded.tenant.access.get(planned.provider.id, ()) if draft.loaded is not None else ()
    return "passed" if sign_in_refusal(access, test.claims) is None else "refused"


def _label(provider: Provider) -> str:
    """What the page calls a provider: its label, its id if there are several, or its host."""
    name = provider.label or (
        provider.id if provider.id != ONLY_PROVIDER else urlsplit(provider.issuer).netloc
    )
    return display_text(name, _LONGEST_LABEL)


def _failure(failed: FailedTest) -> FailureView:
    return FailureView(
        title=failed.title,
        explanation=failed.explanation,
        detail=failed.detail.replace(".; ", ". "),
        code=failed.code,
        at=moment(failed.at, date=True),
        actor=_who(failed.actor),
    )


def _result(test: TestResult, planned: PlannedTest, tenant: Tenant, *, own: bool) -> ResultView:
    return ResultView(
        at=moment(test.at, date=True),
        actor=_who(test.actor),
        own=own,
        account=_account(test, tenant),
        issuer=display_text(test.issuer, _LONGEST_URL),
        subject=display_text(test.subject, _LONGEST_URL),
        scopes=test.scopes,
        refresh_token=test.refresh_token,
        warnings=test.warnings,
        counts=test.registration == planned.fingerprint,
    )


def _claim_choices(
    test: TestResult,
    found: TestReport,
    tenant: Tenant,
    typed: dict[str, str] | None,
    errors: dict[str, str],
) -> tuple[ClaimChoice, ...]:
    now = claim_values(tenant.claims) if typed is None else typed
    texts = {
        "name": (message("Name"), message("What the portal calls the user."), found.texts, True),
        "email": (message("E-mail address"), message("Shown beside the name."), found.texts, True),
        "roles": (
            message("Roles"),
            message("Shown on the user’s page, and in GET /session."),
            found.lists,
            False,
        ),
    }
    return tuple(
        ClaimChoice(
            name=name,
            label=label,
            hint=hint,
            value=now[name],
            required=required,
            preview=chosen(test.claims, now[name]),
            options=options,
            error=errors.get(name, ""),
        )
        for name, (label, hint, options, required) in texts.items()
    )


def claim_values(claims: ClaimNames) -> dict[str, str]:
    """The claims that a draft names, by the name of the field."""
    return {"name": claims.name, "email": claims.email, "roles": claims.roles or ""}


def _who(actor: str) -> str:
    return actor_name(actor_of(actor), limit=_LONGEST_LABEL)
