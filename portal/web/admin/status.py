"""What a tenant of the database may do: closing it to new logins, suspending, resuming and removing it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from portal.admin.viewers import Right
from portal.sentences import message, plural_sentence, sentence
from portal.stores.tenant_records import TenantRecord, TenantStatus
from portal.web.admin.base import AdminHandler
from portal.web.admin.fields import REASON_FIELD, SLUG_FIELD
from portal.web.admin.form import FieldView, Form, TextField, empty_form

_CHANGE_FIELD = TextField(
    name="status",
    label="Status",
    pattern="|".join(TenantStatus),
    sentence="Choose one of the buttons.",
    longest=32,
)
_CONFIRM_FIELD = TextField(
    name="confirm",
    label="Short name of the organisation, to confirm",
    pattern=SLUG_FIELD.pattern,
    sentence="Type the short name of this organisation.",
    longest=63,
)
_CHANGE = (REASON_FIELD, _CHANGE_FIELD)
_REMOVAL = (_CONFIRM_FIELD, replace(REASON_FIELD, name="why"))


@dataclass(frozen=True, slots=True)
class StatusPage:
    """`GET /admin/t/{tenant}/status`."""

    slug: str
    status: str
    """A value of TenantStatus; one of a later version is `suspended`."""
    published: bool
    logins: int
    notice: str
    reason: FieldView
    why: FieldView
    confirm: FieldView


class StatusHandler(AdminHandler):
    """`GET`, `POST /admin/t/{tenant}/status`: says what a change does, then makes it."""

    right = Right.OPERATE
    of_database = True

    async def get(self, tenant: str) -> None:
        await self.show_status(tenant, empty_form((REASON_FIELD,)), empty_form(_REMOVAL))

    async def post(self, tenant: str) -> None:
        form = self.read_form(_CHANGE)
        if form.errors:
            await self.show_status(tenant, form, empty_form(_REMOVAL))
            return
        status = TenantStatus(form["status"])
        closed = await self.services.closing.set_status(tenant, status, self.act(form["reason"]))
        self.redirect(f"/admin/t/{tenant}/status?ended={closed.ended}", status=303)

    async def show_status(self, tenant: str, change: Form, removal: Form) -> None:
        """Show the page. Parameters: change and removal, what was typed into its two forms."""
        record = await self.services.tenants.get(tenant)
        removing = removal.views()
        page = StatusPage(
            slug=tenant,
            status=_status_of(record),
            published=record.live > 0,
            logins=await self.services.logins.count(tenant),
            notice=self._notice(),
            reason=change.views()["reason"],
            why=removing["why"],
            confirm=removing["confirm"],
        )
        if change.errors or removal.errors:
            self.show_again("admin/status.html", page)
        else:
            self.show("admin/status.html", page)

    def _notice(self) -> str:
        ended = self.get_query_argument("ended", "")
        if not (ended.isascii() and ended.isdigit() and len(ended) < 10):
            return ""
        count = int(ended)
        if not count:
            return message("Done. Every process follows within seconds.")
        return plural_sentence(
            "Done. One login ended. Every process follows within seconds.",
            "Done. %(count)s logins ended. Every process follows within seconds.",
            count,
        )


class RemoveTenantHandler(StatusHandler):
    """`POST /admin/t/{tenant}/remove`: removes a tenant with its revisions and logins."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/admin/t/{tenant}/status", status=303)

    async def post(self, tenant: str) -> None:
        form = self.read_form(_REMOVAL)
        if form["confirm"] != tenant:
            form.refuse("confirm", sentence("Type %(tenant)s to confirm.", tenant=tenant))
        if form.errors:
            await self.show_status(tenant, empty_form((REASON_FIELD,)), form)
            return
        ended = await self.services.closing.remove(tenant, self.act(form["why"]))
        self.redirect(f"/admin/?removed={tenant}&ended={ended}", status=303)


def removed_in_words(slug: str, ended: str) -> str:
    """What the overview says after a removal; empty for anything else in the address."""
    if not SLUG_FIELD.problem_of(slug) and ended.isascii() and ended.isdigit() and len(ended) < 10:
        return _removed(slug, int(ended))
    return ""


def _removed(slug: str, count: int) -> str:
    if not count:
        return sentence("%(slug)s was removed.", slug=slug)
    return plural_sentence(
        "%(slug)s was removed. One login ended.",
        "%(slug)s was removed. %(count)s logins ended.",
        count,
        slug=slug,
    )


def _status_of(record: TenantRecord) -> str:
    known = record.status in tuple(TenantStatus)
    return record.status if known else TenantStatus.SUSPENDED
