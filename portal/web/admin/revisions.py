"""The revisions of a tenant of the database: the history, one revision, and rolling back to it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from portal.admin import content as contents
from portal.admin.actors import actor_of
from portal.admin.tenants import RevisionOfLaterVersion, TenantMissing
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.errors import BadRequest, ConfigurationError
from portal.sentences import Wording, message, moment, sentence
from portal.stores.tenant_records import Revision
from portal.tenancy.stored import FORMAT
from portal.web.admin.base import AdminHandler
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.events import who_in_words
from portal.web.admin.fields import REASON_FIELD
from portal.web.admin.form import FieldView, Form, empty_form

_AT_ONCE = 25
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A revision in the history. Bounded text."""

    number: int
    url: str
    at: str
    who: str
    reason: str
    test: str
    live: bool
    later_version: bool


@dataclass(frozen=True, slots=True)
class RevisionsPage:
    """`GET /admin/t/{tenant}/revisions`."""

    rows: tuple[RevisionRow, ...]
    may_roll_back: bool
    notice: str
    earlier_url: str | None
    later_url: str | None


@dataclass(frozen=True, slots=True)
class RevisionPage:
    """`GET /admin/t/{tenant}/revisions/{number}`."""

    row: RevisionRow
    live: int
    changes: tuple[DiffLine, ...] | None
    """Against the revision before; None: there is none, or it cannot be compared."""
    against_live: tuple[DiffLine, ...] | None
    """What rolling back to it changes; None for the live one."""
    content: str
    """The shown form; empty for a revision of a later version."""
    may_roll_back: bool
    reason: FieldView
    problems: tuple[str, ...] = ()
    """Why it could not be published again."""


class RevisionsHandler(AdminHandler):
    """`GET /admin/t/{tenant}/revisions`: the history, the newest first."""

    right = Right.VIEW
    of_database = True

    async def get(self, tenant: str) -> None:
        record = await self.services.tenants.get(tenant)
        before = revision_number(self.get_query_argument("before", ""))
        found = await self.services.store.list_revisions(tenant, before=before, most=_AT_ONCE + 1)
        shown = found[:_AT_ONCE]
        base = f"/admin/t/{tenant}/revisions"
        page = RevisionsPage(
            rows=tuple(row_of(one, record.live) for one in shown),
            may_roll_back=self.viewer.may(Right.PUBLISH, tenant),
            notice=self._notice(),
            earlier_url=base if before is not None else None,
            later_url=f"{base}?before={shown[-1].number}" if len(found) > _AT_ONCE else None,
        )
        self.show("admin/revisions.html", page)

    def _notice(self) -> str:
        made = revision_number(self.get_query_argument("made", ""))
        return (
            sentence("Revision %(made)s is live. Every process serves it within seconds.", made=made)
            if made
            else ""
        )


class RevisionHandler(AdminHandler):
    """`GET /admin/t/{tenant}/revisions/{number}`: what it has, and what it changed."""

    right = Right.VIEW
    of_database = True

    async def get(self, tenant: str, number: str) -> None:
        await self.show_revision(tenant, number, empty_form((REASON_FIELD,)))

    async def show_revision(
        self, tenant: str, number: str, form: Form, *, problems: tuple[str, ...] = ()
    ) -> None:
        """Show the page.

        Parameters: form, the reason for rolling back; problems, why that failed. Raises BadRequest for who
        may roll back, but not see the revisions.
        """
        if not self.viewer.may(Right.VIEW, tenant):
            raise BadRequest("; ".join((*form.errors.values(), *problems)) or "not for this viewer")
        record = await self.services.tenants.get(tenant)
        wanted = required_number(tenant, number)
        revision = await self.services.tenants.revision(tenant, wanted)
        earlier = await self.services.store.list_revisions(tenant, before=wanted, most=1)
        live = await self._live(tenant, record.live, wanted)
        content, changes, against_live = await self.services.contents.run(
            tenant, _compared, revision, earlier[0] if earlier else None, live
        )
        row = row_of(revision, record.live)
        page = RevisionPage(
            row=row,
            live=record.live,
            changes=changes,
            against_live=against_live,
            content=content,
            may_roll_back=not row.live and not row.later_version and self.viewer.may(Right.PUBLISH, tenant),
            reason=form.views()["reason"],
            problems=problems,
        )
        if form.errors:
            self.show_again("admin/revision.html", page)
        else:
            self.show("admin/revision.html", page)

    async def _live(self, tenant: str, live: int, number: int) -> Revision | None:
        """The live revision, to compare with; None if it is this one, or there is none."""
        if live in (0, number):
            return None
        found = await self.services.store.read_revisions([(tenant, live)])
        return found[0] if found else None


