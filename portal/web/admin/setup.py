"""The page of a setup link, for people who cannot sign in yet.

`GET` binds nothing: mail scanners and previews fetch the addresses in messages. The address contains the
token, so it is in no log, Referer or page (THREATS A2). See
docs/decisions/058-a-setup-link-is-bound-by-a-button.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act
from portal.admin.setup_cookie import BrowserLink, SetupCookie
from portal.admin.setup_link_errors import SetupLinkUnknown
from portal.admin.setup_links import LONGEST_NAME, FoundLink, SetupLinks, is_token
from portal.display_text import display_text
from portal.errors import NotFound, PortalError
from portal.sentences import moment
from portal.web.admin.acts import act_of
from portal.web.base import PageHandler
from portal.web.cookies import SETUP_COOKIE


@dataclass(frozen=True, slots=True)
class SetupPage:
    """`GET /setup/{token}`, before the link is bound to this browser."""

    organisation: str
    slug: str
    name: str
    """Who the link is for; may be empty."""
    expires_text: str
    publishes: bool
    """Whether the link is enough to publish; else an operator publishes what is proposed."""


class SetupHandler(PageHandler):
    """`GET /setup/{token}`: what the link is for; `POST`: bind it to this browser."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def begin(self) -> None:
        """As for every page; a token of another form is refused before the database is asked."""
        super().begin()
        if self.site.tenant is not None:
            raise NotFound("setup links are on the portal's main site only")
        if not is_token(self.path_kwargs["token"]):
            raise SetupLinkUnknown("not of the form of a token")

    def require_own_origin(self) -> None:
        """As for every page, but `Origin: null` needs an XSRF token instead.

        Browsers that do not send Sec-Fetch-Site send it with forms of this page, because of its
        Referrer-Policy (Fetch 3.1).
        """
        headers = self.request.headers
        if headers.get_list("Origin") == ["null"] and not headers.get_list("Sec-Fetch-Site"):
            self.require_xsrf_token()
        else:
            super().require_own_origin()

    async def get(self, token: str) -> None:
        cookie = self._setup_cookie()
        found = await self._links.find(token, cookie, self._act())
        if found.bound:
            await self._open(token, cookie)
            return
        link = found.link
        own = found.own or BrowserLink.new(link.token_hash, link.expires_at)
        self._send_setup_cookie(cookie.with_shown(own))
        self.show("admin/setup.html", await self._page(found))

    async def post(self, token: str) -> None:
        await self._open(token, self._setup_cookie())

    async def _open(self, token: str, cookie: SetupCookie) -> None:
        link, opened = await self._links.open(token, cookie, self._act())
        self._send_setup_cookie(opened)
        self.redirect(f"/admin/t/{link.tenant}/draft", status=303)

    async def _page(self, found: FoundLink) -> SetupPage:
        link = found.link
        live = self.portal.registry.get(link.tenant)
        name = live.name if live is not None else await self._links.organisation(link.tenant)
        return SetupPage(
            organisation=display_text(name, limit=120),
            slug=link.tenant,
            name=display_text(link.name, limit=LONGEST_NAME),
            expires_text=moment(link.expires_at, date=True),
            publishes=self.portal.settings.setup_links == "publish",
        )

    @property
    def _links(self) -> SetupLinks:
        return self.portal.admin.setup_links

    def _setup_cookie(self) -> SetupCookie:
        return SetupCookie.parse(self.read_cookie(SETUP_COOKIE)).live(self.portal.clock())

    def _send_setup_cookie(self, cookie: SetupCookie) -> None:
        self.send_cookie(SETUP_COOKIE, cookie.value(), max_age=cookie.max_age(self.portal.clock()))

    def _act(self) -> Act:
        """What is recorded of this request; the setup link is added as the actor."""
        return act_of(self, Actor(ActorType.SETUP_LINK))

    def retry_url(self, error: PortalError) -> str | None:
        """No button: whoever has a setup link cannot sign in yet."""
        return None
