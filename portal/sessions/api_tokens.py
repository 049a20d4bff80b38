"""Access tokens for the APIs of a tenant that need one of their own, beside the one of the login.

They are in the sealed token set of the login, so every process uses the same. The rules of
portal.sessions.refresh hold for them as well: one token request at a time per login over all processes, a
received refresh token is never lost, and a logout wins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.api_errors import ApiLoginRequired, ApiTokenError, ApiTokenRefused, ApiTokenTooLarge
from portal.oidc.api_target import ApiTarget, ApiTokenMethod
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.refresh import TokenRefresher
from portal.sessions.token_tasks import AddApiTokenTask, ApiTokenTask, is_replaced
from portal.stores.model import Login

_log = structlog.get_logger("portal.sessions")

MIN_AGE = 30.0
"""Seconds after which an access token that the API refuses is replaced; younger ones are not the reason."""
RETRY_SECONDS = 30.0
"""How long a refusal of the provider counts for one login and API, so that each call does not ask again."""
_FAILURE_BYTES = 1_000
_MAX_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class _Failure:
    sign_in: object
    error: PortalError
    until: float


class ApiTokens:
    """Gets, keeps and replaces the access tokens of APIs."""

    def __init__(self, *, tokens: TokenRefresher, relying_party: RelyingParty, clock: Clock) -> None:
        self._tokens = tokens
        self._relying_party = relying_party
        self._clock = clock
        self._failures: ByteBoundedCache[tuple[str, str], _Failure] = ByteBoundedCache(_MAX_BYTES)
        self._worked: ByteBoundedCache[tuple[str, str], ApiTokenMethod] = ByteBoundedCache(_MAX_BYTES)
        """The method that worked last, by provider and API."""

    async def get(
        self, login: Login, provider: Provider, target: ApiTarget, *, refused: Secret | None = None
    ) -> TokenSet:
        """Return a valid access token for an API, as a token set without refresh token.

        Parameters: refused, an access token to which the API has just responded with 401.
        Raises: ApiTokenRefused, ApiTokenMismatch, ApiTokenTooLarge, and ApiLoginRequired: one more login is
        needed. As TokenRefresher.get_valid; the login ends only when the provider refuses its refresh token.
        """
        tokens = self._tokens.current(login)
        wanted = self.wanted(tokens, target)
        if wanted is target:
            return await self._get(login, provider, target, tokens, refused)
        try:
            return await self._get(login, provider, wanted, tokens, refused)
        except (ApiTokenError, ApiLoginRequired) as error:
            if target.methods == (ApiTokenMethod.LOGIN,):
                raise
            # the API refuses what needs the scope, and can be called for the rest
            _log.warning(
                "api_scope_refused",
                tenant=provider.tenant,
                provider=provider.id,
                api=target.name,
                code=error.code,
                detail=error.detail,
            )
        return await self._get(login, provider, target, tokens, refused)

    def wanted(self, tokens: TokenSet, target: ApiTarget) -> ApiTarget:
        """An API with the scopes that a step-up has added for it; the same object if there are none.

        Only scopes that the tenant file still lists for a step-up, and that the login still has: a refresh or
        an exchange cannot get others (RFC 6749 6). A
        refresh without `scope` asks for everything that was granted: where the tenant file lists no scopes,
        none are added.
        """
        added = tokens.api_scopes.get(target.key, ())
        listed = set(target.step_up_scopes).difference(target.scopes)
        more = tuple(scope for scope in added if scope in listed and scope in tokens.scope)
        if not more or not (target.scopes or target.methods == (ApiTokenMethod.LOGIN,)):
            return target
        return replace(target, scopes=(*target.scopes, *more))

    async def _get(
        self,
        login: Login,
        provider: Provider,
        target: ApiTarget,
        tokens: TokenSet,
        refused: Secret | None,
    ) -> TokenSet:
        now = self._clock()
        found = tokens.api_tokens.get(target.key)
        if found is not None and (found.access_token != refused or now < (found.issued_at or 0.0) + MIN_AGE):
            if found.usable_at(now):
                return found
            refused = None
        valid = found is not None and refused is None and found.valid_at(now)
        failure = self._failures.get((login.id, target.key))
        if failure is not None and failure.sign_in == login.sign_in and now < failure.until:
            if found is not None and valid:
                return found
            raise failure.error
        replaces = found.access_token if found is not None else None
        obtaining = self._tokens.join(
            (login.sign_in, target.key), lambda: self._obtain(login, provider, target, replaces)
        )
        if found is not None and valid:
            return found
        return await self._result(obtaining, provider, target)

    async def add(self, login: Login, provider: Provider, target: ApiTarget, issued: TokenSet) -> None:
        """Add the access token of a login that was made for an API. Raises: as get."""
        await self._tokens.run(login, provider, AddApiTokenTask(target, issued))
        self._failures.discard((login.id, target.key))

    async def revoke(self, issued: TokenSet, provider: Provider) -> None:
        """Revoke the access token of a login for an API that was not added."""
        await self._tokens.revoke(replace(issued, refresh_token=None), provider)

    async def _result(self, obtaining: object, provider: Provider, target: ApiTarget) -> TokenSet:
        stored = await self._tokens.result(obtaining, provider, target)  # type: ignore[arg-type]
        found = stored.api_tokens.get(target.key)
        if found is None:
            raise ApiTokenTooLarge(target.name, "with it, the login is larger than what is stored")
        return found

    async def _obtain(
        self, login: Login, provider: Provider, target: ApiTarget, replaces: Secret | None
    ) -> TokenSet:
        """Try the methods until one works; return the stored token set."""
        try:
            return await self._try_methods(login, provider, target, replaces)
        except (ApiTokenError, ApiLoginRequired) as error:
            failure = _Failure(login.sign_in, error, self._clock() + RETRY_SECONDS)
            self._failures.put((login.id, target.key), failure, size=_FAILURE_BYTES, owner=login.tenant)
            raise

    async def _try_methods(
        self, login: Login, provider: Provider, target: ApiTarget, replaces: Secret | None
    ) -> TokenSet:
        last: ApiTokenError | None = None
        for method in await self._methods(login, provider, target):
            if method is ApiTokenMethod.LOGIN:
                raise ApiLoginRequired(target.name, provider=provider.id) from last
            if method is ApiTokenMethod.EXCHANGE:
                tokens = await self._tokens.get_valid(login, provider)
                if is_replaced(tokens, target, replaces):
                    return tokens
            try:
                stored = await self._tokens.run(login, provider, ApiTokenTask(target, method, replaces))
            except ApiTokenTooLarge:
                raise
            except ApiTokenError as error:
                last = error
                continue
            self._remember(provider, target, method)
            return stored
        raise last or ApiTokenRefused(target.name, "no_refresh_token", "the login has no refresh token")

    async def _methods(self, login: Login, provider: Provider, target: ApiTarget) -> list[ApiTokenMethod]:
        """The methods to try, the one that worked last at the beginning."""
        has_refresh_token = self._tokens.current(login).refresh_token is not None
        methods = [one for one in target.methods if has_refresh_token or not one.needs_refresh_token]
        if ApiTokenMethod.EXCHANGE in methods and len(target.methods) > 1:
            metadata = await self._relying_party.metadata(provider)
            is_stated = target.methods[0] is ApiTokenMethod.EXCHANGE
            if not is_stated and not metadata.token_exchange_supported:
                methods.remove(ApiTokenMethod.EXCHANGE)
        worked = self._worked.get((provider.key, target.key))
        return sorted(methods, key=lambda one: one is not worked)

    def _remember(self, provider: Provider, target: ApiTarget, method: ApiTokenMethod) -> None:
        self._worked.put((provider.key, target.key), method, size=200, owner=provider.tenant)
