"""Logins from beginning to end: the one room that knows attempts, sessions, token sets and logouts.

Handlers call one method here per request. What a tenant and its providers are is asked of a `Directory`,
so that this room needs to know nothing of tenant files.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from portal.errors import (
    AttemptUnknown,
    LoginRequired,
    ResponseMalformed,
    TokenResponseMalformed,
    VaultError,
)
from portal.oidc.provider import Authentication, Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.oidc.secret import Secret
from portal.sessions.credentials import SessionCookie, digest, is_binding
from portal.sessions.model import Clock, Login, LoginAttempt, Session
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenKeeper
from portal.sessions.store import Store
from portal.sessions.vault import Vault

_log = structlog.get_logger("portal.sessions")

ATTEMPT_SECONDS = 600.0
_LONGEST_STATE = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a login lives, in seconds: without use, and at most. `idle` None: as long as its session."""

    idle: float | None
    absolute: float


class Directory(Protocol):
    """What sessions need to know of tenants."""

    def provider(self, tenant: str, provider: str) -> Provider | None:
        """The live registration of that name."""

    def limits(self, tenant: str) -> Limits:
        """How long a login at this tenant lives."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that carries the cookie of a live session; `login` is the one at the tenant asked for."""

    session: Session
    login: Login | None


@dataclass(frozen=True, slots=True)
class FinishedLogin:
    """A login just made: the new cookie, and where the browser goes."""

    cookie: SessionCookie
    login: Login
    return_to: str


