"""The logins at all tenants, for operators: a search, and the end of one, of a session, or of a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from portal.admin.events import Act
from portal.admin.login_filter import LoginFilter
from portal.admin.logins import ListedLogin, LoginAdmin, LoginPage
from portal.clock import Clock
from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.stores.tenant_logins import TenantLogin, TenantLogins
from portal.tenancy.model import Tenant

_READ_AT_ONCE = 200
MOST_SEARCHED = 2_000
"""Logins that one page of a search reads; the next page continues there."""
_ENDED_AT_ONCE = 10
"""Each sends a request to its provider."""
_SEALED_FOR = "login at any tenant"


class Scope(StrEnum):
    """What ends together with a login."""

    LOGIN = "login"
    """Nothing else."""
    SESSION = "session"
    """Every login in the same session of a browser."""
    PERSON = "person"
    """Every login of the same subject of the same issuer, at any tenant and in any browser."""


@dataclass(frozen=True, slots=True)
class LoginReference:
    """Names a login, its session and its person."""

    tenant: str
    session: str
    issuer: str
    subject: str
    signed_in_at: float

    def names(self, found: TenantLogin, scope: Scope) -> bool:
        """Whether a login ends with this one. Those that are found have its session or its person."""
        login = found.login
        if scope is Scope.LOGIN:
            return (login.tenant, login.signed_in_at) == (self.tenant, self.signed_in_at)
        return True


class AllLogins:
    """Searches and ends logins at all tenants.

    Logins that a live tenant does not accept are not listed: what had its slug before may have been another
    organisation. Parameters: tenants, the live ones; clock, that of the database.
    """

    def __init__(
        self,
        logins: TenantLogins,
        admin: LoginAdmin,
        *,
        tenants: Callable[[str], Tenant | None],
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._logins = logins
        self._admin = admin
        self._tenants = tenants
        self._vault = vault
        self._clock = clock

    async def search(self, matching: LoginFilter, *, after: str | None = None, most: int = 50) -> LoginPage:
        """A page of the logins that match, in no order that means anything.

        It reads at most MOST_SEARCHED logins: a page can have fewer than `most`, or none, and more after it.
        `matching.user` is a subject. Parameters: after, as `LoginPage.more_after`; one that cannot be read is
        the beginning. Raises StoreUnavailable.
        """
        listed: list[ListedLogin] = []
        place: str | None = self._opened(after) or ""
        searched = 0
        while place is not None and searched < MOST_SEARCHED:
            found = await self._logins.find(
                session=matching.session,
                issuer=matching.issuer if matching.user else "",
                subject=matching.user,
                after=place,
                among=_READ_AT_ONCE,
                now=self._clock(),
            )
            for one in found.logins:
                if matching.accepts(one, email_claim=None) and self._is_accepted(one):
                    listed.append(ListedLogin(self._reference(one), one))
                if len(listed) == most:
                    return LoginPage(tuple(listed), self._sealed(one.login.id))
            searched += _READ_AT_ONCE
            place = found.more_after
        return LoginPage(tuple(listed), None if place is None else self._sealed(place))

    def read(self, reference: str) -> LoginReference | None:
        """What a reference of `search` names; None for any other text."""
        text = self._opened(reference)
        try:
            return LoginReference(*json.loads(text or ""))
        except (ValueError, TypeError):
            return None

    async def named(self, reference: LoginReference, scope: Scope) -> list[TenantLogin]:
        """The live logins that would end, at most a few hundred. Raises StoreUnavailable."""
        async for some in self._pages(reference, scope):
            return list(some)
        return []

    async def end(self, reference: LoginReference, scope: Scope, act: Act) -> int:
        """End logins and revoke their tokens; return how many.

        Each is an event of its tenant, which is stored first. Raises StoreUnavailable.
        """
        ended = 0
        async for some in self._pages(reference, scope):
            for start in range(0, len(some), _ENDED_AT_ONCE):
                ending = (
                    self._admin.end_login(one.login, act) for one in some[start : start + _ENDED_AT_ONCE]
                )
                ended += sum(await asyncio.gather(*ending))
        return ended

    async def _pages(self, reference: LoginReference, scope: Scope) -> AsyncIterator[Sequence[TenantLogin]]:
        person = scope is Scope.PERSON
        place: str | None = ""
        while place is not None:
            found = await self._logins.find(
                session="" if person else reference.session,
                issuer=reference.issuer if person else "",
                subject=reference.subject if person else "",
                after=place,
                among=_READ_AT_ONCE,
                now=self._clock(),
            )
            yield [one for one in found.logins if reference.names(one, scope)]
            place = found.more_after

    def _is_accepted(self, found: TenantLogin) -> bool:
        live = self._tenants(found.login.tenant)
        return live is None or any(
            provider.registration == found.login.registration for provider in live.providers.values()
        )

    def _reference(self, found: TenantLogin) -> str:
        login = found.login
        fields = [login.tenant, login.session, login.issuer, login.subject, login.signed_in_at]
        return self._sealed(json.dumps(fields))

    def _sealed(self, text: str) -> str:
        return self._vault.seal(_SEALED_FOR, text)

    def _opened(self, text: str | None) -> str | None:
        try:
            return None if text is None else self._vault.open(_SEALED_FOR, text)
        except VaultError:
            return None
