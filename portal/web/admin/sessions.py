"""The logins at a tenant: who is signed in, and ending it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from portal.admin.login_filter import LONGEST_VALUE, LoginFilter
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.errors import BadRequest
from portal.sentences import message, moment, plural_sentence
from portal.stores.model import Login
from portal.stores.tenant_logins import TenantLogin
from portal.tenancy.model import Tenant
from portal.web.admin.base import AdminHandler
from portal.web.admin.fields import REASON_FIELD
from portal.web.admin.form import FieldView, Form, empty_form
from portal.web.cards import account_name
from portal.web.forms import posted_form

_LONGEST_REFERENCE = 1_000
_SEARCHED = ("user", "device", "issuer")
"""Parameters of the address; an admin does not see the ids of sessions."""
_NOTICES = {"one": message("The login has ended."), "gone": message("That login had ended already.")}


@dataclass(frozen=True, slots=True)
class LoginRow:
    """A login in the list. Bounded text."""

    reference: str
    user: str
    email: str
    subject: str
    provider: str
    signed_in: str
    last_used: str
    device: str


@dataclass(frozen=True, slots=True)
class SessionsPage:
    """`GET /admin/t/{tenant}/sessions`."""

    slug: str
    rows: tuple[LoginRow, ...]
    search: LoginFilter
    total: int
    notice: str
    reason: FieldView
    earlier_url: str | None
    later_url: str | None

    @property
    def longest(self) -> int:
        """Characters of a value to search for."""
        return LONGEST_VALUE


class SessionsHandler(AdminHandler):
    """`GET /admin/t/{tenant}/sessions`: the logins at a tenant, the newest first, or those of a search."""

    right = Right.LOGINS

    async def get(self, tenant: str) -> None:
        await self.show_list(tenant, empty_form((REASON_FIELD,)))

    async def show_list(self, tenant: str, form: Form) -> None:
        """Show the page. Parameters: form, the reason for ending all logins."""
        await self.require_tenant(tenant)
        after = self.get_query_argument("after", None)
        if after is not None and len(after) > _LONGEST_REFERENCE:
            after = None
        search = self._search()
        async with self.services.searches.turn(tenant):
            listed = await self.services.logins.list(tenant, after=after, matching=search)
            total = await self.services.logins.count(tenant)
        live = self.portal.registry.get(tenant)
        base, searched = f"/admin/t/{tenant}/sessions", _query_of(search)
        page = SessionsPage(
            slug=tenant,
            rows=tuple(login_row(live, one.found, one.reference) for one in listed.logins),
            search=search,
            total=total,
            notice=self._notice(),
            reason=form.views()["reason"],
            earlier_url=_address(base, searched) if after is not None else None,
            later_url=_address(base, searched | {"after": listed.more_after}) if listed.more_after else None,
        )
        if form.errors:
            self.show_again("admin/sessions.html", page)
        else:
            self.show("admin/sessions.html", page)

    def _search(self) -> LoginFilter:
        values = {name: self.get_query_argument(name, "").strip() for name in _SEARCHED}
        if any(len(value) > LONGEST_VALUE for value in values.values()):
            raise BadRequest("a value to search for is too long")
        return LoginFilter(**values)

    def _notice(self) -> str:
        done = self.get_query_argument("ended", "")
        if done in _NOTICES:
            return _NOTICES[done]
        if done.isascii() and done.isdigit() and len(done) < 10:
            return plural_sentence("One login has ended.", "%(count)s logins have ended.", int(done))
        return ""


def _query_of(search: LoginFilter) -> dict[str, str]:
    return {name: value for name in _SEARCHED if (value := getattr(search, name))}


def _address(base: str, query: dict[str, str]) -> str:
    return f"{base}?{urlencode(query)}" if query else base


class EndLoginHandler(AdminHandler):
    """`POST /admin/t/{tenant}/sessions/end`: ends one login and revokes its tokens."""

    right = Right.LOGINS

    async def post(self, tenant: str) -> None:
        await self.require_tenant(tenant)
        references = posted_form(self.request).get("login", [])
        if len(references) != 1 or len(references[0]) > _LONGEST_REFERENCE:
            raise BadRequest("the form names no login")
        ended = await self.services.logins.end(tenant, references[0], self.act())
        self.redirect(f"/admin/t/{tenant}/sessions?ended={'one' if ended else 'gone'}", status=303)


class EndAllLoginsHandler(SessionsHandler):
    """`POST /admin/t/{tenant}/sessions/end-all`: ends all logins at a tenant."""

    async def get(self, tenant: str) -> None:
        self.redirect(f"/admin/t/{tenant}/sessions", status=303)

    async def post(self, tenant: str) -> None:
        form = self.read_form((REASON_FIELD,))
        if form.errors:
            await self.show_list(tenant, form)
            return
        await self.require_tenant(tenant)
        ended = await self.services.logins.end_all(tenant, self.act(form["reason"]))
        self.redirect(f"/admin/t/{tenant}/sessions?ended={ended}", status=303)


def login_row(live: Tenant | None, found: TenantLogin, reference: str) -> LoginRow:
    """A login in a list. Parameters: live, its tenant, if that is served."""
    login = found.login
    return LoginRow(
        reference=reference,
        user=account_name(live, login.claims, login.subject) if live else display_text(login.subject, 120),
        email=_email(live, login),
        subject=display_text(login.subject, limit=255),
        provider=_provider(live, login),
        signed_in=moment(login.signed_in_at, date=True),
        last_used=moment(found.last_seen_at, date=True),
        device=display_text(found.device, limit=120),
    )


def _email(live: Tenant | None, login: Login) -> str:
    value = login.claims.get(live.claims.email) if live is not None else None
    return display_text(value, limit=254) if isinstance(value, str) else ""


def _provider(live: Tenant | None, login: Login) -> str:
    provider = live.providers.get(login.provider) if live is not None else None
    label = provider.label if provider is not None else None
    return display_text(label or login.issuer, limit=255)
