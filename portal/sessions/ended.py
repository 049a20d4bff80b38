"""Who is told that a login ended without its user: see `SessionParts`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from portal.stores.model import Login


class EndReason(StrEnum):
    """Why a login ended. The values are stored with events; the user reads a sentence for each."""

    ENDED_BY_USER = "ended_by_user"
    """The user ended it on another device."""
    BACK_CHANNEL_LOGOUT = "back_channel_logout"
    FRONT_CHANNEL_LOGOUT = "front_channel_logout"
    GLOBAL_TOKEN_REVOCATION = "global_token_revocation"  # noqa: S105 - the name of a reason
    """The provider ended all logins of the user."""
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105 - the name of a reason
    """Its access token expired, and there is no refresh token."""
    REFRESH_REFUSED = "refresh_refused"
    ACCESS_RULE = "access_rule"
    """An access rule no longer holds."""
    PROVIDER_SESSION_ENDED = "provider_session_ended"
    TOO_MANY_SESSIONS = "too_many_sessions"
    """The user had signed in more often than `limits.sessions_per_user` allows; the oldest ended."""
    NOT_STORED = "not_stored"
    """Its new tokens could not be stored."""


Ended = Callable[[Login, EndReason], None]
"""Called with a login that has ended, and the reason."""


def ignore_end(login: Login, reason: EndReason) -> None:
    """Tell nobody."""
