"""Rechecks logins for long-running calls, such as streams and WebSockets."""

from __future__ import annotations

from collections.abc import Sequence

from portal.clock import Clock
from portal.sessions.directory import Directory, accepting_registration
from portal.sessions.login_access import refusal_of
from portal.stores.model import Login
from portal.stores.store import Store
from portal.time_slices import in_slices


class LiveLogins:
    """Rechecks many logins with one read."""

    def __init__(self, *, store: Store, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    def is_accepted(self, login: Login) -> bool:
        """Whether the current tenant accepts a login: its registration is live and its access rules hold."""
        registered = accepting_registration(self._directory, login) is not None
        return registered and refusal_of(self._directory, login) is None

    async def recheck(
        self, logins: Sequence[Login], *, accepted: Sequence[int | None] | None = None
    ) -> list[Login | None]:
        """Return the stored state of each login; None when its calls must end.

        They must end when the login or its session ended or expired, when the user signed in again, or when
        the tenant no longer accepts the login. One read for all.
        Parameters: accepted, for each login the version that the current tenant has already accepted: this
        version skips the access rules, which may take milliseconds.
        Raises: StoreUnavailable.
        """
        sessions, stored = await self._store.read(
            {login.session for login in logins}, {login.id for login in logins}, now=self._clock()
        )
        found: list[Login | None] = []
        async for login, version in in_slices(zip(logins, accepted or [None] * len(logins), strict=True)):
            current = stored.get(login.id)
            if current is None or login.session not in sessions or current.sign_in != login.sign_in:
                found.append(None)
            else:  # a refresh may have changed the token set and the claims
                found.append(current if current.version == version or self.is_accepted(current) else None)
        return found
