"""What the pages of a draft show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.admin.actors import Actor, actor_of
from portal.admin.draft_reading import OpenDraft
from portal.admin.organisation_name import organisation_name
from portal.admin.viewers import BoundSetupLink
from portal.config.source_lines import SourceLine, lines_of, source_line
from portal.display_text import display_text
from portal.errors import Problem
from portal.sentences import Wording, message, moment
from portal.web.admin.actor_name import actor_name
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
