"""Whether logins that were read before are still good; for calls that go on after they were admitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from portal.oidc.provider import Provider
from portal.sessions.model import Clock, Login
from portal.sessions.store import Store


class Registrations(Protocol):
    """Knows the live registrations of tenants."""

    def provider(self, tenant: str, provider: str) -> Provider | None:
        """The live registration of that name."""


def is_registered(registrations: Registrations, login: Login) -> bool:
    """Whether the registration that a login was made under is still live."""
    provider = registrations.provider(login.tenant, login.provider)
    return (
        provider is not None
        and provider.registration == login.registration
        and provider.issues_as(login.issuer)  # a directory may have been taken off the list
    )


class LiveLogins:
    """Looks at many logins at once."""

    def __init__(self, *, store: Store, registrations: Registrations, clock: Clock) -> None:
        self._store = store
        self._registrations = registrations
        self._clock = clock

    def is_registered(self, login: Login) -> bool:
        """Whether the registration that a login was made under is still live."""
        return is_registered(self._registrations, login)

    async def are_live(self, logins: Sequence[Login]) -> list[bool]:
        """Tell of each of these logins, which were read before, whether a call of it may go on.

        It may not when the login or its session has ended or expired, when there has been another sign-in
        since, or when its registration is no longer live. One read for all. Raises StoreUnavailable.
        """
        sessions, stored = await self._store.read(
            {login.session for login in logins}, {login.id for login in logins}, now=self._clock()
        )
        return [
            login.session in sessions
            and login.id in stored
            and stored[login.id].sign_in == login.sign_in  # perhaps with a refreshed token set
            and self.is_registered(login)
            for login in logins
        ]
