"""The base of the console's handlers: who may open a page is decided before anything else.

Nobody is signed in: 401 at every address below /admin/. Somebody is, but may not: 404, as an address that
does not exist. Neither depends on the tenant in the path (THREATS T5, A1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, cast

import structlog

from portal.admin.drafts import OpenDraft
from portal.admin.events import Act
from portal.admin.organisation_name import organisation_name
from portal.admin.services import AdminServices
from portal.admin.tenants import TenantInFile
from portal.admin.viewers import NOBODY, Right
from portal.errors import LoginRequired, NotFound, PortalError
from portal.sentences import message
from portal.web.admin.acts import act_of
from portal.web.admin.form import Form, TextField, read_form
from portal.web.admin.navigation import ConsoleChrome, pages_of
from portal.web.base import PageHandler
from portal.web.cards import unknown_tenant_card
from portal.web.cookies import SETUP_COOKIE
from portal.web.forms import posted_form
from portal.web.kept_form import kept_form
from portal.web.problems import prefers_json


class ConsoleLoginRequired(LoginRequired):
    """Nobody is signed in in this browser."""

    title = "Sign in to open the console"
    advice = "The console is for the operators of this portal and the admins of its organisations."


class AdminHandler(PageHandler):
    """A page of the console. Subclasses state what it needs."""

    right: ClassVar[Right]
    """Checked in `prepare`, for the tenant in the path if there is one."""
    of_database: ClassVar[bool] = False
    """Whether it is for tenants of the database only; for those of a file the response is 409."""
    _allowed = False
    _draft_name = ""
    own_draft = False

    @property
    def services(self) -> AdminServices:
        """The services of the console."""
        return self.portal.admin

    @property
    def path_tenant(self) -> None:
        """None: nothing outside the page shows whether the tenant of the path exists."""
        return

    @property
    def slug(self) -> str | None:
        """The slug in the path; None on pages of no tenant. The tenant may not exist."""
        return cast(dict[str, str], getattr(self, "path_kwargs", {})).get("tenant")

    async def prepare(self) -> None:
        await super().prepare()
        if self.site.tenant is not None:
            raise NotFound("the console is on the portal's main site only")
        slug = self.slug
        cookie = self.read_cookie(SETUP_COOKIE)
        if cookie is not None and not self.viewer.may(self.right, slug):
            self.viewer = await self.services.viewers.of(self.logins, cookie)
        if not self.logins and self.viewer == NOBODY:
            raise ConsoleLoginRequired("nobody is signed in")
        if not self.viewer.may(self.right, slug):
            await self._report_setup_link()
            raise NotFound("this page of the console is not for this viewer")
        self._allowed = True
        if slug is not None:
            structlog.contextvars.bind_contextvars(tenant=slug)
            if self.request.method == "POST" and not self.viewer.operator:
                self.services.changes.count(slug)
            if self.of_database:
                self.require_database(slug)

    async def stored_draft(self, slug: str) -> OpenDraft:
        """Return the draft that the page is about. Raises as `Drafts.get`."""
        return self.note_draft(await self.services.drafts.get(slug))

    def note_draft(self, draft: OpenDraft) -> OpenDraft:
        """Show the name of a draft in the navigation, and who changed it last."""
        self._draft_name = organisation_name(draft.slug, draft.stored)
        me = self.viewer.actor_for(draft.slug).as_json()
        self.own_draft = draft.record is not None and draft.record.author == me
        return draft

    def require_database(self, slug: str) -> None:
        """Raise TenantInFile when the slug belongs to a file."""
        file = self.portal.registry.file_of(slug)
        if file is not None:
            raise TenantInFile(file_name(file.parent.name, file.name))

    async def require_tenant(self, slug: str) -> None:
        """Raise TenantMissing when neither a file nor the database has a tenant with this slug."""
        registry = self.portal.registry
        if registry.get(slug) is None and registry.file_of(slug) is None:
            await self.services.tenants.get(slug)

    def act(self, reason: str = "") -> Act:
        """What is recorded of a change that this request makes."""
        return act_of(self, self.viewer.actor_for(self.slug), reason)

    async def _report_setup_link(self) -> None:
        """Record that a setup link was tried for another tenant, whether that exists or not (THREATS A2)."""
        link = self.viewer.link
        if link is not None and self.slug not in {None, link.tenant}:
            act = act_of(self, self.viewer.actor_for(link.tenant), "another tenant")
            await self.services.setup_links.report_other_tenant(link, act)

    def read_form(self, fields: Iterable[TextField]) -> Form:
        """Read the posted form. Raises BadRequest for what no page of the console sends."""
        return read_form(posted_form(self.request), fields)

    def show_again(self, template: str, page: object) -> None:
        """Show a page again whose form has errors: 422. Another language would lose what was entered."""
        self.set_status(422)
        self.show(template, page, languages=())

    def show(self, template: str, page: object, **more: object) -> None:
        super().show(template, page, **({"console": self._console()} | more))

    def render_error(self, error: PortalError) -> None:
        if isinstance(error, LoginRequired) and not prefers_json(self.request.headers):
            kept = kept_form(self.request, origin=self.site.origin)
            languages: dict[str, object] = {} if kept is None else {"languages": ()}
            self.show("admin/signed_out.html", error, kept=kept, **languages)
            return
        super().render_error(error)

    def retry_url(self, error: PortalError) -> str | None:
        """Back to the overview, for who may open it; a refusal looks as that of any other address."""
        if self._allowed and self.viewer.opens_console:
            return "/admin/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return message("Back to the console") if self._allowed else super().retry_label(error)

    def _console(self) -> ConsoleChrome:
        slug = self.slug
        if not self._allowed or slug is None:
            return ConsoleChrome(self.viewer.operator, self.viewer.opens_console)
        registry = self.portal.registry
        live, in_file = registry.get(slug), registry.file_of(slug) is not None
        return ConsoleChrome(
            operator=self.viewer.operator,
            opens_console=self.viewer.opens_console,
            tenant=self.card(live) if live else unknown_tenant_card(slug, self._draft_name),
            own_draft=self.own_draft,
            pages=pages_of(slug, self.viewer, path=self.request.path, in_file=in_file),
        )


def file_name(folder: str, name: str) -> str:
    """How the console names a tenant file: without the folders above that of the tenants."""
    return f"{folder}/{name}"


class ConsoleMissingHandler(AdminHandler):
    """Every other address below /admin/."""

    right = Right.VIEW

    async def prepare(self) -> None:
        await super().prepare()
        self._allowed = False  # as what is refused
        raise NotFound("no such page of the console")


class ConsoleRedirectHandler(AdminHandler):
    """`GET /admin`: leads to `/admin/`."""

    right = Right.VIEW

    async def get(self) -> None:
        self.redirect("/admin/", status=303)
