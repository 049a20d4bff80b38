"""Stores a finished login: in the session of the browser, or in a new one.

Every login gives the session a new secret (THREATS L6). When two logins of a browser finish at the same
moment, in two tabs, the response of one makes the cookie of the other invalid. The second login gets a
session of its own, and waits there until the browser has the new cookie of the first: see `waiting_logins`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Protocol

from portal.clock import Clock
from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.oidc.errors import TokenResponseMalformed
from portal.oidc.provider import Authentication, Provider, TokenSet
from portal.sessions.credentials import AnyCookie, SessionCookie
from portal.sessions.directory import Directory
from portal.sessions.idle_limits import expiry
from portal.sessions.login_size import check_login_size
from portal.sessions.login_storing import add_session, add_to_session
from portal.sessions.outcomes import RequestSession
from portal.sessions.reader import BatchedReader
from portal.sessions.session_expiry import limited
from portal.stores.model import Login, Session, login_id
from portal.stores.store import Store


class OpenSession(Protocol):
    """`SessionService.open_session`."""

    async def __call__(
        self, cookie: AnyCookie, tenant: str | None = None, *, extend: bool = True
    ) -> RequestSession | None: ...


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login that was stored, and the cookie of its session."""

    cookie: SessionCookie
    login: Login
    waits: bool = False
    """Whether it is in a session of its own, because another login has just replaced the browser's cookie."""


class NewLogins:
    """Stores finished logins. Parameters: idle and absolute, limits of a session in seconds."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        directory: Directory,
        reader: BatchedReader,
        clock: Clock,
        open_session: OpenSession,
        idle: float,
        absolute: float,
    ) -> None:
        self._store = store
        self._vault = vault
        self._directory = directory
        self._reader = reader
        self._clock = clock
        self._open_session = open_session
        self._idle = idle
        self._absolute = absolute

    async def store(
        self, provider: Provider, authentication: Authentication, cookie: str | None, device: str
    ) -> StoredLogin:
        """Store a login in the session of the browser, if it has one, else in a new one.

        Parameters: cookie, the session cookie of the browser; device, of a new session.
        Raises: LoginTooLarge, TokenResponseMalformed, StoreUnavailable, LoginNotStored.
        """
        now = self._clock()
        request_session = await self._open_session(cookie)
        if request_session is not None:
            login = self._login(request_session.session, provider, authentication, now)
            renewed = await self._add(request_session.session, login)
            if renewed is not None:
                return StoredLogin(renewed, login)
        waits = await self.is_superseded(cookie)
        new_cookie = SessionCookie.new()
        session = Session(
            id=new_cookie.session_id,
            secret_hash=new_cookie.secret_hash,
            created_at=now,
            last_seen_at=now,
            idle_expires_at=now + min(self._idle, self._absolute),
            absolute_expires_at=now + self._absolute,
            device=device,
        )
        login = self._login(session, provider, authentication, now)
        await add_session(self._store, session, login)
        return StoredLogin(new_cookie, login, waits)

    async def move(self, login: Login, tokens: TokenSet, session: Session) -> StoredLogin | None:
        """Store a login of another session in this one; None when this ended or has another secret by now.

        Parameters: login, that stays in its session; tokens, its token set.
        Raises: VaultError, StoreUnavailable, LoginNotStored.
        """
        limits = self._directory.limits(login.tenant)
        expires_at = limited(expiry(login.signed_in_at, login.signed_in_at, limits, session), login.claims)
        moved = replace(
            login,
            session=session.id,
            tokens=self._vault.seal_tokens(login_id(session.id, login.tenant), tokens),
            expires_at=expires_at,
            version=secrets.randbits(48),
            lease_owner=None,
            lease_expires_at=0.0,
        )
        renewed = await self._add(session, moved)
        return None if renewed is None else StoredLogin(renewed, moved)

    async def is_superseded(self, cookie: AnyCookie) -> bool:
        """Whether a cookie names a live session that has another secret: a login has replaced its own.

        It proves nothing about who sent it. Raises: StoreUnavailable.
        """
        credentials = SessionCookie.parse(cookie)
        if credentials is None:
            return False
        session, _ = await self._reader.read(credentials.session_id)
        return session is not None and not credentials.matches(session.secret_hash)

    async def _add(self, session: Session, login: Login) -> SessionCookie | None:
        """Add a login to a session and give it a new secret; None when it ended or has another one by now."""
        renewed = SessionCookie.new(session.id)
        idle_expires_at = min(self._clock() + self._idle, session.absolute_expires_at)
        added = await add_to_session(self._store, session, renewed, login, idle_expires_at)
        return renewed if added else None

    def _login(
        self, session: Session, provider: Provider, authentication: Authentication, now: float
    ) -> Login:
        limits = self._directory.limits(provider.tenant)
        check_login_size(authentication.claims, authentication.tokens)
        try:
            tokens = self._vault.seal_tokens(login_id(session.id, provider.tenant), authentication.tokens)
        except VaultError as error:
            raise TokenResponseMalformed(f"the tokens cannot be stored: {error.detail}") from error
        return Login(
            session=session.id,
            tenant=provider.tenant,
            provider=provider.id,
            registration=provider.registration,
            issuer=authentication.issuer,
            subject=authentication.subject,
            sid=self._stored_sid(provider, authentication),
            claims={name: value for name, value in authentication.claims.items() if name != "sid"},
            tokens=tokens,
            access_expires_at=authentication.tokens.expires_at,
            signed_in_at=now,
            expires_at=limited(expiry(now, now, limits, session), authentication.claims),
            version=secrets.randbits(48),
        )

    def _stored_sid(self, provider: Provider, authentication: Authentication) -> str | None:
        if authentication.sid is None:
            return None
        # with the registration's issuer: a logout request may omit the issuer of the user's directory
        return self._vault.sid_hash(provider.tenant, provider.issuer, authentication.sid)
