"""The account page: what each organisation says of the user, and the user's logins on all devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from portal.admin.actors import Actor, ActorType
from portal.admin.events import EventKind
from portal.display_text import display_text
from portal.errors import BadRequest, LoginRequired
from portal.sentences import message, moment
from portal.sessions.ended import EndReason
from portal.sessions.user_logins import UserLogin
from portal.stores.model import Login
from portal.stores.tenant_records import Event
from portal.tenancy.model import Tenant
from portal.web.account_views import AccountDevice, AccountEvent, AccountLogin, AccountPage
from portal.web.admin.acts import act_of
from portal.web.base import PageHandler
from portal.web.browser_name import browser_name
from portal.web.cards import roles_of
from portal.web.forms import posted_form
from portal.web.views import ClaimRow, TenantCard

_MOST_DETAILED = 20
"""Tenants whose details fit on one page."""
_MOST_DEVICES = 20
_MOST_RECENT = 10
_MOST_ENDED = 1_000_000
_LONGEST_REFERENCE = 64
_USED = ((5 * 60, "minutes"), (3600, "hour"), (86_400, "day"), (7 * 86_400, "week"))
"""Seconds since the last use, and its name on the page: nobody needs it to the second."""
_BY_PROVIDER = message("The organisation’s sign-in service ended it.")
_WHY_ENDED: Mapping[str, str] = MappingProxyType(
    {
        EndReason.ENDED_BY_USER: message("You ended it from another browser."),
        EndReason.BACK_CHANNEL_LOGOUT: _BY_PROVIDER,
        EndReason.FRONT_CHANNEL_LOGOUT: _BY_PROVIDER,
        EndReason.GLOBAL_TOKEN_REVOCATION: _BY_PROVIDER,
        EndReason.PROVIDER_SESSION_ENDED: _BY_PROVIDER,
        EndReason.NO_REFRESH_TOKEN: message("It had expired, and could not be renewed."),
        EndReason.REFRESH_REFUSED: message("The organisation’s sign-in service did not renew it."),
        EndReason.ACCESS_RULE: message("Your account may no longer sign in at this organisation."),
        EndReason.TOO_MANY_SESSIONS: message("You had signed in on too many devices; the oldest ended."),
        EndReason.NOT_STORED: message("The portal could not renew it."),
    }
)
"""What the user reads. Events of earlier versions have other reasons, which are details of logs."""


class AccountHandler(PageHandler):
    """`GET /account`: `?tenant=` shows the details of one tenant only."""

    async def get(self) -> None:
        session = self.request_session.session if self.request_session else None
        cards = self.cards()
        asked = self.get_query_argument("tenant", "")
        detailed = [card for card in cards if card.slug == asked] or cards[:_MOST_DETAILED]
        found = {login.tenant: login for login in self.logins}
        logins = [found[card.slug] for card in detailed]
        listed = await self.portal.user_logins.list_each(logins, most=_MOST_DEVICES + 1)
        details = [self._details(*one) for one in zip(detailed, logins, listed, strict=True)]
        self.show(
            "account.html",
            AccountPage(
                logins=tuple(one for one in details if one is not None),
                unlisted=tuple(card for card in cards if card not in detailed),
                session_expires_text=(
                    moment(session.absolute_expires_at, date=True) if session is not None else ""
                ),
                ended=_number(self.get_query_argument("ended", "")),
                recent=await self._recent(detailed, logins),
            ),
        )

    def _details(self, card: TenantCard, login: Login, listed: Sequence[UserLogin]) -> AccountLogin | None:
        tenant = self.portal.registry.get(login.tenant)
        if tenant is None:  # it was removed meanwhile
            return None
        email = login.claims.get(tenant.claims.email)
        return AccountLogin(
            card=card,
            email=display_text(email, limit=254) if isinstance(email, str) else "",
            roles=roles_of(tenant, login),
            claims=chosen_claims(tenant, login),
            signed_in_at_text=moment(login.signed_in_at, date=True),
            expires_text=moment(login.expires_at, date=True),
            devices=tuple(_device(one, self.portal.clock()) for one in listed[:_MOST_DEVICES]),
            others=sum(not one.is_own for one in listed),
            more=len(listed) > _MOST_DEVICES,
        )

    async def _recent(
        self, detailed: Sequence[TenantCard], logins: Sequence[Login]
    ) -> tuple[AccountEvent, ...]:
        """What happened to the user's logins at these tenants last."""
        cards = {card.slug: card for card in detailed}
        events = await self.portal.user_events.recent(logins, most=_MOST_RECENT)
        return tuple(_event(cards[one.tenant], one) for one in events)


