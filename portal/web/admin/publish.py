"""The publication of a draft: what changes, what is missing, who and why."""

from __future__ import annotations

from portal.admin.draft_reading import Review
from portal.admin.drafts import DraftChanged, NotPublishable
from portal.admin.tenants import TenantChanged
from portal.admin.viewers import Right
from portal.errors import BadRequest
from portal.sentences import message, sentence
from portal.web.admin.base import AdminHandler
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.draft_views import (
    PublishPage,
    draft_name,
    last_change,
    proposal_of,
    published_view,
)
from portal.web.admin.drafts import VERSION_FIELD, number_of
from portal.web.admin.fields import REASON_FIELD
from portal.web.admin.form import Form, TextField, empty_form
from portal.web.admin.navigation import ConsoleChrome
from portal.web.admin.tested_views import tested_views, tests_note

_LIVE_FIELD = TextField(
    name="live",
    label="Live revision",
    pattern=r"[0-9]{1,16}",
    sentence="Open the page again.",
    longest=16,
)
"""The number of the revision that the page compared with, hidden."""
_ACT_FIELD = TextField(
    name="act",
    label="What to do",
    pattern=r"publish|publish-without-test|propose",
    sentence="Choose one of the buttons.",
    longest=20,
)
_GIVE_UP_FIELD = TextField(
    name="give-up",
    label="I give up my own access",
    pattern="1",
    sentence=message("Tick this to give up your own access, or change the admins first."),
    longest=1,
    required=False,
)
_CHANGED = message(
    "The draft was changed since you opened this page, so nothing was published. Below is what it is now."
)
_OTHER_LIVE = message(
    "Another revision became live since you opened this page, so nothing was published. "
    "Below is what publishing the draft would change of it."
)


class PublishHandler(AdminHandler):
    """`GET, POST /admin/t/{tenant}/draft/publish`."""

    right = Right.DRAFT
    of_database = True

    async def get(self, tenant: str) -> None:
        await self._show(tenant, empty_form((REASON_FIELD,)))

    async def post(self, tenant: str) -> None:
        form = self.read_form((REASON_FIELD, VERSION_FIELD, _LIVE_FIELD, _ACT_FIELD, _GIVE_UP_FIELD))
        version = number_of(form["version"])
        if version is None or form.errors.keys() & {"live", "act"}:
            raise BadRequest("the form is not that of the page")
        if form.errors:
            self.set_status(422)
            await self._show(tenant, form)
            return
        try:
            await self._do(tenant, form, version)
        except (DraftChanged, TenantChanged, NotPublishable) as error:
            self.set_status(error.status)
            await self._show(tenant, form, _notice(error))

    async def _do(self, tenant: str, form: Form, version: int) -> None:
        """Do what the button says, and show or redirect to the result. Raises as `Drafts.publish`."""
        act, drafts = self.act(form["reason"]), self.services.drafts
        base = f"/admin/t/{tenant}/draft"
        if form["act"] == "propose" or not self.viewer.may(Right.PUBLISH, tenant):
            await drafts.propose(tenant, act, version=version)
            self.redirect(base, status=303)
            return
        review = await drafts.review(tenant, act.actor)
        if review.warning and not review.obstacles and form["give-up"] != "1":
            form.refuse("give-up", _GIVE_UP_FIELD.sentence)
            self.set_status(422)
            await self._show(tenant, form)
            return
        without_test = form["act"] == "publish-without-test" and self.viewer.operator
        revision = await drafts.publish(
            tenant, act, version=version, live=number_of(form["live"]), without_test=without_test
        )
        if review.warning:
            self._show_lost(review, revision.number)
        else:
            self.redirect(f"{base}?published={revision.number}", status=303)

    def _show_lost(self, review: Review, revision: int) -> None:
        """Show the result here: after it, this viewer may open no page of the tenant."""
        origin, link = self.portal.sites.main.origin, self.viewer.link
        page = published_view(review.draft, revision, origin=origin, link=link, lost=True)
        self.show("admin/published.html", page, console=ConsoleChrome(opens_console=False))

    async def _show(self, tenant: str, form: Form, notice: str = "") -> None:
        review = await self.services.drafts.review(tenant, self.viewer.actor_for(tenant))
        difference = await self.services.contents.run(tenant, diff_lines, review.difference)
        self.note_draft(review.draft)
        self.show("admin/publish.html", self._page(review, difference, form, notice))

    def _page(self, review: Review, difference: tuple[DiffLine, ...], form: Form, notice: str) -> PublishPage:
        draft = review.draft
        return PublishPage(
            slug=draft.slug,
            name=draft_name(draft),
            version=draft.version,
            live=draft.tenant.live,
            saved=last_change(draft),
            proposal=proposal_of(draft),
            notice=notice,
            warnings=_warnings(review),
            difference=difference,
            blocking=review.blocking,
            missing_tests=review.missing_tests,
            tests=tested_views(review),
            tests_note=tests_note(review),
            reason=form.views()["reason"],
            can_publish=self.viewer.may(Right.PUBLISH, draft.slug),
            can_publish_untested=self.viewer.operator,
            no_admins=draft.loaded is not None and not draft.loaded.tenant.admins,
            loses_access=bool(review.warning),
            give_up_error=form.errors.get("give-up", ""),
        )


def _notice(error: DraftChanged | TenantChanged | NotPublishable) -> str:
    if isinstance(error, NotPublishable):
        return message("Nothing was published: see below what is missing.")
    return _CHANGED if isinstance(error, DraftChanged) else _OTHER_LIVE


def _warnings(review: Review) -> tuple[str, ...]:
    draft = review.draft
    late = draft.record is not None and draft.record.based_on not in (0, draft.tenant.live)
    return (
        *([review.warning] if review.warning else []),
        *(
            [
                sentence(
                    "Revision %(live)s became live after this draft was begun. Publishing the draft undoes "
                    "its changes, unless the draft has them too.",
                    live=draft.tenant.live,
                )
            ]
            if late
            else []
        ),
    )
