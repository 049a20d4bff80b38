"""Which sign-ins made somebody an operator, or an admin of a tenant of a file.

A tenant can move between the database and a file, and its users stay signed in while issuer and client are
the same. But what the database's tenant said of a user was decided by its admins: so a login gives rights of
a file only when it was checked with the provider of that file. The database remembers this for as long as the
login may live, because other processes and later starts have to know it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import structlog

from portal.access.accounts import AccountRule, Operator, is_listed
from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.oidc.provider import Provider
from portal.stores.model import Login
from portal.tenancy.model import Tenant

_log = structlog.get_logger("portal.console")


class FileRight(StrEnum):
    """What an account of a file's tenant can be."""

    OPERATOR = "operator"
    ADMIN = "admin"


class Memory(Protocol):
    """What the records need of the database; see `portal.stores.store.Store`."""

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        """Store `key`."""

    async def is_remembered(self, key: str, *, now: float) -> bool:
        """Whether `key` is stored."""


class LiveTenants(Protocol):
    """What the records need of the registry."""

    def get(self, slug: str) -> Tenant | None:
        """The live tenant with this slug."""

    def is_of_operator(self, slug: str) -> bool:
        """Whether it comes from a file."""


class FileSignIns:
    """Records sign-ins of operators and of admins of files, and finds them again.

    Parameters: operators, as in the settings; seconds, the longest that a login lives; clock, that of the
    database.
    """

    def __init__(
        self,
        memory: Memory,
        tenants: LiveTenants,
        operators: Sequence[Operator],
        *,
        seconds: float,
        clock: Clock,
    ) -> None:
        self._memory = memory
        self._tenants = tenants
        self._operators = operators
        self._seconds = seconds
        self._clock = clock

    async def record(self, login: Login, provider: Provider) -> None:
        """Record a new login, if its account is an operator or an admin of a file's tenant.

        Parameters: provider, that the login was checked with. Without the database, the login stays one
        without these rights.
        """
        tenant = self._tenants.get(login.tenant)
        if tenant is None or not self._tenants.is_of_operator(login.tenant):
            return
        if self._tenants.get(login.tenant) is not tenant:  # replaced meanwhile, in another thread
            return
        if tenant.providers.get(provider.id) is not provider:  # the file's tenant is newer than the check
            return
        rules = {
            FileRight.OPERATOR: [one.account for one in self._operators if one.tenant == login.tenant],
            FileRight.ADMIN: tenant.admins,
        }
        for right, accounts in rules.items():
            if is_listed(accounts, login.provider, login.claims):
                await self._remember(right, login)

    async def has(self, right: FileRight, login: Login, accounts: Sequence[AccountRule]) -> bool:
        """Whether an account has a right at a file's tenant now, and had it when it signed in.

        Parameters: accounts, who has it. Raises StoreUnavailable; asks the database only for these accounts.
        """
        if not accounts or not is_listed(accounts, login.provider, login.claims):
            return False
        return await self._memory.is_remembered(_key(right, login), now=self._clock())

    async def _remember(self, right: FileRight, login: Login) -> None:
        until = login.signed_in_at + self._seconds
        try:
            await self._memory.remember_once(_key(right, login), expires_at=until, now=self._clock())
        except StoreUnavailable as error:
            _log.warning("sign_in_without_rights", tenant=login.tenant, right=right, code=error.code)


def _key(right: FileRight, login: Login) -> str:
    """Stays the same when the login is refreshed, and is another one for every sign-in."""
    signed_in = json.dumps([right, login.provider, *login.sign_in])
    return f"file-sign-in:{hashlib.sha256(signed_in.encode()).hexdigest()}"
