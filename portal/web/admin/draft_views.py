"""What the pages of a draft show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.admin.actors import Actor, actor_of
from portal.admin.check_runs import CheckReport, RunState
from portal.admin.draft_reading import OpenDraft, Review
from portal.admin.organisation_name import organisation_name
from portal.admin.problem_words import for_people
from portal.admin.publication import Tested
from portal.admin.viewers import BoundSetupLink
from portal.config.source_lines import SourceLine, lines_of, source_line
from portal.display_text import display_text
from portal.errors import Problem
from portal.sentences import Wording, listed, message, moment, sentence
from portal.tenancy.checks.live.model import Status
from portal.tenancy.schema.tenant import ONLY_PROVIDER
from portal.web.admin.actor_name import actor_name
from portal.web.admin.check_titles import check_title
from portal.web.admin.diff import DiffLine
from portal.web.admin.form import FieldView
from portal.web.admin.tested_views import TestedView


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A problem of a draft. `line`: where it is, if it names a line."""

    message: str
    line: SourceLine | None


@dataclass(frozen=True, slots=True)
class Change:
    """Who changed or proposed something, and when."""

    actor: str
    at: str
    reason: str = ""


_STATES = {
    "done": message("Done"),
    "now": message("Next"),
    "later": message("Later"),
    "advised": message("Advised"),
    "failed": message("Failed"),
    "idle": message("Not needed"),
}


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    label: str
    begins: bool = False
    """Whether it begins something: a form that is posted."""


@dataclass(frozen=True, slots=True)
class Step:
    """One of the steps from a new tenant to a published one. `state`: a key of `_STATES`."""

    title: str
    text: str
    state: str
    notes: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def state_in_words(self) -> str:
        return _STATES[self.state]


@dataclass(frozen=True, slots=True)
class Published:
    """What was just published, and who can change it now. Also the page for who may open no other one."""

    slug: str
    name: str
    revision: int
    url: str
    """For users."""
    has_admins: bool
    link_until: str
    """Until when the setup link of who asks works; empty without one."""
    lost: bool = False
    """Whether who published it is not an admin any more."""


@dataclass(frozen=True, slots=True)
class DraftPage:
    """`GET /admin/t/{tenant}/draft`."""

    slug: str
    name: str
    live: int
    """The number of the live revision; 0 before the first."""
    published: Published | None
    """The revision that was just published with this draft."""
    saved: Change | None
    """The last change; None without a draft."""
    proposal: Change | None
    of_later_version: bool
    can_publish: bool
    steps: tuple[Step, ...]
    edits: tuple[Link, ...]
    link_until: str = ""
    """Until when the setup link of who asks works; empty without one."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else changed the draft while this text was typed."""

    change: Change | None
    """None when they discarded or published it."""
    difference: tuple[DiffLine, ...]
    """What saving the typed text would change of theirs."""


@dataclass(frozen=True, slots=True)
class YamlPage:
    """`GET, POST /admin/t/{tenant}/draft/yaml`."""

    slug: str
    text: str
    replaces: str
    """The version that the text replaces; empty for none."""
    live: int
    saved: Change | None
    problems: tuple[ProblemView, ...] = ()
    warnings: tuple[ProblemView, ...] = ()
    stored: bool = True
    """Whether the text is what is stored."""
    conflict: Conflict | None = None
    unavailable: bool = False
    """Whether it was not stored because the database does not respond."""
    of_later_version: bool = False
    longest: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class PublishPage:
    """`GET, POST /admin/t/{tenant}/draft/publish`."""

    slug: str
    name: str
    version: int | None
    live: int
    saved: Change | None
    proposal: Change | None
    notice: str
    """Why nothing was published just now."""
    warnings: tuple[str, ...]
    difference: tuple[DiffLine, ...]
    blocking: tuple[str, ...]
    missing_tests: tuple[str, ...]
    tests: tuple[TestedView, ...]
    tests_note: str
    """What `tests` does not say of what is missing."""
    reason: FieldView
    can_publish: bool
    can_publish_untested: bool
    no_admins: bool = False
    """Whether nobody of the organisation can open the console after the publication."""
    loses_access: bool = False
    """Whether who asks would not be an admin any more."""
    give_up_error: str = ""

    @property
    def ready(self) -> bool:
        return not self.blocking and not self.missing_tests

    @property
    def failed(self) -> bool:
        """Whether a test login failed."""
        return any(one.state == "failed" for one in self.tests)

    @property
    def refused(self) -> bool:
        """Whether the access rules refuse the account of a test login."""
        return any(one.state == "refused" for one in self.tests)