class RollBackHandler(RevisionHandler):
    """`POST /admin/t/{tenant}/revisions/{number}/rollback`: publishes an earlier revision again."""

    right = Right.PUBLISH

    async def get(self, tenant: str, number: str) -> None:
        self.redirect(f"/admin/t/{tenant}/revisions/{number}", status=303)

    async def post(self, tenant: str, number: str) -> None:
        form = self.read_form((REASON_FIELD,))
        if form.errors:
            await self.show_revision(tenant, number, form)
            return
        wanted = required_number(tenant, number)
        try:
            made = await self.services.tenants.roll_back(tenant, wanted, self.act(form["reason"]))
        except RevisionOfLaterVersion:
            raise
        except ConfigurationError as error:
            self.set_status(409)
            problems = tuple(Wording(display_text(str(one), limit=500)) for one in error.problems)
            await self.show_revision(tenant, number, form, problems=problems)
            return
        self.redirect(f"/admin/t/{tenant}/revisions?made={made.number}", status=303)


def revision_number(text: str) -> int | None:
    """A number of a revision, from an address; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        return None
    number = int(text)
    return number if 0 < number <= _LARGEST else None


def required_number(tenant: str, text: str) -> int:
    """As `revision_number`. Raises TenantMissing."""
    number = revision_number(text)
    if number is None:
        raise TenantMissing(f"the tenant {tenant} has no such revision")
    return number


def row_of(revision: Revision, live: int) -> RevisionRow:
    """A revision in words. Parameters: live, the number of the live one."""
    return RevisionRow(
        number=revision.number,
        url=f"/admin/t/{revision.tenant}/revisions/{revision.number}",
        at=moment(revision.published_at, date=True),
        who=who_in_words(actor_of(revision.author)),
        reason=display_text(revision.reason, limit=1_000),
        test=_test_in_words(revision.test),
        live=revision.number == live,
        later_version=revision.format > FORMAT,
    )


def _test_in_words(test: str) -> str:
    """Who tested it and when, or what it was rolled back to, as far as the record says."""
    if not test:
        return message("No test login")
    try:
        stored = json.loads(test)
        if "again" in stored:
            return sentence("Rolled back to revision %(again)s", again=int(stored["again"]))
        tests = stored["tests"]
        latest = max(tests.values(), key=lambda one: one["at"])
        when = moment(float(latest["at"]), date=True)
        return sentence(
            "Test login by %(actor)s on %(when)s", actor=who_in_words(actor_of(latest["actor"])), when=when
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):  # of another version
        return message("Test login")


def _compared(
    revision: Revision, earlier: Revision | None, live: Revision | None
) -> tuple[str, tuple[DiffLine, ...] | None, tuple[DiffLine, ...] | None]:
    """The shown form of a revision, and its differences. It may take long: call it in a thread."""
    if revision.format > FORMAT:
        return "", None, None
    try:
        content = contents.shown(revision.content, revision.tenant)
    except ConfigurationError:  # damaged by hand
        return "", None, None
    return content, _changes(earlier, revision), _changes(live, revision)


def _changes(before: Revision | None, after: Revision) -> tuple[DiffLine, ...] | None:
    if before is None or before.format > FORMAT:
        return None
    try:
        return diff_lines(contents.difference(after.tenant, before.content, after.content))
    except ConfigurationError:
        return None
