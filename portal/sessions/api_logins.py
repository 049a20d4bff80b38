"""Logins that only get an access token for one API, and add it to the login that there is."""

from __future__ import annotations

import structlog

from portal.errors import PortalError
from portal.oidc.api_errors import ApiLoginRejected
from portal.oidc.api_target import ApiTarget
from portal.oidc.provider import Authentication, Provider
from portal.sessions.api_tokens import ApiTokens
from portal.sessions.attempts import OpenAttempt
from portal.sessions.outcomes import FinishedLogin, RequestSession
from portal.stores.model import Login

_log = structlog.get_logger("portal.sessions")


async def finish_api_login(
    tokens: ApiTokens,
    attempt: OpenAttempt,
    target: ApiTarget,
    authentication: Authentication,
    *,
    request_session: RequestSession | None,
) -> FinishedLogin:
    """Add the access token of a finished login for an API to the login of the same account.

    Nothing else of the finished login is used: its refresh token and claims are dropped, and not revoked,
    because revoking them ends the whole session at some providers (RFC 7009 2.1). An access token that is not
    added is revoked.
    Parameters: request_session, of the browser. It stays as it is: another tab may have given the browser a
    new cookie since this request was sent, which must not be replaced.
    Raises: ApiLoginRejected; as ApiTokens.add.
    """
    provider = attempt.provider
    try:
        login = _login_of(request_session, provider, authentication)
        await tokens.add(login, provider, target, authentication.tokens)
    except PortalError:
        await tokens.revoke(authentication.tokens, provider)
        raise
    _log.info("api_login_succeeded", tenant=provider.tenant, provider=provider.id, api=target.name)
    return FinishedLogin(None, login, attempt.return_to, provider)


def _login_of(
    request_session: RequestSession | None, provider: Provider, authentication: Authentication
) -> Login:
    """The login that an access token is for. Raises: ApiLoginRejected."""
    login = request_session.login if request_session is not None else None
    if login is None:
        raise ApiLoginRejected("this browser has no login at this organisation any more")
    if (login.provider, login.registration) != (provider.id, provider.registration):
        raise ApiLoginRejected("the login is of another provider")
    if (login.issuer, login.subject) != (authentication.issuer, authentication.subject):
        raise ApiLoginRejected("another account signed in at the provider")
    return login
