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
from portal.errors import LoginNotStored, StoreUnavailable, VaultError
from portal.keys.vault import Vault
from portal.oidc.errors import TokenResponseMalformed
from portal.oidc.provider import Authentication, Provider, TokenSet
from portal.secret import Secret
from portal.sessions.credentials import AnyCookie, SessionCookie
from portal.sessions.directory import Directory
from portal.sessions.former_logins import revoke_former
from portal.sessions.idle_limits import expiry
from portal.sessions.login_moving import move_login
from portal.sessions.login_size import check_login_size
from portal.sessions.login_storing import add_session, add_to_session, retried
from portal.sessions.outcomes import RequestSession
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenRefresher
from portal.sessions.revoked_users import LoginRevoked, RevokedUsers
from portal.sessions.session_expiry import limited
from portal.stores.model import Login, Session, SessionTouch, login_id
from portal.stores.store import Store

WAITING_SECONDS = 60.0
"""How long a login may wait; the browser follows the redirects at once."""
_MARGIN = 5.0
"""Seconds that the session of a login that waits is longer."""


class OpenSession(Protocol):
    """`SessionService.open_session`."""

    async def __call__(
        self, cookie: AnyCookie, tenant: str | None = None, *, extend: bool = True
    ) -> RequestSession | None: ...


