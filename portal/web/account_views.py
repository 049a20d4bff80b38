"""The data of the account page."""

from __future__ import annotations

from dataclasses import dataclass

from portal.web.views import ClaimRow, TenantCard


@dataclass(frozen=True, slots=True)
class AccountDevice:
    """A login of the user on some device. Bounded text."""

    reference: str
    """Names it in the form that ends it."""
    browser: str
    """Browser and system, such as `Firefox on Linux`; empty when they are not known."""
    last_used: str
    """When it was used last: `minutes`, `hour`, `day`, `week` or `longer` ago."""
    signed_in_at_text: str
    is_own: bool
    """Whether it is that of this browser."""


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """What an organisation says of the user, and where the user is signed in there. Bounded text."""

    card: TenantCard
    email: str
    roles: tuple[str, ...]
    claims: tuple[ClaimRow, ...]
    """Those that the tenant chose (`claims.show`, `claims.page`)."""
    signed_in_at_text: str
    expires_text: str
    """When the login ends at the latest."""
    devices: tuple[AccountDevice, ...]
    others: int
    """How many of the devices are not this browser."""
    more: bool
    """Whether there are devices that are not listed."""


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """A sign-in of the user, or the end of one. Bounded text."""

    tenant: str
    """The name of the organisation."""
    kind: str
    """`in`, `out`, or `ended` when somebody or something else ended it."""
    at_text: str
    browser: str
    """As `AccountDevice.browser`."""
    network: str
    """The network of the request; empty when no browser sent it."""
    reason: str
    """Why it ended, a message; empty when nobody needs to know, or nobody knows."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """`GET /account`: the tenants that this browser is signed in to, and the user's logins there."""

    logins: tuple[AccountLogin, ...] = ()
    unlisted: tuple[TenantCard, ...] = ()
    """Tenants whose details are on a page of their own: there are too many for one."""
    session_expires_text: str = ""
    ended: int | None = None
    """How many logins the user has just ended; None: the user has ended none."""
    recent: tuple[AccountEvent, ...] = ()
    """The last sign-ins and their ends, the newest first."""
