"""Who may open the console, and what they may do there.

This is decided from what is at hand: the logins of the browser, the live tenants, and the setup link of the
browser's cookie. The tenant that a request names is not looked up, so that neither the response nor its time
tells whether it exists (THREATS T5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from portal.access.accounts import Operator, is_listed
from portal.admin.actors import Actor, ActorType
from portal.admin.file_sign_ins import FileRight, FileSignIns, LiveTenants
from portal.stores.model import Login
from portal.time_slices import in_slices


class Right(StrEnum):
    """What a page of the console needs."""

    VIEW = "view"
    """See the tenant: operators, its admins."""
    DRAFT = "draft"
    """Edit, check and test its draft: operators, its admins, who has a setup link of it."""
    PUBLISH = "publish"
    """Publish a draft, roll back: operators, its admins; a setup link with `setup_links: publish`."""
    LOGINS = "logins"
    """See and end its logins: operators, its admins."""
    DOMAINS = "domains"
    """Add and check host names and e-mail domains: operators, its admins."""
    OPERATE = "operate"
    """Make, suspend and remove tenants, approve domains, make setup links: operators."""


_OF_ADMINS = frozenset(Right) - {Right.OPERATE}


@dataclass(frozen=True, slots=True)
class BoundSetupLink:
    """A live setup link that is bound to the browser of a request. `subject`: who has it, for events."""

    tenant: str
    subject: str


SetupLookup = Callable[[str], Awaitable[BoundSetupLink | None]]
"""Returns the live setup link of a cookie; None for any other cookie. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who opens the console."""

    operator_account: Actor | None = None
    admin_accounts: Mapping[str, Actor] = field(default_factory=dict)
    """By the slug of the tenant that they are an admin of."""
    link: BoundSetupLink | None = None
    link_publishes: bool = False

    @property
    def operator(self) -> bool:
        """Whether this is an operator of the portal."""
        return self.operator_account is not None

    @property
    def admin_of(self) -> frozenset[str]:
        """The slugs of the tenants that this is an admin of."""
        return frozenset(self.admin_accounts)

    @property
    def setup(self) -> str | None:
        """The slug of the tenant of a live setup link that is bound to this browser."""
        return self.link.tenant if self.link is not None else None

    @property
    def opens_console(self) -> bool:
        """Whether there is anything in the overview for this viewer."""
        return self.operator or bool(self.admin_accounts)

    def may(self, right: Right, slug: str | None) -> bool:
        """Whether this viewer has a right at a tenant; None: on pages that are of no tenant."""
        if self.operator:
            return True
        if slug is None:
            return right is Right.VIEW and bool(self.admin_accounts)
        if slug in self.admin_accounts and right in _OF_ADMINS:
            return True
        if slug != self.setup:
            return False
        return right is Right.DRAFT or (right is Right.PUBLISH and self.link_publishes)

    def actor_for(self, slug: str | None) -> Actor:
        """Who acts when this viewer changes a tenant; None: on pages that are of no tenant.

        Raises ValueError for a viewer without any right there.
        """
        if self.operator_account is not None:
            return self.operator_account
        if slug is not None and slug in self.admin_accounts:
            return self.admin_accounts[slug]
        if self.link is not None and self.link.tenant == slug:
            return Actor(ActorType.SETUP_LINK, self.link.subject)
        raise ValueError("this viewer has no right there")


NOBODY = Viewer()


async def _no_setup_links(cookie: str) -> BoundSetupLink | None:
    return None


class Viewers:
    """Finds out who opens the console.

    Parameters: operators, as in the settings; sign_ins, of operators and of admins of files; link_publishes,
    whether who has a setup link may publish; find_setup_link, finds the setup link of a cookie.
    """

    def __init__(
        self,
        tenants: LiveTenants,
        operators: Sequence[Operator],
        *,
        sign_ins: FileSignIns,
        link_publishes: bool = False,
        find_setup_link: SetupLookup = _no_setup_links,
    ) -> None:
        self._tenants = tenants
        self._operators = operators
        self._sign_ins = sign_ins
        self._link_publishes = link_publishes
        self._find_setup_link = find_setup_link

    async def of(self, logins: Sequence[Login], setup_cookie: str | None = None) -> Viewer:
        """Return the viewer with these logins, which must be usable.

        Reads the database once for each login that gives rights of a file, and once for a setup link.
        Parameters: setup_cookie, the value of the cookie of setup links, if the browser has one. Raises
        StoreUnavailable.
        """
        operator, admins = None, {}
        async for login in in_slices(logins):
            if operator is None and await self._is_operator(login):
                operator = Actor(ActorType.OPERATOR, login.subject, login.issuer)
            if await self._is_admin(login):
                admins[login.tenant] = Actor(ActorType.ADMIN, login.subject, login.issuer)
        link = await self._find_setup_link(setup_cookie) if setup_cookie is not None else None
        if operator is None and not admins and link is None:
            return NOBODY
        return Viewer(operator, admins, link, self._link_publishes)

    async def _is_operator(self, login: Login) -> bool:
        """A tenant of the database never has operators: its admins decide what its provider says.

        Nor does a login that was made while it was one: see `portal.admin.file_sign_ins`.
        """
        accounts = [one.account for one in self._operators if one.tenant == login.tenant]
        if not accounts or not self._tenants.is_of_operator(login.tenant):
            return False
        return await self._sign_ins.has(FileRight.OPERATOR, login, accounts)

    async def _is_admin(self, login: Login) -> bool:
        tenant = self._tenants.get(login.tenant)
        if tenant is None or not tenant.admins:
            return False
        of_file = self._tenants.is_of_operator(login.tenant)
        if (
            of_file or self._tenants.get(login.tenant) is not tenant
        ):  # or replaced meanwhile, in another thread
            return await self._sign_ins.has(FileRight.ADMIN, login, tenant.admins)
        return is_listed(tenant.admins, login.provider, login.claims)
