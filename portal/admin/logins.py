"""The logins at a tenant, for its admins: listed page by page, ended one by one or all together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portal.admin.events import Act, EventKind
from portal.admin.login_filter import ANY, LoginFilter
from portal.clock import Clock
from portal.display_text import display_text
from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.sessions.logout import LogoutService
from portal.stores.model import Login, login_id
from portal.stores.tenant_logins import Position, TenantLogin, TenantLogins
from portal.stores.tenant_store import TenantStore
from portal.tenancy.model import Tenant

_DELETED_AT_ONCE = 1000
_READ_AT_ONCE = 200
MOST_SEARCHED = 2_000
"""Logins that one page of a search reads; the next page continues there."""


@dataclass(frozen=True, slots=True)
class ListedLogin:
    """A login, and a reference to it that tells nothing about its session."""

    reference: str
    found: TenantLogin


@dataclass(frozen=True, slots=True)
class LoginPage:
    """Some logins, and the reference of the last one that was read when there are more."""

    logins: tuple[ListedLogin, ...]
    more_after: str | None


class LoginAdmin:
    """Lists and ends logins.

    Who ends a login sees neither its session nor its tokens: a reference is sealed, and of one tenant.
    Only logins that the live tenant accepts are listed: what had its slug before, in the database or in a
    file, may have been of another organisation (THREATS T5).
    Parameters: tenants, the live ones; clock, that of the database.
    """

    def __init__(
        self,
        logins: TenantLogins,
        store: TenantStore,
        *,
        tenants: Callable[[str], Tenant | None],
        logouts: LogoutService,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._logins = logins
        self._store = store
        self._tenants = tenants
        self._logouts = logouts
        self._vault = vault
        self._clock = clock

    async def list(
        self, slug: str, *, after: str | None = None, most: int = 50, matching: LoginFilter = ANY
    ) -> LoginPage:
        """A page of the logins at a tenant, the newest first.

        A search reads at most MOST_SEARCHED logins: a page can have fewer logins than `most`, or none, and
        more after it.
        Parameters: after, a reference; one that cannot be read is the beginning. Raises StoreUnavailable.
        """
        before = self._position(slug, after)
        if not matching:
            found = await self._some(slug, before, most + 1)
            return self._page(found[:most], found[most - 1] if len(found) > most else None)
        live, listed, searched = self._tenants(slug), list[TenantLogin](), 0
        email_claim = live.claims.email if live is not None else None
        while searched < MOST_SEARCHED:
            found = await self._some(slug, before, _READ_AT_ONCE)
            for one in found:
                before = one.position
                if matching.accepts(one, email_claim=email_claim):
                    listed.append(one)
                if len(listed) == most:
                    return self._page(listed, one)
            if len(found) < _READ_AT_ONCE:
                return self._page(listed, None)
            searched += len(found)
        return self._page(listed, found[-1])

    async def count(self, slug: str) -> int:
        """How many logins there are at a tenant. Raises StoreUnavailable."""
        registrations = self._registrations(slug)
        return await self._logins.count(slug, registrations=registrations, now=self._clock())

    async def end(self, slug: str, reference: str, act: Act) -> bool:
        """End one login and revoke its tokens; False when it has ended already.

        The event is stored first, so that no login ends without one. Raises StoreUnavailable.
        """
        place = self._read(slug, reference)
        if place is None:
            return False
        session, signed_in_at = place
        login = await self._logouts.find_login(session, slug, signed_in_at=signed_in_at)
        return login is not None and await self.end_login(login, act)

    async def end_login(self, login: Login, act: Act) -> bool:
        """As `end`, of a login that was read."""
        target = display_text(login.subject, limit=300)
        await self._report(EventKind.LOGIN_ENDED, login.tenant, target, act)
        return await self._logouts.end_found_login(login)

    async def end_all(self, slug: str, act: Act) -> int:
        """End all logins at a tenant; return how many. Raises StoreUnavailable.

        Their tokens are deleted, not revoked: nobody else has them, and a provider could not take thousands
        of requests.
        """
        count = await self.count(slug)
        if not count:  # none that anybody sees, so there is nothing to report
            return await delete_all(self._logins, slug, until=self._clock())
        await self._report(EventKind.LOGINS_ENDED, slug, f"{count} logins", act)
        return await delete_all(self._logins, slug, until=self._clock())

    async def _report(self, kind: EventKind, slug: str, target: str, act: Act) -> None:
        event = act.event(kind, tenant=slug, target=target, at=self._clock())
        await self._store.add_events([event])

    async def _some(self, slug: str, before: Position | None, most: int) -> Sequence[TenantLogin]:
        registrations = self._registrations(slug)
        return await self._logins.list(
            slug, registrations=registrations, before=before, most=most, now=self._clock()
        )

    def _page(self, found: Sequence[TenantLogin], last: TenantLogin | None) -> LoginPage:
        listed = tuple(ListedLogin(self._reference(one), one) for one in found)
        return LoginPage(listed, self._reference(last) if last is not None else None)

    def _position(self, slug: str, reference: str | None) -> Position | None:
        place = self._read(slug, reference) if reference is not None else None
        return Position(place[1], login_id(place[0], slug)) if place is not None else None

    def _registrations(self, slug: str) -> frozenset[str] | None:
        """Those of the live tenant; None, for any, while there is none: then only operators may ask."""
        live = self._tenants(slug)
        if live is None:
            return None
        return frozenset(provider.registration for provider in live.providers.values())

    def _reference(self, found: TenantLogin) -> str:
        login = found.login
        return self._vault.seal(_sealed_for(login.tenant), json.dumps([login.session, login.signed_in_at]))

    def _read(self, slug: str, reference: str) -> tuple[str, float] | None:
        try:
            session, signed_in_at = json.loads(self._vault.open(_sealed_for(slug), reference))
        except (VaultError, ValueError):
            return None
        return str(session), float(signed_in_at)


@dataclass(frozen=True, slots=True)
class StoredTenantLogins:
    """The logins at the tenants of the database. Those of a slug that has a file are the file's tenant's.

    Parameters: clock, that of the database.
    """

    logins: TenantLogins
    has_file: Callable[[str], bool]
    clock: Clock

    async def end(self, slug: str) -> int:
        """End all logins at a tenant; return how many. Raises StoreUnavailable."""
        if self.has_file(slug):
            return 0
        return await delete_all(self.logins, slug, until=self.clock())


async def delete_all(logins: TenantLogins, slug: str, *, until: float) -> int:
    """Delete the logins at a tenant that were made until a time; return how many. Raises StoreUnavailable."""
    ended = 0
    while True:
        some = await logins.delete(slug, signed_in_until=until, most=_DELETED_AT_ONCE)
        ended += some
        if some < _DELETED_AT_ONCE:
            return ended


def _sealed_for(slug: str) -> str:
    return f"login at {slug}"
