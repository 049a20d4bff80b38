"""The start page: the user's organisations, and ways to find others (docs/decisions/077).

What a user types may be an e-mail address, so it comes in the body of a request: no URL, log or history of
the browser has it. Only the names of a deployment that lists its organisations are in URLs, for its pages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from portal.display_text import display_text
from portal.errors import NotFound, PortalError
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.provider import Provider
from portal.secret import Secret
from portal.tenancy.finding import LONGEST_ADDRESS, email_domain, named, with_domain, with_word
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler
from portal.web.cookies import REMEMBERED_COOKIE
from portal.web.login import LoginStartHandler
from portal.web.remembered import MAX_AGE
from portal.web.sign_in_page import show_sign_in
from portal.web.views import ChooserPage

_PAGE = 24
"""Organisations on a page of the list."""


class _FindingHandler(PageHandler):
    """Base of the handlers that show the start page."""

    async def list_page(self, query: str, number: int) -> ChooserPage:
        """A page of the organisations with a word that begins like `query`; of all, when it is empty."""
        found = await with_word(self.portal.registry.index, query)
        if not query:
            mine = {card.slug for card in self.cards()} | {one.card.slug for one in self.again()}
            found = [tenant for tenant in found if tenant.slug not in mine]
        pages = max(1, -(-len(found) // _PAGE))
        number = min(max(number, 1), pages)
        return self.start_page(
            query, found[(number - 1) * _PAGE : number * _PAGE], total=len(found), number=number, pages=pages
        )

    def start_page(
        self,
        query: str = "",
        found: Sequence[Tenant] = (),
        *,
        total: int | None = None,
        number: int = 1,
        pages: int = 1,
        address: str = "",
    ) -> ChooserPage:
        """The start page with these results; parameters as in ChooserPage."""
        signed_in = {card.slug: card for card in self.cards()}
        return ChooserPage(
            signed_in=self.cards(),
            again=self.again(),
            mode=self.portal.settings.chooser,
            query=query,
            found=tuple(signed_in.get(tenant.slug) or self.card(tenant) for tenant in found),
            total=len(found) if total is None else total,
            number=number,
            pages=pages,
            address=address,
        )


class ChooserHandler(_FindingHandler):
    """`GET /?q=&page=`: the start page. Only a deployment that lists its organisations reads the query."""

    async def get(self) -> None:
        if self.site.tenant is not None:
            self.redirect(f"/t/{self.site.tenant}/", status=303)
            return
        if self.portal.settings.chooser != "list":
            self.show("chooser.html", self.start_page())
            return
        query = display_text(self.get_query_argument("q", ""), limit=LONGEST_ADDRESS)
        number = self.get_query_argument("page", "1")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1
        self.show("chooser.html", await self.list_page(query, page))


class FindHandler(_FindingHandler, LoginStartHandler):
    """`POST /find`: what the user typed, in the field `q`.

    An e-mail address of one organisation leads to its provider at once. With `tenant`, and `provider`, the
    user has chosen one of several. Nothing in a response tells one miss from another.
    """

    shows_page = True

    async def get(self) -> None:
        """The start page: what was typed is in no URL, so this address has no page of its own."""
        self.redirect("/", status=303)

    head = get

    async def post(self) -> None:
        text = display_text(self.get_body_argument("q", ""), limit=LONGEST_ADDRESS)
        index = self.portal.registry.index
        of_domain = self._here(with_domain(index, email_domain(text)))
        if "@" in unicodedata.normalize("NFKC", text):
            await self._sign_in(text, of_domain)
            return
        if self.site.tenant is not None:  # the only one here
            self.redirect(f"/t/{self.site.tenant}/", status=303)
            return
        mode = self.portal.settings.chooser
        if mode == "list":
            self.show("chooser.html", await self.list_page(text, 1))
            return
        of_name = named(index, text) if mode == "search" else []
        found = of_domain + [tenant for tenant in of_name if tenant not in of_domain]
        self.show("chooser.html", self.start_page(text, found))

    async def _sign_in(self, address: str, tenants: list[Tenant]) -> None:
        """Start a login at the organisation of an e-mail address, or let the user choose one."""
        slug = self.get_body_argument("tenant", None)
        if slug is not None:
            tenants = [tenant for tenant in tenants if tenant.slug == slug]
        if len(tenants) != 1:
            self.show("chooser.html", self.start_page(address, tenants, address=address))
            return
        tenant = tenants[0]
        provider = self._provider(tenant)
        if provider is None or not tenant.accepts_logins:
            show_sign_in(self, tenant, address=address)
            return
        await self.start_login(
            tenant,
            provider,
            return_to=f"/t/{tenant.slug}/",
            options=AuthorizationOptions(login_hint=address),
        )

    def _provider(self, tenant: Tenant) -> Provider | None:
        """The provider that the user chose, or the only one; None when the user has to choose."""
        chosen = self.get_body_argument("provider", None)
        if chosen is None:
            return tenant.default_provider if len(tenant.providers) == 1 else None
        if chosen not in tenant.providers:
            raise NotFound(f"tenant {tenant.slug} does not have this provider")
        return tenant.providers[chosen]

    def _here(self, tenants: Sequence[Tenant]) -> list[Tenant]:
        return [tenant for tenant in tenants if self.site.serves(tenant.slug)]

    def retry_url(self, error: PortalError) -> str | None:
        """The start page: this address has no page of its own."""
        return "/"

    def retry_label(self, error: PortalError) -> str:
        return "Back to the start"


class ForgetHandler(PageHandler):
    """`POST /forget`: removes the organisation `tenant` from those that this browser remembers, or all."""

    async def get(self) -> None:
        """The start page, where its form is. Forgets nothing."""
        self.redirect("/", status=303)

    async def post(self) -> None:
        slug = self.get_body_argument("tenant", None)
        kept = [one for one in self.remembered if slug is not None and one.tenant != slug]
        if kept:
            value: Secret = self.portal.remembered.cookie(kept, self.site.origin)
            self.send_cookie(REMEMBERED_COOKIE, value, max_age=MAX_AGE)
        else:
            self.drop_cookie(REMEMBERED_COOKIE)
        self.redirect("/", status=303)
