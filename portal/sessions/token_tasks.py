"""What a token request of a login is for: its next token set, or an access token for one of several APIs.

`portal.sessions.refresh` runs a task while it holds the lease of the login, and stores what it received.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from portal.errors import PortalError
from portal.oidc.api_errors import ApiTokenMismatch, ApiTokenTooLarge
from portal.oidc.api_target import MAX_APIS, ApiTarget, ApiTokenMethod, ApiTokenRequest
from portal.oidc.api_token_client import check_audience
from portal.oidc.errors import LoginTooLarge
from portal.oidc.provider import Provider, Refreshed, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret


@dataclass(frozen=True, slots=True)
class Received:
    """What a request returned: the token set to store, and the error to raise after it is stored."""

    refreshed: Refreshed
    error: PortalError | None = None


class TokenTask(Protocol):
    """One token request of a login."""

    @property
    def target(self) -> ApiTarget | None:
        """The API that it gets an access token for; None for the login's own tokens."""

    def is_done(self, tokens: TokenSet) -> bool:
        """Whether a stored token set already has what the task is for."""
        ...

    async def request(
        self, relying_party: RelyingParty, provider: Provider, old: TokenSet, subject: str
    ) -> Received:
        """Send the request. Parameters: old, the stored token set; subject, `sub` of the login."""
        ...


def api_of(task: TokenTask) -> dict[str, str]:
    """For the log: the API that a task gets an access token for."""
    return {"api": task.target.name} if task.target is not None else {}


@dataclass(frozen=True, slots=True)
class RefreshTask:
    """Refreshes the tokens of the login itself."""

    replaces: Secret
    """The access token that needs to be replaced."""
    target = None

    def is_done(self, tokens: TokenSet) -> bool:
        return tokens.access_token != self.replaces

    async def request(
        self, relying_party: RelyingParty, provider: Provider, old: TokenSet, subject: str
    ) -> Received:
        refreshed = await relying_party.refresh(provider, old, subject=subject)
        kept = replace(refreshed.tokens, api_tokens=old.api_tokens, api_scopes=old.api_scopes)
        return Received(replace(refreshed, tokens=kept))


@dataclass(frozen=True, slots=True)
class ApiTokenTask:
    """Gets an access token for an API by the refresh token or by token exchange."""

    target: ApiTarget
    method: ApiTokenMethod
    replaces: Secret | None
    """The access token for this API that needs to be replaced, if there is one."""

    def is_done(self, tokens: TokenSet) -> bool:
        return is_replaced(tokens, self.target, self.replaces)

    async def request(
        self, relying_party: RelyingParty, provider: Provider, old: TokenSet, subject: str
    ) -> Received:
        try:
            if self.method is ApiTokenMethod.EXCHANGE:
                issued = await relying_party.exchange(provider, old, self.target)
                return _received(Refreshed(old), issued, old, self.target, provider)
            api = ApiTokenRequest(self.target, self.method)
            refreshed = await relying_party.refresh(provider, old, subject=subject, api=api)
        except LoginTooLarge as error:
            if error.unread and self.method is not ApiTokenMethod.EXCHANGE:
                raise  # the refresh token that was sent may be used up, and the new one is lost
            return self._too_large(old, error)
        # its ID token may have fewer claims than the login, whose scopes were not requested
        kept = replace(old, refresh_token=refreshed.tokens.refresh_token)
        return _received(Refreshed(kept), refreshed.tokens, old, self.target, provider)

    def _too_large(self, old: TokenSet, error: LoginTooLarge) -> Received:
        """Keep the login, with the refresh token of a response whose access token is too large."""
        kept = old
        if isinstance(error.refresh_token, Secret):
            kept = replace(old, refresh_token=error.refresh_token)
        return Received(Refreshed(kept), ApiTokenTooLarge(self.target.name, error.detail))


@dataclass(frozen=True, slots=True)
class AddApiTokenTask:
    """Adds an access token for an API that another login has got."""

    target: ApiTarget
    issued: TokenSet

    def is_done(self, tokens: TokenSet) -> bool:
        return False

    async def request(
        self, relying_party: RelyingParty, provider: Provider, old: TokenSet, subject: str
    ) -> Received:
        return _received(Refreshed(old), self.issued, old, self.target, provider, own_grant=True)


def is_replaced(tokens: TokenSet, target: ApiTarget, replaces: Secret | None) -> bool:
    """Whether a token set has an access token for an API, and not the one that needs to be replaced."""
    found = tokens.api_tokens.get(target.key)
    return found is not None and found.access_token != replaces


def _received(
    refreshed: Refreshed,
    issued: TokenSet,
    old: TokenSet,
    target: ApiTarget,
    provider: Provider,
    *,
    own_grant: bool = False,
) -> Received:
    """Add an issued access token, unless it is for another API: the rest is kept all the same."""
    try:
        check_audience(issued.access_token, target, others=provider.api_audiences)
    except ApiTokenMismatch as error:
        return Received(refreshed, error)
    added = TokenSet(
        access_token=issued.access_token,
        expires_at=issued.expires_at,
        token_type=issued.token_type,
        scope=issued.scope,
        dpop_key=issued.dpop_key,
        issued_at=issued.issued_at,
        own_grant=own_grant,
    )
    tokens = replace(refreshed.tokens, api_tokens=_with(old, target.key, added))
    return Received(replace(refreshed, tokens=tokens))


def _with(old: TokenSet, key: str, added: TokenSet) -> dict[str, TokenSet]:
    """The API tokens with one more, without those that have expired; at most one for each API."""
    now = added.issued_at or 0.0
    kept = [(name, one) for name, one in old.api_tokens.items() if name != key and one.valid_at(now)]
    latest = sorted(kept, key=lambda entry: entry[1].expires_at)[-(MAX_APIS - 1) :]
    return {**dict(latest), key: added}
