"""The publication of a draft: what changes, what is missing, who and why."""

from __future__ import annotations

from portal.admin.draft_reading import Review
from portal.admin.drafts import DraftChanged, NotPublishable
from portal.admin.tenants import TenantChanged
from portal.admin.viewers import Right
from portal.errors import BadRequest
from portal.web.admin.base import AdminHandler
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.draft_views import (
    PublishPage,
    draft_name,
    last_change,
    proposal_of,
    tested_views,
    tests_note,
)
from portal.web.admin.drafts import VERSION_FIELD, number_of
from portal.web.admin.fields import REASON_FIELD
from portal.web.admin.form import Form, TextField, empty_form

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
_CHANGED = (
    "The draft was changed since you opened this page, so nothing was published. Below is what it is now."
)
_OTHER_LIVE = (
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
        form = self.read_form((REASON_FIELD, VERSION_FIELD, _LIVE_FIELD, _ACT_FIELD))
        version = number_of(form["version"])
        if version is None or form.errors.keys() & {"live", "act"}:
            raise BadRequest("the form is not that of the page")
        if form.errors:
            self.set_status(422)
            await self._show(tenant, form)
            return
        try:
            where = await self._do(tenant, form, version)
        except (DraftChanged, TenantChanged, NotPublishable) as error:
            self.set_status(error.status)
            await self._show(tenant, form, _notice(error))
        else:
            self.redirect(where, status=303)

    async def _do(self, tenant: str, form: Form, version: int) -> str:
        """Do what the button says; return where to go then. Raises as `Drafts.publish`."""
        act, drafts = self.act(form["reason"]), self.services.drafts
        base = f"/admin/t/{tenant}/draft"
        if form["act"] == "propose" or not self.viewer.may(Right.PUBLISH, tenant):
            await drafts.propose(tenant, act, version=version)
            return base
        without_test = form["act"] == "publish-without-test" and self.viewer.operator
        revision = await drafts.publish(
            tenant, act, version=version, live=number_of(form["live"]), without_test=without_test
        )
        return f"{base}?published={revision.number}"

    async def _show(self, tenant: str, form: Form, notice: str = "") -> None:
        review = await self.services.drafts.review(tenant, self.viewer.actor_for(tenant))
        difference = await self.services.contents.run(tenant, diff_lines, review.difference)
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
        )


def _notice(error: DraftChanged | TenantChanged | NotPublishable) -> str:
    if isinstance(error, NotPublishable):
        return "Nothing was published: see below what is missing."
    return _CHANGED if isinstance(error, DraftChanged) else _OTHER_LIVE


def _warnings(review: Review) -> tuple[str, ...]:
    draft = review.draft
    late = draft.record is not None and draft.record.based_on not in (0, draft.tenant.live)
    return (
        *([review.warning] if review.warning else []),
        *(
            [
                f"Revision {draft.tenant.live} became live after this draft was begun. "
                "Publishing the draft undoes its changes, unless the draft has them too."
            ]
            if late
            else []
        ),
    )