@dataclass(frozen=True, slots=True)
class Superseded:
    """The session of a browser whose cookie another login has just replaced."""

    session: str
    had_login: bool
    """Whether it had a login at the tenant that this login is for."""


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login that was stored, and the cookie of its session."""

    cookie: SessionCookie
    login: Login
    superseded: Superseded | None = None
    """If the login waits in a session of its own, since another login has just replaced the browser's cookie:
    the session that it waits for."""


class NewLogins:
    """Stores finished logins. Parameters: idle and absolute, limits of a session in seconds."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        directory: Directory,
        reader: BatchedReader,
        tokens: TokenRefresher,
        clock: Clock,
        open_session: OpenSession,
        idle: float,
        absolute: float,
    ) -> None:
        self._store = store
        self._vault = vault
        self._directory = directory
        self._reader = reader
        self._tokens = tokens
        self._clock = clock
        self._open_session = open_session
        self._revoked_users = RevokedUsers(store)
        self._idle = idle
        self._absolute = absolute

    async def store(
        self,
        provider: Provider,
        authentication: Authentication,
        cookie: str | None,
        device: str,
        *,
        begun_at: float,
    ) -> StoredLogin:
        """Store a login in the session of the browser, if it has one, else in a new one.

        Parameters: cookie, the session cookie of the browser; device, of a new session; begun_at, when the
        exchange of the code began.
        Raises: LoginTooLarge, TokenResponseMalformed, StoreUnavailable, LoginNotStored, LoginRevoked.
        """
        now = self._clock()
        request_session = await self._open_session(cookie, provider.tenant)
        if request_session is not None:
            session = request_session.session
            login = self._login(session, provider, authentication, now)
            renewed, idle_expires_at = self._renewed(session)
            if await add_to_session(self._store, session, renewed, login, idle_expires_at):
                revoke_former(self._tokens, self._directory, request_session.login, login)
                await self._require_not_revoked(provider, login, begun_at, renewed)
                return StoredLogin(renewed, login)
        superseded = await self._superseded(cookie, provider.tenant)
        idle = self._idle if superseded is None else min(self._idle, WAITING_SECONDS + _MARGIN)
        new_cookie = SessionCookie.new()
        session = Session(
            id=new_cookie.session_id,
            secret_hash=new_cookie.secret_hash,
            created_at=now,
            last_seen_at=now,
            idle_expires_at=now + min(idle, self._absolute),
            absolute_expires_at=now + self._absolute,
            device=device,
        )
        login = self._login(session, provider, authentication, now)
        await add_session(self._store, session, login)
        await self._require_not_revoked(provider, login, begun_at, None)
        return StoredLogin(new_cookie, login, superseded)

    async def _require_not_revoked(
        self, provider: Provider, login: Login, begun_at: float, renewed: SessionCookie | None
    ) -> None:
        """Delete a stored login whose user was revoked while it was being made.

        Parameters: renewed, the new cookie of the session, if the browser had one before.
        Raises: LoginRevoked, StoreUnavailable, LoginNotStored.
        """
        if not provider.global_token_revocation:
            return
        cookie = Secret(renewed.value) if renewed is not None else None
        email = login.claims.get(self._directory.email_claim(login.tenant))
        try:
            revoked = await retried(
                lambda: self._revoked_users.is_revoked(login, email=email, since=begun_at)
            )
            if revoked:
                await retried(
                    lambda: self._store.delete_login(login.session, login.tenant, tokens=login.tokens)
                )
        except StoreUnavailable as error:
            if cookie is None:
                raise
            raise LoginNotStored(error.detail, cookie=cookie) from error
        if revoked:
            raise LoginRevoked("the provider ended all logins of the user meanwhile", cookie=cookie)

    async def move(self, login: Login, tokens: TokenSet, target: RequestSession) -> StoredLogin | None:
        """Move a login to another session; None when that ended or has another secret by now.

        Its own session is deleted. Parameters: tokens, its token set.
        Raises: VaultError, StoreUnavailable; LoginNotStored, also when the login has ended.
        """
        session = target.session
        limits = self._directory.limits(login.tenant)
        expires_at = limited(expiry(login.signed_in_at, login.signed_in_at, limits, session), login.claims)
        copy = replace(
            login,
            session=session.id,
            expires_at=expires_at,
            version=secrets.randbits(48),
            lease_owner=None,
            lease_expires_at=0.0,
        )
        sealed = self._vault.seal_tokens(login_id(session.id, login.tenant), tokens)
        moved = replace(copy, tokens=sealed, version=copy.version + 1)
        renewed, idle_expires_at = self._renewed(session)
        if not await move_login(
            self._store,
            copy,
            moved,
            former=login.session,
            session=session,
            renewed=renewed,
            idle_expires_at=idle_expires_at,
        ):
            return None
        revoke_former(self._tokens, self._directory, target.login, moved)
        return StoredLogin(renewed, moved)

    async def let_wait(self, session: str) -> None:
        """Let the session of a login that waits live until it has waited. Raises StoreUnavailable."""
        await self._touch(session, WAITING_SECONDS + _MARGIN)

    async def keep(self, session: Session) -> None:
        """Let the session of a login that has waited live as long as any other. Raises StoreUnavailable."""
        await self._touch(session.id, min(self._idle, session.absolute_expires_at - self._clock()))

    async def _touch(self, session: str, seconds: float) -> None:
        now = self._clock()
        await self._store.touch_sessions([SessionTouch(session, now, now + seconds)])

    async def has_ended(self, superseded: Superseded, tenant: str) -> bool:
        """Whether the user has signed out of the session that a login waits for, or of its tenant there.

        Raises StoreUnavailable.
        """
        session, login = await self._reader.read(superseded.session, tenant)
        return session is None or (superseded.had_login and login is None)

    async def is_superseded(self, cookie: AnyCookie) -> bool:
        """Whether a cookie names a live session that has another secret: a login has replaced its own.

        It proves nothing about who sent it. Raises: StoreUnavailable.
        """
        return await self._superseded(cookie, None) is not None

    async def _superseded(self, cookie: AnyCookie, tenant: str | None) -> Superseded | None:
        credentials = SessionCookie.parse(cookie)
        if credentials is None:
            return None
        session, login = await self._reader.read(credentials.session_id, tenant)
        if session is None or credentials.matches(session.secret_hash):
            return None
        return Superseded(session.id, login is not None)

    def _renewed(self, session: Session) -> tuple[SessionCookie, float]:
        """A new cookie for a session, and when that expires without use."""
        return SessionCookie.new(session.id), min(self._clock() + self._idle, session.absolute_expires_at)

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
