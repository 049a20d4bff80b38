"""The setup links of a tenant in the console."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.actors import actor_of
from portal.admin.setup_link_errors import TooManySetupLinks
from portal.admin.setup_links import LONGEST_NAME, LinkState, MadeLink
from portal.admin.viewers import Right
from portal.config.field_types import parse_duration
from portal.display_text import display_text
from portal.sentences import message, moment
from portal.stores.tenant_records import SetupLink
from portal.web.admin.actor_name import actor_name
from portal.web.admin.base import AdminHandler
from portal.web.admin.form import FieldView, Form, TextField, empty_form

DURATIONS = {"1d": "1 day", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
"""What the form offers."""
_MOST_SHOWN = 100
_STATES = {
    LinkState.NOT_OPENED: message("Not opened"),
    LinkState.OPENED: message("Opened"),
    LinkState.EXPIRED: message("Expired"),
    LinkState.REVOKED: message("Revoked"),
}
_NAME_SENTENCE = "Write the name on one line, without control characters."
_FIELDS = (
    TextField(
        name="name",
        label="Who it is for",
        pattern=r"[^\x00-\x1f\x7f]{1,100}",
        sentence=_NAME_SENTENCE,
        longest=LONGEST_NAME,
        required=False,
        hint="For the list below and the events. Whoever has the link sees it.",
    ),
    TextField(
        name="valid",
        label="Valid for",
        pattern="|".join(DURATIONS),
        sentence="Choose one of these.",
        longest=10,
    ),
)


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A setup link in the list."""

    id: str
    name: str
    state: str
    opened: bool
    """Whether a browser can use it now."""
    expires_label: str
    expires_text: str
    author: str
    made_text: str
    revoke_url: str | None
    """None when there is nothing to revoke."""


@dataclass(frozen=True, slots=True)
class MadeLinkView:
    """A link that was just made; it cannot be shown again."""

    url: str
    name: str
    expires_text: str


@dataclass(frozen=True, slots=True)
class SetupLinksPage:
    """`GET /admin/t/{tenant}/links`."""

    links: tuple[LinkRow, ...]
    """The newest first."""
    more: int
    """How many older ones are not shown."""
    name: FieldView
    valid: FieldView
    durations: tuple[tuple[str, str], ...]
    made: MadeLinkView | None
    publishes: bool


class SetupLinksHandler(AdminHandler):
    """`GET /admin/t/{tenant}/links`: the setup links of a tenant; `POST`: make one.

    The new link is in the response of the POST itself: it must not be in an address.
    """

    right = Right.OPERATE
    of_database = True

    async def get(self, tenant: str) -> None:
        await self.services.tenants.get(tenant)
        await self._show(tenant, empty_form(_FIELDS, valid="7d"))

    async def post(self, tenant: str) -> None:
        await self.services.tenants.get(tenant)
        form = self.read_form(_FIELDS)
        if not form["name"].isprintable():
            form.refuse("name", _NAME_SENTENCE)
        if form.errors:
            await self._show(tenant, form)
            return
        try:
            made = await self.services.setup_links.make(
                tenant, self.act(), name=form["name"], seconds=parse_duration(form["valid"])
            )
        except TooManySetupLinks as error:
            form.refuse("name", f"{error.title}. {error.advice}")
            await self._show(tenant, form)
            return
        await self._show(tenant, empty_form(_FIELDS, valid="7d"), made)

    async def _show(self, tenant: str, form: Form, made: MadeLink | None = None) -> None:
        links = await self.services.setup_links.of_tenant(tenant)
        fields = form.views()
        page = SetupLinksPage(
            links=tuple(self._row(link) for link in links[:_MOST_SHOWN]),
            more=max(0, len(links) - _MOST_SHOWN),
            name=fields["name"],
            valid=fields["valid"],
            durations=tuple(DURATIONS.items()),
            made=_view(made) if made is not None else None,
            publishes=self.portal.settings.setup_links == "publish",
        )
        if form.errors:
            self.show_again("admin/links.html", page)
        else:
            self.show("admin/links.html", page)

    def _row(self, link: SetupLink) -> LinkRow:
        state = self.services.setup_links.state(link)
        live = state in {LinkState.NOT_OPENED, LinkState.OPENED}
        return LinkRow(
            id=link.id,
            name=display_text(link.name, limit=LONGEST_NAME) or message("For anybody"),
            state=_STATES[state],
            opened=state is LinkState.OPENED,
            expires_label=message("Expired") if state is LinkState.EXPIRED else message("Valid until"),
            expires_text=moment(link.expires_at, date=True),
            author=actor_name(actor_of(link.author), limit=120),
            made_text=moment(link.created_at, date=True),
            revoke_url=f"/admin/t/{link.tenant}/links/{link.id}/revoke" if live else None,
        )


class RevokeSetupLinkHandler(AdminHandler):
    """`POST /admin/t/{tenant}/links/{link}/revoke`."""

    right = Right.OPERATE
    of_database = True

    async def post(self, tenant: str, link: str) -> None:
        await self.services.setup_links.revoke(tenant, link, self.act())
        self.redirect(f"/admin/t/{tenant}/links", status=303)


def _view(made: MadeLink) -> MadeLinkView:
    return MadeLinkView(
        url=made.url.reveal(),
        name=display_text(made.link.name, limit=LONGEST_NAME),
        expires_text=moment(made.link.expires_at, date=True),
    )
