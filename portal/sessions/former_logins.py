"""Revokes the tokens of a login that a new one has replaced, as far as the new one has no part in them."""

from __future__ import annotations

from portal.sessions.directory import Directory, live_registration
from portal.sessions.refresh import TokenRefresher
from portal.stores.model import Login


def revoke_former(tokens: TokenRefresher, directory: Directory, former: Login | None, login: Login) -> None:
    """Begin to revoke the tokens of the login that a session had at the tenant, if it had a usable one.

    Of another user or client: all of them. Of the same user: only access tokens of APIs that logins of their
    own have got. Its refresh token stays: the provider may have issued the new one in the same session, which
    ends when either is revoked (RFC 7009 2.1).
    Parameters: login, the new one.
    """
    provider = live_registration(directory, former) if former is not None else None
    if former is None or provider is None:
        return
    dropped = tokens.current(former)
    if _grantee(former) == _grantee(login):
        tokens.revoke_dropped([dropped], None, provider)
    else:
        tokens.revoke_later(dropped, provider)


def _grantee(login: Login) -> tuple[str, str, str]:
    return login.registration, login.issuer, login.subject
