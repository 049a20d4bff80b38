"""What the pages of a draft show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.admin.actors import Actor, actor_of
from portal.admin.check_runs import CheckReport, RunState
from portal.admin.draft_reading import OpenDraft, Review
from portal.admin.organisation_name import organisation_name
from portal.admin.problem_words import for_people
from portal.admin.publication import ONE_OF_SEVERAL, TestedProvider
from portal.config.source_lines import SourceLine, lines_of, source_line
from portal.display_text import display_text
from portal.errors import Problem
from portal.tenancy.checks.live.model import Status
from portal.tenancy.schema.tenant import ONLY_PROVIDER
from portal.web.admin.diff import DiffLine
from portal.web.admin.events import who_in_words
from portal.web.admin.form import FieldView
from portal.web.cards import clock_text


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
    "done": "Done",
    "now": "Next",
    "later": "Later",
    "advised": "Advised",
    "failed": "Failed",
    "idle": "Not needed",
}


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    label: str


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
class DraftPage:
    """`GET /admin/t/{tenant}/draft`."""

    slug: str
    name: str
    live: int
    """The number of the live revision; 0 before the first."""
    published: int | None
    """The revision that was just published with this draft."""
    saved: Change | None
    """The last change; None without a draft."""
    proposal: Change | None
    of_later_version: bool
    can_publish: bool
    steps: tuple[Step, ...]
    edits: tuple[Link, ...]


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
class TestedView:
    """A test login at a provider, for the page of the publication."""

    name: str
    state: str
    """`good`, `missing`, or `not needed`."""
    text: str


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

    @property
    def ready(self) -> bool:
        return not self.blocking and not self.missing_tests


@dataclass(frozen=True, slots=True)
class DiscardPage:
    """`GET /admin/t/{tenant}/draft/discard`."""

    slug: str
    version: int | None
    live: int
    saved: Change | None
    notice: str = ""


def problem_views(problems: Iterable[Problem], text: str) -> tuple[ProblemView, ...]:
    """Problems with the lines of the text that they are about."""
    lines = lines_of(text)
    return tuple(ProblemView(problem.message, source_line(problem, lines)) for problem in problems)


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
    return Change(
        display_text(str(actor), limit=100), clock_text(at, date=True), display_text(reason, limit=300)
    )


def draft_name(draft: OpenDraft) -> str:
    """The name of the tenant as the draft has it."""
    if draft.loaded is not None:
        return draft.loaded.tenant.name
    return organisation_name(draft.slug, draft.stored)


def tested_views(review: Review) -> tuple[TestedView, ...]:
    """The test logins of a draft."""
    return tuple(_tested_view(one) for one in review.providers)


def tests_note(review: Review) -> str:
    """What the test logins do not say each by itself."""
    return ONE_OF_SEVERAL if ONE_OF_SEVERAL in review.missing_tests else ""


def provider_links(draft: OpenDraft) -> tuple[Link, ...]:
    """The forms of the providers of a draft."""
    base = f"/admin/t/{draft.slug}/draft/providers"
    return tuple(Link(f"{base}/{id_}", _provider_name(id_).capitalize()) for id_ in draft.providers)


def _provider_name(id_: str) -> str:
    return "the provider" if id_ == ONLY_PROVIDER else f"provider {display_text(id_, limit=63)}"


def _tested_view(one: TestedProvider) -> TestedView:
    name = display_text(one.name, limit=100)
    if one.test is not None and not one.missing:
        who = who_in_words(actor_of(one.test.actor))
        return TestedView(name, "good", f"Tested by {who} on {clock_text(one.test.at, date=True)}.")
    if one.differs or one.rules_differ:
        return TestedView(name, "missing", one.missing[:1].upper() + one.missing[1:])
    return TestedView(name, "not needed", "It has not changed.")


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


def steps_of(review: Review, checks: CheckReport | None, *, can_publish: bool) -> tuple[Step, ...]:
    """The steps to a publication, each with its state and what is missing.

    Parameters: checks, the last run of the live checks.
    """
    draft = review.draft
    base = f"/admin/t/{draft.slug}/draft"
    chosen, valid = bool(draft.providers), draft.loaded is not None and not draft.problems
    tested = valid and not review.missing_tests
    done = [chosen, valid, tested, False]
    now = done.index(False)
    states = ["done" if one else "now" if index == now else "later" for index, one in enumerate(done)]
    if tested and not review.test:
        states[2] = "idle"
    change = tuple(
        Link(f"{base}/providers/{id_}", f"Change {_provider_name(id_)}") for id_ in draft.providers
    )
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
            _state_of_checks(checks, draft) if valid else "later",
            links=(Link(f"{base}/checks", "Run the checks"),) if valid else (),
        ),
        Step(
            "Test the login",
            "Sign in with your own account. It changes nothing for your users, and shows what the provider "
            "says about you.",
            states[2],
            review.missing_tests if valid else (),
            (Link(f"{base}/test", "Test the login"),) if valid else (),
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
