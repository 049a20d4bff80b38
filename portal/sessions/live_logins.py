"""Whether logins that were read before are still good; for calls that go on after they were admitted."""

from __future__ import annotations

from collections.abc import Sequence

from portal.clock import Clock
from portal.sessions.directory import Directory, accepting_registration
from portal.sessions.login_access import refusal_of
from portal.stores.model import Login
from portal.stores.store import Store
from portal.time_slices import in_slices


class LiveLogins:
    """Looks at many logins at once."""

    def __init__(self, *, store: Store, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    def is_accepted(self, login: Login) -> bool:
        """Whether the tenant as it is now accepts a login: its registration is live and its rules hold."""
        registered = accepting_registration(self._directory, login) is not None
        return registered and refusal_of(self._directory, login) is None

    async def as_stored(self, logins: Sequence[Login]) -> list[Login | None]:
        """Return each of these logins, which were read before, as it is now; None when its calls must end.

        They must when the login or its session has ended or expired, when there has been another sign-in
        since, or when the tenant accepts it no longer. One read for all. Raises StoreUnavailable.
        """
        sessions, stored = await self._store.read(
            {login.session for login in logins}, {login.id for login in logins}, now=self._clock()
        )
        found: list[Login | None] = []
        async for login in in_slices(logins):
            now = stored.get(login.id)
            same = now is not None and login.session in sessions and now.sign_in == login.sign_in
            # perhaps with a refreshed token set and other claims
            found.append(now if now is not None and same and self.is_accepted(now) else None)
        return found
