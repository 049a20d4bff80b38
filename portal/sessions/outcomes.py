"""What the session service returns to handlers."""

from __future__ import annotations

from dataclasses import dataclass

from portal.oidc.provider import Provider
from portal.sessions.credentials import SessionCookie
from portal.stores.model import Login, Session


@dataclass(frozen=True, slots=True)
class RequestSession:
    """The live session of a request; `login` is its login at the requested tenant."""

    session: Session
    login: Login | None


@dataclass(frozen=True, slots=True)
class FinishedLogin:
    """A new login, its session cookie, and the path to redirect the browser to.

    `cookie`: None when the login is not new: an access token was added to it, and its session's cookie stays.

    `provider`: the one that the login was checked with, even if the tenant changed meanwhile. `replaced`: the
    login of another user that a step-up was for, and that the new login has replaced.
    """

    cookie: SessionCookie | None
    login: Login
    return_to: str
    provider: Provider
    replaced: Login | None = None


@dataclass(frozen=True, slots=True)
class WaitingLogin:
    """A login that waits for the session cookie of another tab: redirect the browser to finish it."""

    reference: str
    """Identifies it; useless without the binding cookie of the browser."""


@dataclass(frozen=True, slots=True)
class InteractiveRetry:
    """The provider refused a silent login: redirect the browser again, for an interactive one."""

    url: str
    provider: Provider


LoginOutcome = FinishedLogin | InteractiveRetry | WaitingLogin
"""What a request that finishes a login attempt results in."""
