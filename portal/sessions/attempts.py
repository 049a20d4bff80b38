"""Login attempts: stored when a browser is redirected to a provider, consumed once when it returns.

A cross-site form POST from the provider carries no session cookie. Its response is sealed and stored, and the
browser is redirected to a same-site request, which carries the cookies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from portal.clock import Clock
from portal.keys.vault import Vault
from portal.oidc.api_target import ApiTarget
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.authorization_response import (
    ACCOUNT_SELECTION_REFUSALS,
    SILENT_REFUSALS,
    check_delivery,
)
from portal.oidc.begun_login import BegunLogin
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import AttemptUnknown, LoginRejected, ProviderUnavailable
from portal.oidc.interaction import Interaction
from portal.oidc.provider import AuthorizationRequest, Provider
from portal.oidc.step_up import StepUp
from portal.secret import Secret
from portal.sessions.directory import Directory, live_registration
from portal.sessions.sealed_attempt import Response
from portal.sessions.stored_attempts import (
    AttemptKind,
    StoredAttempts,
    TakenAttempt,
    bounded_response,
    require_binding,
)
from portal.stores.store import Store


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
    target: ApiTarget | None = None
    """The API whose access token the attempt adds to a login."""
    ui_locales: str | None = None
    """The languages of the user that the request named."""

    @classmethod
    def of(cls, taken: TakenAttempt, provider: Provider) -> OpenAttempt:
        """A consumed attempt at this provider."""
        attempt, sealed = taken.attempt, taken.sealed
        return cls(
            provider=provider,
            redirect_uri=attempt.redirect_uri,
            return_to=attempt.return_to,
            nonce=attempt.nonce,
            code_verifier=sealed.code_verifier,
            dpop_key=sealed.dpop_key,
            silent=sealed.silent,
            login_hint=sealed.login_hint,
            asked=sealed.asked,
            target=sealed.target,
            ui_locales=sealed.ui_locales,
        )

    def retry(self, error: str) -> AuthorizationOptions | None:
        """The options of a second request after this error of the provider; None when the error is final.

        The second request drops the option that was refused, so it cannot fail for the same reason.
        """
        again = AuthorizationOptions(
            login_hint=self.login_hint,
            interactive=True,
            step_up=self.step_up,
            target=self.target,
            ui_locales=self.ui_locales,
        )
        if self.silent and error in SILENT_REFUSALS:
            return again
        if self.asked is not None and self.asked.select_account and error in ACCOUNT_SELECTION_REFUSALS:
            return replace(again, select_account=False)
        return None

    @contextmanager
    def known_to_errors(self) -> Iterator[None]:
        """A LoginRejected or ProviderUnavailable that is raised in the block knows what was begun."""
        try:
            yield
        except (LoginRejected, ProviderUnavailable) as error:
            step_up = self.step_up or StepUp.NOTHING
            error.begun = BegunLogin(
                self.return_to,
                self.provider.id,
                step_up=tuple(step_up.parameters()),
                scope_key=step_up.api_key,
                api=self.target.name if self.target is not None else None,
            )
            raise

    @property
    def step_up(self) -> StepUp | None:
        """What an API requires of the login, if the attempt was begun for that."""
        return None if self.asked is None else self.asked.step_up


class Attempts:
    """The attempts to sign in, at live registrations."""

    def __init__(self, *, store: Store, vault: Vault, directory: Directory, clock: Clock) -> None:
        self._attempts = StoredAttempts(AttemptKind.SIGN_IN, store=store, vault=vault, clock=clock)
        self._directory = directory

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
        await self._attempts.add(
            provider, request, return_to=return_to, binding=binding, login_hint=login_hint
        )

    async def take(
        self, tenant: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> OpenAttempt:
        """Consume the attempt that a response in the URL belongs to.

        Parameters: redirect_uri, where the response arrived.
        Raises: ResponseMalformed, SignedResponseRejected, ResponseModeRejected, AttemptUnknown.
        """
        taken = await self._attempts.take(tenant, response, redirect_uri=redirect_uri, binding=binding)
        opened = OpenAttempt.of(taken, self._live(taken))
        check_delivery(response, opened.provider.response_mode, posted=False)
        return opened

    async def store_posted_response(
        self, tenant: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> str:
        """Consume the attempt that a posted response belongs to; store both and return their reference.

        Parameters: redirect_uri, where the response arrived.
        Raises: as `take`.
        """
        require_binding(binding)
        response = bounded_response(response)
        taken = await self._attempts.take(tenant, response, redirect_uri=redirect_uri, binding=binding)
        return await self._attempts.store_posted(taken, response, self._live(taken).response_mode)

    async def load_posted_response(
        self, tenant: str, reference: str, *, binding: str | None
    ) -> tuple[OpenAttempt, Response]:
        """Consume the attempt and the response that were stored under a reference.

        Raises: AttemptUnknown.
        """
        taken, response = await self._attempts.take_posted(tenant, reference, binding=binding)
        return OpenAttempt.of(taken, self._live(taken)), response

    def _live(self, taken: TakenAttempt) -> Provider:
        structlog.contextvars.bind_contextvars(provider=taken.attempt.provider)
        provider = live_registration(self._directory, taken.attempt)
        if provider is None:
            raise AttemptUnknown("the provider's registration changed during the login")
        return provider