class SessionService:
    """Begins and finishes logins, finds the visit of a request, hands out token sets.

    `idle` and `absolute` are the limits of a session in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        directory: Directory,
        tokens: TokenKeeper,
        reader: BatchedReader,
        clock: Clock,
        idle: float,
        absolute: float,
    ) -> None:
        self._store = store
        self._vault = vault
        self._relying_party = relying_party
        self._directory = directory
        self._tokens = tokens
        self._reader = reader
        self._clock = clock
        self._idle = idle
        self._absolute = absolute

    # --- the login

    async def begin_login(
        self,
        provider: Provider,
        *,
        redirect_uri: str,
        return_to: str,
        binding: str,
        login_hint: str | None = None,
    ) -> str:
        """Remember a login attempt and return the URL of the provider to send the browser to.

        Raises ProviderUnavailable or MetadataRejected when the provider's metadata cannot be had.
        """
        request = await self._relying_party.begin(provider, redirect_uri=redirect_uri, login_hint=login_hint)
        attempt_id = digest(request.state)
        await self._store.add_attempt(
            LoginAttempt(
                id=attempt_id,
                tenant=provider.tenant,
                provider=provider.id,
                registration=provider.registration,
                binding_hash=digest(binding),
                nonce=request.nonce,
                code_verifier=self._vault.seal(attempt_id, request.code_verifier.reveal()),
                redirect_uri=redirect_uri,
                return_to=return_to,
                expires_at=self._clock() + ATTEMPT_SECONDS,
            )
        )
        return request.url

    async def finish_login(
        self,
        tenant: str,
        response: Mapping[str, Sequence[str]],
        *,
        binding: str | None,
        cookie: str | None,
        device: str,
    ) -> FinishedLogin:
        """Check an authorization response and make the login.

        The attempt is consumed before the code is used. The session's secret is new after every login.
        Raises a LoginRejected or ProviderUnavailable; nothing is stored then.
        """
        attempt = await self._take_attempt(tenant, response, binding)
        provider = self._directory.provider(tenant, attempt.provider)
        if provider is None or provider.registration != attempt.registration:
            raise AttemptUnknown("the provider's registration changed while the login was under way")
        authentication = await self._relying_party.finish(
            provider,
            response,
            nonce=attempt.nonce,
            code_verifier=self._verifier(attempt),
            redirect_uri=attempt.redirect_uri,
        )
        new_cookie, login = await self._establish(provider, authentication, cookie, device)
        _log.info("login_succeeded", tenant=tenant, provider=provider.id)
        return FinishedLogin(new_cookie, login, attempt.return_to)

    async def _take_attempt(
        self, tenant: str, response: Mapping[str, Sequence[str]], binding: str | None
    ) -> LoginAttempt:
        states = response.get("state", ())
        if len(states) > 1:
            raise ResponseMalformed("state is given more than once")
        state = states[0] if states else ""
        if not state or len(state) > _LONGEST_STATE or not state.isascii() or not state.isprintable():
            raise AttemptUnknown("state is missing or not one of the portal's")
        if binding is None or not is_binding(binding):
            raise AttemptUnknown("the browser carries no binding cookie")
        attempt = await self._store.take_attempt(
            digest(state), tenant=tenant, binding_hash=digest(binding), now=self._clock()
        )
        if attempt is None:
            raise AttemptUnknown("no live attempt with this state, tenant and browser")
        return attempt

    def _verifier(self, attempt: LoginAttempt) -> Secret:
        try:
            return Secret(self._vault.open(attempt.id, attempt.code_verifier))
        except VaultError as error:
            raise AttemptUnknown(f"the attempt cannot be opened: {error.detail}") from error

    async def _establish(
        self, provider: Provider, authentication: Authentication, cookie: str | None, device: str
    ) -> tuple[SessionCookie, Login]:
        moment = self._clock()
        visit = await self.find(cookie)
        if visit is not None:
            login = self._login(visit.session, provider, authentication, moment)
            renewed = SessionCookie.new(visit.session.id)
            # First the old secret dies, then the login appears: who knew the cookie before never sees it.
            if await self._store.rotate_session(
                visit.session.id,
                old_secret_hash=visit.session.secret_hash,
                new_secret_hash=renewed.secret_hash,
                last_seen_at=moment,
                idle_expires_at=min(moment + self._idle, visit.session.absolute_expires_at),
            ):
                await self._store.put_login(login)
                return renewed, login
        fresh = SessionCookie.new()
        session = Session(
            id=fresh.session_id,
            secret_hash=fresh.secret_hash,
            created_at=moment,
            last_seen_at=moment,
            idle_expires_at=moment + min(self._idle, self._absolute),
            absolute_expires_at=moment + self._absolute,
            device=device,
        )
        login = self._login(session, provider, authentication, moment)
        await self._store.add_session(session)
        await self._store.put_login(login)
        return fresh, login

    def _login(
        self, session: Session, provider: Provider, authentication: Authentication, moment: float
    ) -> Login:
        limits = self._directory.limits(provider.tenant)
        login = Login(
            session=session.id,
            tenant=provider.tenant,
            provider=provider.id,
            registration=provider.registration,
            issuer=authentication.issuer,
            subject=authentication.subject,
            sid=authentication.sid,
            claims=authentication.claims,
            tokens="",
            access_expires_at=authentication.tokens.expires_at,
            signed_in_at=moment,
            expires_at=_expiry(moment, moment, limits, session),
            version=secrets.randbits(48),
        )
        try:
            return replace(login, tokens=self._vault.seal_tokens(login.id, authentication.tokens))
        except VaultError as error:
            raise TokenResponseMalformed(f"the tokens cannot be kept: {error.detail}") from error

    # --- the visit of a request

    async def find(self, cookie: str | None, tenant: str | None = None) -> Visit | None:
        """Return the visit of a request: its live session, and its login at `tenant` if there is one.

        None when the cookie is missing, malformed, stale or of another deployment. A login made under a
        registration that is no longer live counts as none, as does one whose token set does not open.
        """
        credentials = SessionCookie.parse(cookie)
        if credentials is None:
            return None
        session, login = await self._reader.read(credentials.session_id, tenant)
        if session is None or not credentials.opens(session.secret_hash):
            return None
        if login is not None and not self._is_usable(login):
            login = None
        await self._touch(session, login)
        return Visit(session, login)

    def _is_registered(self, login: Login) -> bool:
        provider = self._directory.provider(login.tenant, login.provider)
        return provider is not None and provider.registration == login.registration

    def _is_usable(self, login: Login) -> bool:
        return self._is_registered(login) and self._tokens.opens(login)

    async def _touch(self, session: Session, login: Login | None) -> None:
        moment = self._clock()
        if moment - session.last_seen_at >= min(60.0, self._idle / 10):
            await self._store.touch_session(
                session.id,
                last_seen_at=moment,
                idle_expires_at=min(moment + self._idle, session.absolute_expires_at),
            )
        if login is None:
            return
        limits = self._directory.limits(login.tenant)
        if limits.idle is None:
            return
        expires_at = _expiry(moment, login.signed_in_at, limits, session)
        if expires_at - login.expires_at >= min(60.0, limits.idle / 10):
            await self._store.swap_login(
                replace(login, expires_at=expires_at, version=login.version + 1),
                expected_version=login.version,
            )

    async def logins(self, session: Session) -> list[Login]:
        """The usable logins of a session (see `find`), ordered by tenant."""
        found = await self._store.list_logins(session.id, now=self._clock())
        return [login for login in found if self._is_usable(login)]

    # --- token sets

    async def tokens(self, login: Login, *, refused: Secret | None = None) -> TokenSet:
        """Return a usable token set of a login; see TokenKeeper.fresh for what is raised."""
        provider = self._directory.provider(login.tenant, login.provider)
        if provider is None or provider.registration != login.registration:
            raise LoginRequired("the provider of this login is no longer registered")
        tokens = await self._tokens.fresh(login, provider, refused=refused)
        if not self._is_registered(login):
            raise LoginRequired("the provider's registration changed during the refresh")
        return tokens

    def peek(self, login: Login) -> TokenSet:
        """Return the token set as it is stored, without refreshing it; for showing scopes and expiry."""
        return self._tokens.open(login)


def _expiry(moment: float, signed_in_at: float, limits: Limits, session: Session) -> float:
    """When a login used at `moment` expires."""
    latest = min(signed_in_at + limits.absolute, session.absolute_expires_at)
    return latest if limits.idle is None else min(moment + limits.idle, latest)
