"""Login attempts: stored when a browser is redirected to a provider, consumed once when it returns.

A cross-site form POST from the provider carries no session cookie. Its response is sealed and stored, and the
browser is redirected to a same-site request, which carries the cookies.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace

import structlog

from portal.clock import Clock
from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.authorization_response import (
    ACCOUNT_SELECTION_REFUSALS,
    SILENT_REFUSALS,
    check_delivery,
    known_parameters,
    response_state,
)
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown, ResponseMalformed
from portal.oidc.interaction import Interaction
from portal.oidc.provider import AuthorizationRequest, Provider
from portal.secret import Secret
from portal.sessions.credentials import digest, is_binding
from portal.sessions.directory import Directory, live_registration
from portal.sessions.sealed_attempt import Response, SealedAttempt
from portal.stores.model import LoginAttempt
from portal.stores.store import Store

ATTEMPT_SECONDS = 600.0
POSTED_RESPONSE_SECONDS = 60.0
"""How long a posted response is stored; the browser follows the redirect at once."""
_MAX_STATE_CHARS = 256
_MAX_POSTED_RESPONSE_CHARS = 170_000
"""Characters of a response as it is sealed; well below the limit of the vault."""


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """A consumed attempt with its secrets decrypted; it cannot be used again."""

    provider: Provider
    redirect_uri: str
    return_to: str
    nonce: str
    code_verifier: Secret
    dpop_key: DpopKey | None
    silent: bool
    login_hint: str | None
    asked: Interaction | None
    """None: an earlier version of the portal stored the attempt without it."""

    def retry(self, error: str) -> AuthorizationOptions | None:
        """The options of a second request after this error of the provider; None when the error is final.

        The second request drops the option that was refused, so it cannot fail for the same reason.
        """
        if self.silent and error in SILENT_REFUSALS:
            return AuthorizationOptions(login_hint=self.login_hint, interactive=True)
        if self.asked is not None and self.asked.select_account and error in ACCOUNT_SELECTION_REFUSALS:
            return AuthorizationOptions(login_hint=self.login_hint, interactive=True, select_account=False)
        return None


class Attempts:
    """Stores login attempts and posted responses; each can be consumed once."""

    def __init__(self, *, store: Store, vault: Vault, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._directory = directory
        self._clock = clock

    async def remember(
        self,
        provider: Provider,
        request: AuthorizationRequest,
        *,
        return_to: str,
        binding: str,
        login_hint: str | None,
    ) -> None:
        """Store what is needed to accept the response to a request, for ten minutes."""
        attempt_id = _attempt_id(request.state, request.redirect_uri)
        sealed = SealedAttempt(
            request.code_verifier, request.dpop_key, request.silent, login_hint, request.interaction
        )
        await self._store.add_attempt(
            LoginAttempt(
                id=attempt_id,
                tenant=provider.tenant,
                provider=provider.id,
                registration=provider.registration,
                binding_hash=digest(binding),
                nonce=request.nonce,
                sealed=self._vault.seal(attempt_id, sealed.encode()),
                redirect_uri=request.redirect_uri,
                return_to=return_to,
                expires_at=self._clock() + ATTEMPT_SECONDS,
            )
        )

    async def take(
        self, tenant: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> OpenAttempt:
        """Consume the attempt that a response in the URL belongs to.

        Parameters: redirect_uri, where the response arrived.
        Raises: ResponseMalformed, SignedResponseRejected, ResponseModeRejected, AttemptUnknown.
        """
        attempt, sealed = await self._take_by_state(tenant, response, redirect_uri, binding)
        opened = self._open(attempt, sealed)
        check_delivery(response, opened.provider.response_mode, posted=False)
        return opened

    async def store_posted_response(
        self, tenant: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> str:
        """Consume the attempt that a posted response belongs to; store both and return their reference.

        The response is stored sealed for one minute, bound to the same browser and tenant.
        Parameters: redirect_uri, where the response arrived.
        Raises: as `take`.
        """
        _require_binding(binding)
        response = known_parameters(response)
        if len(json.dumps(json.dumps(response))) > _MAX_POSTED_RESPONSE_CHARS:
            raise ResponseMalformed("the response is too long")
        attempt, sealed = await self._take_by_state(tenant, response, redirect_uri, binding)
        check_delivery(response, self._open(attempt, sealed).provider.response_mode, posted=True)
        reference = secrets.token_urlsafe(32)
        posted_id = digest(reference)
        await self._store.add_attempt(
            replace(
                attempt,
                id=posted_id,
                sealed=self._vault.seal(posted_id, replace(sealed, response=response).encode()),
                expires_at=min(attempt.expires_at, round(self._clock() + POSTED_RESPONSE_SECONDS, 3)),
            )
        )
        return reference

    async def load_posted_response(
        self, tenant: str, reference: str, *, binding: str | None
    ) -> tuple[OpenAttempt, Response]:
        """Consume the attempt and the response that were stored under a reference.

        Raises: AttemptUnknown.
        """
        attempt, sealed = await self._take(tenant, reference, digest(reference), binding)
        if sealed.response is None:
            raise AttemptUnknown("nothing was stored under this reference")
        return self._open(attempt, sealed), sealed.response

    async def _take_by_state(
        self, tenant: str, response: Response, redirect_uri: str, binding: str | None
    ) -> tuple[LoginAttempt, SealedAttempt]:
        _require_binding(binding)  # cheaper than parsing the response
        state = response_state(response)
        attempt, sealed = await self._take(tenant, state, _attempt_id(state, redirect_uri), binding)
        if sealed.response is not None:
            raise AttemptUnknown("the state is the reference of a posted response")
        return attempt, sealed

    async def _take(
        self, tenant: str, key: str, attempt_id: str, binding: str | None
    ) -> tuple[LoginAttempt, SealedAttempt]:
        if not key or len(key) > _MAX_STATE_CHARS:
            raise AttemptUnknown("state is missing or too long")
        attempt = await self._store.take_attempt(
            attempt_id, tenant=tenant, binding_hash=digest(_require_binding(binding)), now=self._clock()
        )
        if attempt is None:
            raise AttemptUnknown("no live attempt has this state, redirect URI, tenant and browser")
        try:
            return attempt, SealedAttempt.decode(self._vault.open(attempt.id, attempt.sealed))
        except VaultError as error:
            raise AttemptUnknown(f"the attempt cannot be opened: {error.detail}") from error

    def _open(self, attempt: LoginAttempt, sealed: SealedAttempt) -> OpenAttempt:
        structlog.contextvars.bind_contextvars(provider=attempt.provider)
        provider = live_registration(self._directory, attempt)
        if provider is None:
            raise AttemptUnknown("the provider's registration changed during the login")
        return OpenAttempt(
            provider=provider,
            redirect_uri=attempt.redirect_uri,
            return_to=attempt.return_to,
            nonce=attempt.nonce,
            code_verifier=sealed.code_verifier,
            dpop_key=sealed.dpop_key,
            silent=sealed.silent,
            login_hint=sealed.login_hint,
            asked=sealed.asked,
        )


def _attempt_id(state: str, redirect_uri: str) -> str:
    """The id under which an attempt is stored.

    It includes the redirect URI, so a response matches only an attempt with the redirect URI that it arrived
    at (RFC 9700 4.4.2.2). At another URI it matches no attempt: the portal sends no token request and
    consumes no attempt (THREATS T1).
    """
    return digest(f"{redirect_uri}\n{state}")


def _require_binding(binding: str | None) -> str:
    """Return the binding of the browser if it is well-formed.

    Raises: AttemptUnknown, before the store is read: a client without an attempt causes no database load.
    """
    if not is_binding(binding):
        raise AttemptUnknown("the browser sent no valid binding cookie")
    return binding
