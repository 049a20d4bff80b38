"""The draft of a tenant: what is to do next, and discarding it."""

from __future__ import annotations

import re

from portal.admin.drafts import DraftChanged
from portal.admin.viewers import Right
from portal.sentences import message
from portal.web.admin.base import AdminHandler
from portal.web.admin.draft_steps import form_links, provider_links, steps_of
from portal.web.admin.draft_views import (
    DiscardPage,
    DraftPage,
    Link,
    draft_name,
    last_change,
    link_until,
    proposal_of,
    published_view,
)
from portal.web.admin.form import TextField

VERSION_FIELD = TextField(
    name="version",
    label="Version",
    pattern=r"[0-9]{1,16}",
    sentence="Open the page again.",
    longest=16,
    required=False,
)
"""The version of the draft that a page showed, hidden; empty when nothing was stored."""
_NUMBER = re.compile(r"[0-9]{1,16}")


def number_of(text: str) -> int | None:
    """The number in a hidden field or a query; None for an empty one, and for what is no number."""
    return int(text) if _NUMBER.fullmatch(text) else None


class DraftHandler(AdminHandler):
    """`GET /admin/t/{tenant}/draft`: the steps to a publication."""

    right = Right.DRAFT
    of_database = True

    async def get(self, tenant: str) -> None:
        review = await self.services.drafts.review(tenant, self.viewer.actor_for(tenant))
        draft = self.note_draft(review.draft)
        published = number_of(self.get_query_argument("published", ""))
        can_publish = self.viewer.may(Right.PUBLISH, tenant)
        checks = await self.services.checks.report(tenant, made_at=draft.tenant.created_at)
        base = f"/admin/t/{tenant}/draft"
        link = self.viewer.link
        live = draft.tenant.live
        self.show(
            "admin/draft.html",
            DraftPage(
                slug=tenant,
                name=draft_name(draft),
                live=live,
                published=published_view(draft, live, origin=self.portal.sites.main.origin, link=link)
                if published == live and draft.record is None
                else None,
                link_until=link_until(link),
                saved=last_change(draft),
                proposal=proposal_of(draft),
                of_later_version=draft.of_later_version,
                can_publish=can_publish,
                steps=steps_of(review, checks, can_publish=can_publish),
                edits=(
                    *provider_links(draft),
                    Link(f"{base}/providers/new", "Add a provider"),
                    *form_links(base),
                ),
            ),
        )


class DiscardHandler(AdminHandler):
    """`GET, POST /admin/t/{tenant}/draft/discard`: deletes the draft, after a question."""

    right = Right.DRAFT
    of_database = True

    async def get(self, tenant: str) -> None:
        await self._ask(tenant)

    async def post(self, tenant: str) -> None:
        version = number_of(self.read_form((VERSION_FIELD,))["version"])
        if version is not None:
            try:
                await self.services.drafts.discard(tenant, self.act(), version=version)
            except DraftChanged as error:
                self.set_status(error.status)
                await self._ask(
                    tenant,
                    message("The draft was changed since you opened this page. Nothing was discarded."),
                )
                return
        self.redirect(f"/admin/t/{tenant}/draft", status=303)

    async def _ask(self, tenant: str, notice: str = "") -> None:
        draft = await self.stored_draft(tenant)
        page = DiscardPage(tenant, draft.version, draft.tenant.live, last_change(draft), notice)
        self.show("admin/discard.html", page)
