"""The logins at all tenants, for operators: a search, and the end of one, of a session, or of a person."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from portal.admin.all_logins import LoginReference, Scope
from portal.admin.login_filter import LONGEST_VALUE, LoginFilter
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.errors import BadRequest
from portal.sentences import plural_sentence
from portal.stores.tenant_logins import TenantLogin
from portal.web.admin.base import AdminHandler
from portal.web.admin.fields import REASON_FIELD
from portal.web.admin.form import FieldView, Form, empty_form
from portal.web.admin.sessions import LoginRow, login_row
from portal.web.forms import posted_form

_BASE = "/admin/sessions"
_SEARCHED = ("user", "session", "device")
"""Parameters of the address. The page shows no id of a session, which is a part of its cookie: the command
`portal session list` prints it.
"""
_LONGEST_REFERENCE = 32_000
"""Characters: the longest issuer and subject, sealed."""
_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class AnyLoginRow:
    """A login in the list. Bounded text."""

    tenant: str
    issuer: str
    login: LoginRow
    end_urls: tuple[tuple[str, str], ...]
    """Each scope, and the page that confirms its end."""


@dataclass(frozen=True, slots=True)
class AllSessionsPage:
    """`GET /admin/sessions`."""

    rows: tuple[AnyLoginRow, ...]
    search: LoginFilter
    notice: str
    earlier_url: str | None
    later_url: str | None

    @property
    def longest(self) -> int:
        """Characters of a value to search for."""
        return LONGEST_VALUE


@dataclass(frozen=True, slots=True)
class EndSessionsPage:
    """`GET /admin/sessions/end`: what would end."""

    scope: str
    reference: str
    rows: tuple[AnyLoginRow, ...]
    more: bool
    """Whether there are more than are shown."""
    reason: FieldView


class AllSessionsHandler(AdminHandler):
    """`GET /admin/sessions`: the logins at all tenants, or those of a search."""

    right = Right.OPERATE

    async def get(self) -> None:
        after = self.get_query_argument("after", None)
        if after is not None and len(after) > _LONGEST_REFERENCE:
            after = None
        values = {name: self.get_query_argument(name, "").strip() for name in _SEARCHED}
        if any(len(value) > LONGEST_VALUE for value in values.values()):
            raise BadRequest("a value to search for is too long")
        async with self.services.searches.turn(""):
            found = await self.services.all_logins.search(LoginFilter(**values), after=after)
        searched = {name: value for name, value in values.items() if value}
        page = AllSessionsPage(
            rows=tuple(self.row(one.found, one.reference) for one in found.logins),
            search=LoginFilter(**values),
            notice=self._notice(),
            earlier_url=_address(_BASE, searched) if after is not None else None,
            later_url=_address(_BASE, searched | {"after": found.more_after}) if found.more_after else None,
        )
        self.show("admin/all_sessions.html", page)

    def row(self, found: TenantLogin, reference: str) -> AnyLoginRow:
        """A login in a list. Parameters: reference, empty for one that is only shown."""
        login = found.login
        scopes = Scope if reference else ()
        return AnyLoginRow(
            tenant=login.tenant,
            issuer=display_text(login.issuer, limit=255),
            login=login_row(self.portal.registry.get(login.tenant), found, reference),
            end_urls=tuple(
                (scope.value, _address(f"{_BASE}/end", {"scope": scope.value, "login": reference}))
                for scope in scopes
            ),
        )

    def _notice(self) -> str:
        ended = self.get_query_argument("ended", "")
        if ended.isascii() and ended.isdigit() and len(ended) < 10:
            return plural_sentence("One login has ended.", "%(count)s logins have ended.", int(ended))
        return ""


class EndSessionsHandler(AllSessionsHandler):
    """`GET`, `POST /admin/sessions/end`: asks for a reason, and ends what was chosen."""

    async def get(self) -> None:
        if not self.request.query:  # the language of a page that answered a POST was changed
            self.redirect(_BASE, status=303)
            return
        scope, reference, _ = self._chosen(
            self.get_query_arguments("scope"), self.get_query_arguments("login")
        )
        await self._confirm(scope, reference, empty_form((REASON_FIELD,)))

    async def post(self) -> None:
        fields = posted_form(self.request)
        scope, reference, named = self._chosen(fields.get("scope", []), fields.get("login", []))
        form = self.read_form((REASON_FIELD,))
        if form.errors:
            await self._confirm(scope, reference, form)
            return
        ended = await self.services.all_logins.end(named, scope, self.act(form["reason"]))
        self.redirect(f"{_BASE}?ended={ended}", status=303)

    def _chosen(self, scopes: list[str], references: list[str]) -> tuple[Scope, str, LoginReference]:
        """What a page of the console has chosen. Raises BadRequest for anything else."""
        if len(scopes) != 1 or scopes[0] not in set(Scope) or len(references) != 1:
            raise BadRequest("the form names no login")
        reference = references[0]
        named = self.services.all_logins.read(reference) if len(reference) <= _LONGEST_REFERENCE else None
        if named is None:
            raise BadRequest("the form names no login")
        return Scope(scopes[0]), reference, named

    async def _confirm(self, scope: Scope, reference: str, form: Form) -> None:
        _, _, named = self._chosen([scope], [reference])
        found = await self.services.all_logins.named(named, scope)
        page = EndSessionsPage(
            scope=scope.value,
            reference=reference,
            rows=tuple(self.row(one, "") for one in found[:_MOST_NAMED]),
            more=len(found) > _MOST_NAMED,
            reason=form.views()["reason"],
        )
        if form.errors:
            self.show_again("admin/end_sessions.html", page)
        else:
            self.show("admin/end_sessions.html", page)


def _address(base: str, query: dict[str, str]) -> str:
    return f"{base}?{urlencode(query)}" if query else base