@dataclass(frozen=True, slots=True)
class DiscardPage:
    """`GET /admin/t/{tenant}/draft/discard`."""

    slug: str
    version: int | None
    live: int
    saved: Change | None
    notice: str = ""


def published_view(
    draft: OpenDraft, revision: int, *, origin: str, link: BoundSetupLink | None, lost: bool = False
) -> Published:
    """Say what was published.

    Parameters: draft, what is live now or the draft that it was made of; origin, of the portal; link, of who
    asks; lost, whether they may not open the console any more.
    """
    return Published(
        slug=draft.slug,
        name=draft_name(draft),
        revision=revision,
        url=f"{origin}/t/{draft.slug}/",
        has_admins=draft.loaded is not None and bool(draft.loaded.tenant.admins),
        link_until=link_until(link),
        lost=lost,
    )


def link_until(link: BoundSetupLink | None) -> str:
    """Until when a setup link works, for people; empty without one."""
    return moment(link.expires_at, date=True) if link is not None and link.expires_at else ""


def problem_views(problems: Iterable[Problem], text: str) -> tuple[ProblemView, ...]:
    """Problems with the lines of the text that they are about."""
    lines = lines_of(text)
    return tuple(ProblemView(Wording(problem.message), source_line(problem, lines)) for problem in problems)


def last_change(draft: OpenDraft) -> Change | None:
    """Who changed a draft last."""
    if draft.record is None:
        return None
    return change_of(actor_of(draft.record.author), draft.record.changed_at)


def proposal_of(draft: OpenDraft) -> Change | None:
    """Who asks for the publication of a draft."""
    proposal = draft.state.proposal
    return None if proposal is None else change_of(proposal.actor, proposal.at, proposal.reason)


def change_of(actor: Actor, at: float, reason: str = "") -> Change:
    """For people."""
    return Change(actor_name(actor, limit=100), moment(at, date=True), display_text(reason, limit=300))


def draft_name(draft: OpenDraft) -> str:
    """The name of the tenant as the draft has it."""
    if draft.loaded is not None:
        return draft.loaded.tenant.name
    return organisation_name(draft.slug, draft.stored)


def provider_links(draft: OpenDraft) -> tuple[Link, ...]:
    """The forms of the providers of a draft."""
    base = f"/admin/t/{draft.slug}/draft/providers"
    return tuple(Link(f"{base}/{id_}", _provider_name(id_)) for id_ in draft.providers)


def _provider_name(id_: str) -> str:
    if id_ == ONLY_PROVIDER:
        return message("The provider")
    return sentence("Provider %(id)s", id=display_text(id_, limit=63))


def _change_label(id_: str) -> str:
    if id_ == ONLY_PROVIDER:
        return message("Change the provider")
    return sentence("Change provider %(id)s", id=display_text(id_, limit=63))


def _test_notes(review: Review) -> tuple[str, ...]:
    """What is missing of the test logins, and when those that failed were made."""
    failed = (one for one in review.providers if one.state is Tested.FAILED and one.failed is not None)
    times = (
        sentence(
            "The test login at %(name)s failed on %(at)s.",
            name=display_text(one.name, limit=100),
            at=moment(one.failed.at, date=True),
        )
        for one in failed
        if one.failed is not None
    )
    return (*review.missing_tests, *times)


def _test_links(review: Review) -> tuple[Link, ...]:
    """To the test, or to what went wrong with it."""
    base = f"/admin/t/{review.draft.slug}/draft"
    again = Link(f"{base}/test", "Test the login")
    for one in review.providers:
        page = f"{base}/test/{one.id}"
        if one.state is Tested.FAILED:
            return Link(page, "See what went wrong"), again
        if one.state is Tested.REFUSED:
            return Link(f"{base}/general", "Change who may sign in"), Link(page, "See the test login")
    return (again,)


