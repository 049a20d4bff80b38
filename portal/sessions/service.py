"""The whole life of a login: the one module that combines attempts, sessions and token sets.

Handlers call one method here per request. A `Directory` provides the tenants and their providers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from portal.clock import Clock
from portal.errors import LoginRequired, NewLoginsRefused, PortalError, VaultError
from portal.keys.vault import Vault
from portal.oidc.api_target import ApiTarget
from portal.oidc.api_token_client import check_audience
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.dpop import DpopProver
from portal.oidc.errors import AttemptUnknown, ProviderDenied
from portal.oidc.provider import Authentication, Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.oidc.step_up import StepUp, require_scope
from portal.secret import Secret
from portal.sessions.api_logins import finish_api_login
from portal.sessions.api_tokens import ApiTokens
from portal.sessions.attempts import Attempts, OpenAttempt
from portal.sessions.client_tokens import ClientTokens
from portal.sessions.credentials import AnyCookie, SessionCookie
from portal.sessions.directory import Directory, accepting_registration
from portal.sessions.idle_limits import IdleLimits
from portal.sessions.login_access import AllowedLogins, require_access
from portal.sessions.login_warnings import LoginWarnings
from portal.sessions.new_logins import NewLogins, StoredLogin
from portal.sessions.outcomes import (
    FinishedLogin,
    InteractiveRetry,
    LoginOutcome,
    RequestSession,
    WaitingLogin,
)
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenRefresher
from portal.sessions.stored_attempts import require_binding, state_prefix
from portal.sessions.waiting_logins import WaitingLogins
from portal.stores.model import Login, Session
from portal.stores.store import Store
from portal.time_slices import in_slices

__all__ = ["FinishedLogin", "InteractiveRetry", "RequestSession", "SessionService", "WaitingLogin"]

_log = structlog.get_logger("portal.sessions")


class SessionService:
    """Begins and finishes logins, opens the session of a request, returns token sets.

    `idle` and `absolute` are the limits of a session in seconds.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        directory: Directory,
        tokens: TokenRefresher,
        reader: BatchedReader,
        clock: Clock,
        idle: float,
        absolute: float,
    ) -> None:
        self._store = store
        self._attempts = Attempts(store=store, vault=vault, directory=directory, clock=clock)
        self._relying_party = relying_party
        self._directory = directory
        self._tokens = tokens
        self._allowed = AllowedLogins(store=store, tokens=tokens, directory=directory)
        self._reader = reader
        self._clock = clock
        self._limits = IdleLimits(store=store, directory=directory, clock=clock, idle=idle)
        self._warnings = LoginWarnings()
        self._new_logins = NewLogins(
            store=store,
            vault=vault,
            directory=directory,
            reader=reader,
            tokens=tokens,
            clock=clock,
            open_session=self.open_session,
            idle=idle,
            absolute=absolute,
        )
        self._waiting = WaitingLogins(
            store=store,
            vault=vault,
            directory=directory,
            tokens=tokens,
            new_logins=self._new_logins,
            clock=clock,
            open_session=self.open_session,
        )
        self._api_tokens = ApiTokens(tokens=tokens, relying_party=relying_party, clock=clock)
        self.client_tokens = ClientTokens(relying_party=relying_party, clock=clock)
        """The portal's own access tokens for APIs."""

    # --- the login

    async def begin_login(
        self,
        provider: Provider,
        *,
        redirect_uri: str,
        return_to: str,
        binding: str,
        options: AuthorizationOptions | None = None,
        renews: Login | None = None,
    ) -> str:
        """Store a login attempt and return the provider's URL to redirect the browser to.

        Parameters: renews, the current login; a silent attempt requests the same user.
        Raises ProviderUnavailable, MetadataRejected or PushedRequestRejected; nothing is stored then.
        """
        structlog.contextvars.bind_contextvars(provider=provider.id)
        hint, prefix = self._hint(provider, renews), state_prefix(return_to)
        options = replace(options or AuthorizationOptions(), id_token_hint=hint, state_prefix=prefix)
        request = await self._relying_party.begin(provider, redirect_uri=redirect_uri, options=options)
        await self._attempts.remember(
            provider, request, return_to=return_to, binding=binding, login_hint=options.login_hint
        )
        return request.url

    def _hint(self, provider: Provider, renews: Login | None) -> Secret | None:
        """The ID token of a login as `id_token_hint` (OIDC Core 3.1.2.1); None at another provider."""
        if renews is None or renews.provider != provider.id or not provider.logout_id_token_hint:
            return None
        try:
            return self._tokens.open(renews).id_token
        except VaultError as error:
            _log.warning("login_without_hint", tenant=provider.tenant, provider=provider.id, code=error.code)
            return None

    async def finish_login(
        self,
        tenant: str,
        response: Mapping[str, Sequence[str]],
        *,
        redirect_uri: str,
        binding: str | None,
        cookie: str | None,
        device: str,
    ) -> LoginOutcome:
        """Validate an authorization response from the URL and create the login.

        The attempt is consumed before the code is used. Every login replaces the session's secret.
        Parameters: redirect_uri, where the response arrived; that of the attempt must be the same.
        Raises a LoginRejected, SignInNotAllowed or ProviderUnavailable; nothing is stored then. Raises
        StoreUnavailable when the login could not be stored and its tokens were revoked; LoginNotStored when
        the browser must still receive the session's new cookie.
        """
        attempt = await self._attempts.take(tenant, response, redirect_uri=redirect_uri, binding=binding)
        with attempt.known_to_errors():
            return await self._finish(attempt, response, binding, cookie, device)

    async def store_posted_response(
        self, tenant: str, response: Mapping[str, Sequence[str]], *, redirect_uri: str, binding: str | None
    ) -> str:
        """Store an authorization response that the provider's site posted; return its reference.

        Such a request carries no session cookie. Parameters: redirect_uri, as for finish_login.
        Raises a LoginRejected; nothing is stored then.
        """
        return await self._attempts.store_posted_response(
            tenant, response, redirect_uri=redirect_uri, binding=binding
        )

    async def finish_posted_login(
        self, tenant: str, reference: str, *, binding: str | None, cookie: str | None, device: str
    ) -> LoginOutcome:
        """As finish_login, with the posted response that was stored under a reference."""
        attempt, response = await self._attempts.load_posted_response(tenant, reference, binding=binding)
        with attempt.known_to_errors():
            return await self._finish(attempt, response, binding, cookie, device)

    async def finish_waiting_login(
        self, tenant: str, reference: str, *, binding: str | None, cookie: str | None
    ) -> FinishedLogin | WaitingLogin:
        """As finish_login, for a login that waits for the session cookie of another tab."""
        return await self._waiting.finish(tenant, reference, binding=binding, cookie=cookie)

    async def _finish(
        self,
        attempt: OpenAttempt,
        response: Mapping[str, Sequence[str]],
        binding: str | None,
        cookie: str | None,
        device: str,
    ) -> LoginOutcome:
        provider, begun_at = attempt.provider, self._clock()
        try:
            authentication = await self._relying_party.finish(
                provider,
                response,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                redirect_uri=attempt.redirect_uri,
                dpop_key=attempt.dpop_key,
                interaction=attempt.asked,
                target=attempt.target,
            )
        except ProviderDenied as denial:
            options = attempt.retry(denial.error)
            if options is None or binding is None:
                raise
            event = "silent_login_refused" if attempt.silent else "account_selection_refused"
            _log.info(event, tenant=provider.tenant, provider=provider.id, error=denial.error)
            return InteractiveRetry(await self._begin_interactive(attempt, binding, options), provider)
        other = await self._login_of_another_user(attempt, authentication, cookie)
        if attempt.silent and binding is not None and other is not None:
            _log.info("silent_login_of_another_user", tenant=provider.tenant, provider=provider.id)
            options = AuthorizationOptions(
                prompt="login",
                login_hint=attempt.login_hint,
                step_up=attempt.step_up,
                target=attempt.target,
                ui_locales=attempt.ui_locales,
            )
            return InteractiveRetry(await self._begin_interactive(attempt, binding, options), provider)
        if attempt.target is not None:
            request_session = await self.open_session(cookie, provider.tenant)
            return await finish_api_login(
                self._api_tokens,
                attempt,
                attempt.target,
                authentication,
                request_session=request_session,
            )
        step_up = attempt.step_up or StepUp.NOTHING
        try:
            self._require_still_open(provider)
            require_access(self._directory, provider, authentication)
            require_scope(authentication.tokens.scope, step_up)
            if step_up.api_key:
                tokens = replace(authentication.tokens, api_scopes={step_up.api_key: step_up.scope})
                authentication = replace(authentication, tokens=tokens)
            stored = await self._new_logins.store(provider, authentication, cookie, device, begun_at=begun_at)
            waiting = await self._wait(stored, attempt, binding)
        except PortalError:  # the tokens have no login
            await self._tokens.revoke(authentication.tokens, provider)
            raise
        _log.info("login_succeeded", tenant=provider.tenant, provider=provider.id)
        self._warnings.check(provider, authentication)
        if waiting is not None:
            return waiting
        return FinishedLogin(stored.cookie, stored.login, attempt.return_to, provider, replaced=other)

    async def _wait(
        self, stored: StoredLogin, attempt: OpenAttempt, binding: str | None
    ) -> WaitingLogin | None:
        """Let a stored login wait for the session cookie of another tab of the browser, if it must."""
        if stored.superseded is None:
            return None
        return await self._waiting.add(
            stored.login,
            stored.cookie,
            superseded=stored.superseded,
            return_to=attempt.return_to,
            binding=require_binding(binding),
            silent=attempt.silent,
            step_up=attempt.step_up is not None,
        )

    def _require_still_open(self, provider: Provider) -> None:
        """Refuse a login whose tenant was closed or whose client changed during the exchange."""
        live = self._directory.provider(provider.tenant, provider.id)
        if live is None or live.registration != provider.registration:
            raise AttemptUnknown("the tenant or its registration changed during the sign-in")
        if not self._directory.accepts_logins(provider.tenant):
            raise NewLoginsRefused(f"the tenant {provider.tenant} accepts no new logins")

    async def _login_of_another_user(
        self, attempt: OpenAttempt, authentication: Authentication, cookie: str | None
    ) -> Login | None:
        """The current login if it belongs to another user than the new one; None if it does not matter.

        A silent login must not replace it, and the user learns it when a step-up does.
        """
        if not attempt.silent and attempt.step_up is None:
            return None
        request_session = await self.open_session(cookie, attempt.provider.tenant)
        current = request_session.login if request_session else None
        new_user = (authentication.issuer, authentication.subject)
        return current if current and (current.issuer, current.subject) != new_user else None

    async def _begin_interactive(
        self, attempt: OpenAttempt, binding: str, options: AuthorizationOptions
    ) -> str:
        """Begin a new, interactive attempt; return the provider's URL."""
        return await self.begin_login(
            attempt.provider,
            redirect_uri=attempt.redirect_uri,
            return_to=attempt.return_to,
            binding=binding,
            options=options,
        )

    # --- the session of a request

    async def open_session(
        self, cookie: AnyCookie, tenant: str | None = None, *, extend: bool = True
    ) -> RequestSession | None:
        """Return the live session of a request, and its login at `tenant` if there is one.

        None when the cookie is missing, malformed, stale or of another deployment. `login` is None when its
        registration is no longer live, when its token set cannot be decrypted, or when the tenant's access
        rules no longer allow it; in the last case it is also deleted. Unless `extend` is False, this is a use
        of session and login, which extends their idle limits.
        """
        credentials = SessionCookie.parse(cookie)
        if credentials is None:
            return None
        session, login = await self._reader.read(credentials.session_id, tenant)
        if session is None or not credentials.matches(session.secret_hash):
            return None
        if login is not None and not self._is_usable(login):
            login = None
        if extend:
            await self._limits.extend(session, login)
        return RequestSession(session, login)

    def _is_usable(self, login: Login) -> bool:
        return (
            accepting_registration(self._directory, login) is not None
            and self._allowed.allows(login)
            and self._tokens.can_open(login)
        )

    async def logins(self, session: Session) -> list[Login]:
        """The usable logins of a session (see `open_session`), ordered by tenant."""
        found = await self._store.list_logins(session.id, now=self._clock())
        return [login async for login in in_slices(found) if self._is_usable(login)]

    async def extend(self, session: Session, logins: Sequence[Login]) -> tuple[Session, list[Login]]:
        """Extend idle limits because the user asked for it; see `IdleLimits.extend_now`."""
        return await self._limits.extend_now(session, logins)

    async def wait_until_idle(self, seconds: float) -> None:
        """For a graceful stop: wait at most `seconds` for idle limits, and for logins that rules end."""
        await asyncio.gather(self._allowed.wait_until_idle(seconds), self._limits.wait_until_idle(seconds))

    # --- token sets

    async def tokens(
        self, login: Login, *, refused: Secret | None = None, target: ApiTarget | None = None
    ) -> TokenSet:
        """Return a valid token set of a login; with `target`, one for that API.

        Raises LoginRequired, and as TokenRefresher.get_valid; with `target`, as ApiTokens.get.
        """
        provider = accepting_registration(self._directory, login)
        if provider is None:
            raise LoginRequired("the provider of this login is no longer registered")
        if target is not None and target.methods:
            tokens = await self._api_tokens.get(login, provider, target, refused=refused)
        else:
            usable = self._tokens.usable(login) if refused is None else None
            tokens = usable or await self._tokens.get_valid(login, provider, refused=refused)
            if target is not None:
                check_audience(tokens.access_token, target)
            if usable is not None:
                return usable
        if accepting_registration(self._directory, login) is None:
            raise LoginRequired("the provider's registration changed during the refresh")
        return tokens

    def api_target(self, login: Login, target: ApiTarget) -> ApiTarget:
        """What an access token of a login for an API is requested for; see `ApiTokens.wanted`."""
        return self._api_tokens.wanted(self._tokens.current(login), target)

    async def read_again(self, login: Login) -> Login:
        """Return the current login, whose claims a refresh may have changed. Raises LoginRequired."""
        _, current = await self._reader.read(login.session, login.tenant)
        if current is None or current.sign_in != login.sign_in or not self._is_usable(current):
            raise LoginRequired("the login ended during the call")
        return self._tokens.with_unstored_claims(current)

    def dpop_prover(self, registration: str, tokens: TokenSet) -> DpopProver | None:
        """The DPoP prover for the key that a token set is bound to (RFC 9449); None without a key.

        Parameters: registration, `key` of the provider that issued the tokens.
        """
        return self._relying_party.dpop_prover(registration, tokens.dpop_key)

    def stored_tokens(self, login: Login) -> TokenSet:
        """Return the stored token set without refreshing it; for displaying scopes and expiry."""
        return self._tokens.open(login)
