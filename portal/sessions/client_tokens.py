"""Access tokens of the portal itself for APIs with `access: client` (RFC 6749 4.4).

They belong to no user: each process gets its own, keeps it in memory, and never stores it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.api_errors import ApiTokenError, ApiTokenRefused
from portal.oidc.api_target import ApiTarget
from portal.oidc.api_token_client import check_audience
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import ClientRejected
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.provider_breaker import ProviderBreaker
from portal.single_flight import SingleFlight

_log = structlog.get_logger("portal.refresh")

_MIN_AGE = 30.0
"""Seconds after which an access token that the API refuses is replaced."""
_RETRY_SECONDS = 30.0
"""How long a refusal of the provider counts, so that each call does not ask again."""
_LEAST_LIFETIME = 1.0
"""Seconds; with access tokens that expire earlier, each call of a stranger would request another one."""
_MAX_BYTES = 8_000_000
_FAILURE_BYTES = 1_000

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Failure:
    error: PortalError
    until: float


class ClientTokens:
    """Gets and keeps the portal's own access tokens. Parameters: clock, seconds since the epoch, UTC."""

    def __init__(self, *, relying_party: RelyingParty, clock: Clock) -> None:
        self._relying_party = relying_party
        self._clock = clock
        self._tokens: ByteBoundedCache[_Key, TokenSet] = ByteBoundedCache(_MAX_BYTES)
        self._failures: ByteBoundedCache[_Key, _Failure] = ByteBoundedCache(_MAX_BYTES)
        self._requests: SingleFlight[_Key, TokenSet] = SingleFlight()
        self._breaker = ProviderBreaker()

    async def get(self, provider: Provider, target: ApiTarget, *, refused: Secret | None = None) -> TokenSet:
        """Return a valid access token for an API, from this process's memory or from the provider.

        Parameters: refused, an access token to which the API has just responded with 401.
        Raises: ApiTokenRefused, ApiTokenMismatch, and what RelyingParty.client_token raises.
        """
        now, key = self._clock(), (provider.key, provider.registration, target.key)
        found = self._tokens.get(key)
        if found is not None and (found.access_token != refused or now < (found.issued_at or 0.0) + _MIN_AGE):
            if found.usable_at(now):
                return found
            refused = None
        valid = found is not None and refused is None and found.valid_at(now)
        failure = self._failures.get(key)
        has_failed = failure is not None and now < failure.until
        if failure is not None and has_failed and not valid:
            raise failure.error
        if not has_failed:
            request = self._requests.join(
                key, lambda: self._request(key, provider, target), on_done=_log_unexpected
            )
            if not valid:
                return await asyncio.shield(request)
        if found is None:
            raise AssertionError("a token that is valid was found")
        return found

    async def close(self) -> None:
        """Cancel the requests that are running."""
        await self._requests.cancel()

    async def _request(self, key: _Key, provider: Provider, target: ApiTarget) -> TokenSet:
        dpop_key = DpopKey.generate() if provider.dpop else None
        try:
            with self._breaker.request(provider.key):
                tokens = await self._relying_party.client_token(provider, target, dpop_key=dpop_key)
            check_audience(tokens.access_token, target, others=provider.api_audiences)
            if not tokens.valid_at((tokens.issued_at or 0.0) + _LEAST_LIFETIME):
                raise ApiTokenRefused(target.name, "expires_at_once", "the access token expires at once")
        except PortalError as error:
            if isinstance(error, ApiTokenError | ClientRejected):  # for others, the breaker decides
                failure = _Failure(error, self._clock() + _RETRY_SECONDS)
                self._failures.put(key, failure, size=_FAILURE_BYTES, owner=provider.tenant)
            _log.warning(
                "client_token_failed",
                tenant=provider.tenant,
                provider=provider.id,
                api=target.name,
                code=error.code,
                detail=error.detail,
            )
            raise
        self._failures.discard(key)
        self._tokens.put(key, tokens, size=2 * len(tokens.access_token.reveal()), owner=provider.tenant)
        return tokens


def _log_unexpected(request: asyncio.Task[TokenSet]) -> None:
    """Log an unexpected error; a PortalError is logged where it is raised."""
    error = None if request.cancelled() else request.exception()
    if error is not None and not isinstance(error, PortalError):
        _log.error("client_token_broken", exc_info=error)