def _state_of_checks(checks: CheckReport | None, draft: OpenDraft) -> str:
    """`done` when they found no failure in this version of the draft."""
    if checks is None or checks.state is not RunState.DONE or checks.version != draft.version:
        return "advised"
    return "failed" if checks.count(Status.FAIL) else "done"


def _choice_links(draft: OpenDraft) -> tuple[Link, ...]:
    """Choosing the kind of a provider: for the first time, again, or for a further one."""
    new = f"/admin/t/{draft.slug}/draft/providers/new"
    if not draft.providers:
        return (Link(new, "Choose a provider"),)
    if len(draft.providers) > 1:
        return (Link(new, "Add another provider"),)
    other = Link(f"{new}?instead={draft.providers[0]}", "Choose a different kind")
    return (other, Link(new, "Add a second provider"))


def _failed_checks(checks: CheckReport) -> tuple[str, ...]:
    """Which checks failed."""
    failed = [one for one in checks.results if one.status is Status.FAIL]
    names = dict.fromkeys(check_title(one.check) for one in failed)
    return (sentence("%(count)s failed: %(names)s", count=len(failed), names=listed([*names])),)


def _check_links(draft: OpenDraft, checks: CheckReport | None) -> tuple[Link, ...]:
    """To the results, where there are some, and to begin a run."""
    page = f"/admin/t/{draft.slug}/draft/checks"
    if checks is None:
        return (Link(page, "Run the checks", begins=True),)
    return Link(page, "See the results"), Link(page, "Run the checks again", begins=True)


def steps_of(review: Review, checks: CheckReport | None, *, can_publish: bool) -> tuple[Step, ...]:
    """The steps to a publication, each with its state and what is missing.

    Parameters: checks, the last run of the live checks.
    """
    draft = review.draft
    base = f"/admin/t/{draft.slug}/draft"
    chosen, valid = bool(draft.providers), draft.loaded is not None and not draft.problems
    tested = valid and not review.missing_tests
    checked = _state_of_checks(checks, draft) if valid else "later"
    done = [chosen, valid, tested, False]
    now = done.index(False)
    states = ["done" if one else "now" if index == now else "later" for index, one in enumerate(done)]
    if tested and not review.test:
        states[2] = "idle"
    if valid and not tested and {one.state for one in review.providers} & {Tested.FAILED, Tested.REFUSED}:
        states[2] = "failed"
    elif checked == "failed" and not tested:
        states[2] = "later"
    change = tuple(Link(f"{base}/providers/{id_}", _change_label(id_)) for id_ in draft.providers)
    messages = tuple(for_people(problem) for problem in draft.problems[:5])
    return (
        Step(
            "Choose your provider",
            "The service where your people sign in today, such as Microsoft Entra ID, Okta or Google.",
            states[0],
            links=_choice_links(draft),
        ),
        Step(
            "Enter its values",
            "Register the portal at the provider, then copy its client id and secret into the form. "
            "The form shows each address that you need there.",
            states[1],
            messages if chosen else (),
            (*change, Link(f"{base}/general", "General settings"), Link(f"{base}/yaml", "Edit as YAML")),
        ),
        Step(
            "Run the checks",
            "The portal asks the provider about each value. It takes a few seconds, and nobody is signed in.",
            checked,
            _failed_checks(checks) if checks is not None and checked == "failed" else (),
            _check_links(draft, checks) if valid else (),
        ),
        Step(
            "Test the login",
            "Sign in with your own account. It changes nothing for your users, and shows what the provider "
            "says about you.",
            states[2],
            _test_notes(review) if valid else (),
            _test_links(review) if valid else (),
        ),
        Step(
            "Publish" if can_publish else "Propose",
            "See what changes, and make it live for everybody."
            if can_publish
            else "See what changes, and ask the people who run this portal to make it live.",
            states[3],
            review.blocking if tested else (),
            (Link(f"{base}/publish", "Review and publish" if can_publish else "Review and propose"),)
            if tested
            else (),
        ),
    )
