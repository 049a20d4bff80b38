"""When providers have ended all logins of a user, so that no login stays that was being made meanwhile.

A revocation deletes the logins that are stored. A login whose code has been sent to the provider by then is
not stored yet. So the revocation is recorded first; and whoever has stored a login looks for one since the
exchange of its code began. Either the revocation finds the login, or the login finds the revocation.
"""

from __future__ import annotations

from portal.oidc.errors import LoginRejected
from portal.oidc.global_revocation import RevokedSubject, SubjectFormat
from portal.sessions.credentials import digest
from portal.stores.model import Login
from portal.stores.store import Store

_REMEMBERED_SECONDS = 3600.0
"""Longer than any sign-in takes from the exchange of its code until it is stored."""
_TICK = 0.001
"""The database's clock counts milliseconds: a revocation in the same one counts."""


class LoginRevoked(LoginRejected):
    """The provider ended all logins of the user while this one was being made; it has ended.

    `cookie` is the new session cookie value (a Secret), if the login replaced that of the browser: without it
    the browser would lose its other logins.
    """

    status = 403
    code = "login_revoked"
    title = "Your sign-in was ended"
    advice = "Your organisation ended all your sign-ins while you signed in. Start the sign-in again."

    def __init__(self, detail: str = "", *, cookie: object = None) -> None:
        super().__init__(detail)
        self.cookie = cookie


class RevokedUsers:
    """Remembers the last revocation of each user for an hour."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, tenant: str, issuer: str, subject: RevokedSubject) -> None:
        """Record a revocation, before its logins are deleted. Raises StoreUnavailable."""
        kind = SubjectFormat.EMAIL if subject.format is SubjectFormat.EMAIL else SubjectFormat.ISS_SUB
        until = self._store.time() + _REMEMBERED_SECONDS
        # An entry of an earlier revocation counts as expired at this time, so it is replaced.
        await self._store.remember_once(
            _key(tenant, issuer, kind, subject.value), expires_at=until, now=until
        )

    async def is_revoked(self, login: Login, *, email: object, since: float) -> bool:
        """Whether there was a revocation of the user of a login since a time of the database's clock.

        Parameters: email, the e-mail address of the login. Raises StoreUnavailable.
        """
        keys = [_key(login.tenant, login.issuer, SubjectFormat.ISS_SUB, login.subject)]
        if isinstance(email, str):
            keys.append(_key(login.tenant, login.issuer, SubjectFormat.EMAIL, email))
        after = since + _REMEMBERED_SECONDS - _TICK
        for key in keys:
            if await self._store.is_remembered(key, now=after):
                return True
        return False


def _key(tenant: str, issuer: str, kind: SubjectFormat, value: str) -> str:
    return digest(f"revoked user\0{tenant}\0{issuer}\0{kind}\0{value}")
