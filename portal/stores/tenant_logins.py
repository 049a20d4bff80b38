"""The interface of the databases for the logins at a tenant, which its admins see and end.

Arguments are checked as those of `portal.stores.tenant_store`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from portal.stores.argument_checks import require_text
from portal.stores.model import Login
from portal.stores.record_checks import require_numbers, require_short, require_times
from portal.stores.tenant_records import Event


class Position(NamedTuple):
    """The place of a login in the list of a tenant's logins."""

    signed_in_at: float
    login_id: str


class LiveCounts(NamedTuple):
    """How many sessions and logins have not expired."""

    sessions: int
    logins: int


@dataclass(frozen=True, slots=True)
class TenantLogin:
    """A login, and what is known of the browser that has it."""

    login: Login
    last_seen_at: float
    """When its session was used last, at any tenant."""
    device: str

    @property
    def position(self) -> Position:
        """Its place in the list."""
        return Position(self.login.signed_in_at, self.login.id)


class UserKey(NamedTuple):
    """A user of a tenant, as a registration's provider names it."""

    tenant: str
    registration: str
    issuer: str
    subject: str

    @classmethod
    def of(cls, login: Login) -> UserKey:
        """The user of a login."""
        return cls(login.tenant, login.registration, login.issuer, login.subject)


def require_users(users: Sequence[UserKey]) -> None:
    """Raise TypeError or ValueError for what are not users."""
    for one in users:
        require_short(tenant=one.tenant)
        require_text(registration=one.registration, issuer=one.issuer, subject=one.subject)


def by_user(users: Sequence[UserKey], found: Iterable[TenantLogin]) -> Sequence[Sequence[TenantLogin]]:
    """Return the logins of each user, in the order in which they were found."""
    logins: dict[UserKey, list[TenantLogin]] = {one: [] for one in users}
    for one in found:
        logins[UserKey.of(one.login)].append(one)
    return [logins[one] for one in users]


@dataclass(frozen=True, slots=True)
class ExpiredLogin:
    """A login whose time was over, and that nobody ended."""

    tenant: str
    issuer: str
    subject: str
    expired_at: float


Report = Callable[[ExpiredLogin], Event]
"""Makes the event of an expired login. It may run in a thread."""


class FoundLogins(NamedTuple):
    """What a search found in a bounded number of logins."""

    logins: list[TenantLogin]
    more_after: str | None
    """The id after which the search goes on; None when all logins have been searched."""


def require_found(*, session: str, issuer: str, subject: str, after: str, among: int) -> None:
    """Check what logins are searched for. Raises TypeError or ValueError."""
    require_text(session=session, issuer=issuer, subject=subject, after=after)
    require_numbers(among=among)
    if issuer and not subject:
        raise ValueError("an issuer without a subject has no index")


def require_position(before: Position | None) -> None:
    """Raise TypeError or ValueError for what is not a place."""
    if before is not None:
        require_text(login_id=before.login_id)
        require_times(signed_in_at=before.signed_in_at)


def require_registrations(registrations: Collection[str] | None) -> None:
    """Raise TypeError or ValueError for what are not fingerprints of registrations."""
    for registration in registrations or ():
        require_text(registration=registration)


class TenantLogins(Protocol):
    """The logins at a tenant, in all sessions.

    `list` and `stored` return fewer logins than were asked for only if there are no more: damaged ones leave
    no gap.
    """

    async def list(
        self,
        tenant: str,
        *,
        registrations: Collection[str] | None,
        before: Position | None,
        most: int,
        now: float,
    ) -> list[TenantLogin]:
        """The live logins of live sessions, the newest first; `before`: only those after this place.

        Parameters: registrations, of the logins that are listed; None: of any.
        """

    async def of_users(
        self, users: Sequence[UserKey], *, most: int, now: float
    ) -> Sequence[Sequence[TenantLogin]]:
        """The live logins of each of some users in live sessions, the newest first.

        Parameters: most, logins of each user.
        """

    async def stored(self, tenant: str, *, before: Position | None, most: int) -> Sequence[Login]:
        """All stored logins, the newest first: also expired ones, and those of ended sessions.

        For what is stored of a person; nothing else may use a login of it. Parameters: before, as for `list`.
        """

    async def find(
        self, *, session: str, issuer: str, subject: str, after: str, among: int, now: float
    ) -> FoundLogins:
        """The live logins in live sessions, at any tenant, of the next `among` logins, in the order of ids.

        Parameters: session, issuer and subject, empty for any, an issuer only with a subject; after, an id.
        """

    async def count(self, tenant: str, *, registrations: Collection[str] | None, now: float) -> int:
        """How many logins have not expired; some may be of a session that was unused for too long.

        Parameters: registrations, as for `list`.
        """

    async def count_all(self, *, now: float) -> LiveCounts:
        """How many sessions and logins of all tenants have not expired; for metrics.

        Some logins may be of a session that was unused for too long. It reads an index.
        """

    async def end_expired(self, *, most: int, grace: float, report: Report) -> int:
        """Delete logins that expired `grace` seconds ago, or whose session did, and these sessions.

        Up to `most` sessions, with all of their logins, and `most` logins. Each login is reported at most
        once, however many processes call this; that of a process that is killed meanwhile may be lost.
        Return how many entries were deleted.
        """

    async def delete(self, tenant: str, *, signed_in_until: float, most: int) -> int:
        """Delete up to `most` logins that were made until a time; return how many."""