class AccountFormHandler(PageHandler):
    """A form of the account page, about one tenant that this browser is signed in to."""

    async def get(self) -> None:
        """The account page, where the form is. Ends nothing."""
        self.redirect("/account", status=303)

    def login_of_form(self) -> Login:
        """The login of this browser at the tenant of the form. Raises LoginRequired, BadRequest."""
        slug = self.field("tenant", longest=63)
        login = next((one for one in self.logins if one.tenant == slug), None)
        if login is None or not self.site.serves(slug):
            raise LoginRequired("no login of this browser at the tenant of the form")
        return login

    def field(self, name: str, *, longest: int) -> str:
        """The only value of a field. Raises BadRequest."""
        values = posted_form(self.request).get(name, [])
        if len(values) != 1 or not 0 < len(values[0]) <= longest:
            raise BadRequest(f"the form has no {name}")
        return values[0]

    def redirect_after(self, ended: Sequence[Login]) -> None:
        """Record what has ended, and redirect the browser to the page, which says how many."""
        for login in ended:
            act = act_of(self, Actor(ActorType.USER))
            self.portal.user_events.session_ended(login, EndReason.ENDED_BY_USER, act)
        self.redirect(f"/account?ended={len(ended)}", status=303)


class EndLoginHandler(AccountFormHandler):
    """`POST /account/end`: ends one other login of the user."""

    async def post(self) -> None:
        reference = self.field("login", longest=_LONGEST_REFERENCE)
        self.redirect_after(await self.portal.user_logins.end(self.login_of_form(), reference))


class EndOtherLoginsHandler(AccountFormHandler):
    """`POST /account/end-others`: ends all other logins of the user at a tenant."""

    async def post(self) -> None:
        self.redirect_after(await self.portal.user_logins.end_others(self.login_of_form()))


def chosen_claims(tenant: Tenant, login: Login) -> tuple[ClaimRow, ...]:
    """The claims that the tenant shows or gives to pages, except those that the page shows anyway."""
    shown: Iterable[str] = dict.fromkeys((*tenant.claims.show, *tenant.claims.page))
    others = {tenant.claims.name, tenant.claims.email, tenant.claims.roles}
    return tuple(
        ClaimRow(
            display_text(name, limit=100), display_text(login.claims[name], limit=1000, line_breaks=True)
        )
        for name in shown
        if name in login.claims and name not in others
    )


def _device(one: UserLogin, now: float) -> AccountDevice:
    age = now - one.found.last_seen_at
    return AccountDevice(
        reference=one.reference,
        browser=browser_name(one.found.device),
        last_used=next((name for seconds, name in _USED if age < seconds), "longer"),
        signed_in_at_text=moment(one.found.login.signed_in_at, date=True),
        is_own=one.is_own,
    )


def _event(card: TenantCard, event: Event) -> AccountEvent:
    return AccountEvent(
        tenant=card.name,
        kind={EventKind.SIGNED_IN: "in", EventKind.SIGNED_OUT: "out"}.get(EventKind(event.kind), "ended"),
        at_text=moment(event.at, date=True),
        browser=browser_name(event.device),
        network=display_text(event.client, limit=60),
        reason=_WHY_ENDED.get(event.reason, ""),
    )


def _number(text: str) -> int | None:
    """A number of the URL; None when it is not one."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return min(int(text), _MOST_ENDED)
