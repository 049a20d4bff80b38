"""Stores attempts and posted responses; each can be consumed once, by the browser that began it.

There are three kinds: attempts to sign in, attempts to test a draft (`portal.admin.test_logins`), and logins
that wait for a cookie (`waiting_logins`). One of a kind can never be finished as one of another: their states
differ, and each is sealed for its kind.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from enum import Enum

from portal.clock import Clock
from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.oidc.authorization_response import check_delivery, known_parameters, response_state
from portal.oidc.errors import AttemptNotLive, AttemptUnknown, LoginRejected, ResponseMalformed
from portal.oidc.provider import AuthorizationRequest, Provider, ResponseMode
from portal.sessions.credentials import digest, is_binding
from portal.sessions.sealed_attempt import Response, SealedAttempt, SealedTest
from portal.stores.model import LoginAttempt
from portal.stores.store import Store

ATTEMPT_SECONDS = 600.0
POSTED_RESPONSE_SECONDS = 60.0
"""How long a posted response is stored; the browser follows the redirect at once."""
_MAX_STATE_CHARS = 256
_MAX_POSTED_RESPONSE_CHARS = 170_000
"""Characters of a response as it is sealed; well below the limit of the vault."""


class AttemptKind(Enum):
    """What an attempt is for. The value is the beginning of the states and references of this kind."""

    SIGN_IN = ""
    TEST = "test."
    WAITING = "waiting."
    """The rest of a state or reference is base64url, which has no dot, after `state_prefix`."""

    @classmethod
    def of(cls, state_or_reference: str) -> AttemptKind:
        """The only kind that a state, or the reference of a posted response, can belong to."""
        others = (kind for kind in (cls.TEST, cls.WAITING) if state_or_reference.startswith(kind.value))
        return next(others, cls.SIGN_IN)

    def document(self, attempt_id: str) -> str:
        """What the vault seals an attempt for.

        Versions of the portal that do not know tests cannot open one, and so never sign anybody in with it.
        """
        return f"{self.value}{attempt_id}"


_WINDOW = "window."
"""The beginning of the states, and references of posted responses, of sign-ins in a window of their own."""


def state_prefix(return_to: str) -> str:
    """What the state of an attempt to sign in begins with, by where it leads.

    `/t/{tenant}/signed-in` is the end of a sign-in in a window of its own. The state says so even when
    nothing else is left of the attempt. It is no proof, and decides only where links of error pages lead.
    """
    return _WINDOW if return_to.endswith("/signed-in") else ""


def names_window(state_or_reference: str) -> bool:
    """Whether a state, or the reference of a posted response, is of a sign-in in a window of its own."""
    return state_or_reference.removeprefix(AttemptKind.WAITING.value).startswith(_WINDOW)


def is_of_window(response: Response, *, binding: str | None) -> bool:
    """Whether an authorization response is for a sign-in in a window of its own.

    Parameters: binding, of the browser: without one, a signed response is not read.
    """
    plain = response.get("state", ())
    if len(plain) == 1:
        return names_window(plain[0])
    try:
        return is_binding(binding) and names_window(response_state(response))
    except LoginRejected:
        return False


def kind_of_response(response: Response, *, binding: str | None) -> AttemptKind:
    """The kind of attempt that an authorization response is for; SIGN_IN for what is not readable.

    Parameters: binding, of the browser: without one, a signed response is not read.
    """
    if not is_binding(binding):
        return AttemptKind.SIGN_IN
    try:
        return AttemptKind.of(response_state(response))
    except LoginRejected:
        return AttemptKind.SIGN_IN


@dataclass(frozen=True, slots=True)
class TakenAttempt:
    """A consumed attempt with its secrets decrypted; it cannot be used again."""

    attempt: LoginAttempt
    sealed: SealedAttempt


class StoredAttempts:
    """The attempts of one kind."""

    def __init__(self, kind: AttemptKind, *, store: Store, vault: Vault, clock: Clock) -> None:
        self._kind = kind
        self._store = store
        self._vault = vault
        self._clock = clock

    async def add(
        self,
        provider: Provider,
        request: AuthorizationRequest,
        *,
        return_to: str,
        binding: str,
        login_hint: str | None,
        test: SealedTest | None = None,
    ) -> None:
        """Store what is needed to accept the response to a request, for ten minutes.

        Parameters: test, what the attempt tests; its state must begin as those of this kind.
        """
        if AttemptKind.of(request.state) is not self._kind or (test is None) is (
            self._kind is AttemptKind.TEST
        ):
            raise ValueError("the attempt is not of this kind")
        attempt_id = _attempt_id(request.state, request.redirect_uri)
        sealed = SealedAttempt(
            request.code_verifier,
            request.dpop_key,
            request.silent,
            login_hint,
            request.interaction,
            test=test,
            target=request.target,
            ui_locales=request.ui_locales,
        )
        await self._store.add_attempt(
            LoginAttempt(
                id=attempt_id,
                tenant=provider.tenant,
                provider=provider.id,
                registration=provider.registration,
                binding_hash=digest(binding),
                nonce=request.nonce,
                sealed=self._seal(attempt_id, sealed),
                redirect_uri=request.redirect_uri,
                return_to=return_to,
                expires_at=self._clock() + ATTEMPT_SECONDS,
            )
        )

    async def take(
        self, tenant: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> TakenAttempt:
        """Consume the attempt that a response belongs to.

        Parameters: redirect_uri, where the response arrived.
        Raises: ResponseMalformed, SignedResponseRejected, AttemptUnknown.
        """
        require_binding(binding)  # cheaper than parsing the response
        state = response_state(response)
        taken = await self._take(tenant, state, _attempt_id(state, redirect_uri), binding)
        if taken.sealed.response is not None:
            raise AttemptUnknown("the state is the reference of a posted response")
        return taken

    async def store_posted(self, taken: TakenAttempt, response: Response, mode: ResponseMode) -> str:
        """Store a consumed attempt with its posted response; return their reference.

        The response is stored sealed for one minute, bound to the same browser and tenant.
        Parameters: mode, of the provider. Raises: ResponseModeRejected.
        """
        check_delivery(response, mode, posted=True)
        prefix = self._kind.value or state_prefix(taken.attempt.return_to)
        reference = prefix + secrets.token_urlsafe(32)
        posted_id = digest(reference)
        await self._store.add_attempt(
            replace(
                taken.attempt,
                id=posted_id,
                sealed=self._seal(posted_id, replace(taken.sealed, response=response)),
                expires_at=min(taken.attempt.expires_at, round(self._clock() + POSTED_RESPONSE_SECONDS, 3)),
            )
        )
        return reference

    async def take_posted(
        self, tenant: str, reference: str, *, binding: str | None
    ) -> tuple[TakenAttempt, Response]:
        """Consume the attempt and the response that were stored under a reference.

        Raises: AttemptUnknown.
        """
        taken = await self._take(tenant, reference, digest(reference), binding)
        if taken.sealed.response is None:
            raise AttemptUnknown("nothing was stored under this reference")
        return taken, taken.sealed.response

    def _seal(self, attempt_id: str, sealed: SealedAttempt) -> str:
        return self._vault.seal(self._kind.document(attempt_id), sealed.encode())

    async def _take(self, tenant: str, key: str, attempt_id: str, binding: str | None) -> TakenAttempt:
        if not key or len(key) > _MAX_STATE_CHARS:
            raise AttemptUnknown("state is missing or too long")
        if AttemptKind.of(key) is not self._kind:
            raise AttemptUnknown("the state is of another kind of attempt")
        attempt = await self._store.take_attempt(
            attempt_id, tenant=tenant, binding_hash=digest(require_binding(binding)), now=self._clock()
        )
        if attempt is None:
            raise AttemptNotLive("no live attempt has this state, redirect URI, tenant and browser")
        try:
            opened = self._vault.open(self._kind.document(attempt.id), attempt.sealed)
        except VaultError as error:
            raise AttemptUnknown(f"the attempt cannot be opened: {error.detail}") from error
        sealed = SealedAttempt.decode(opened)
        if (sealed.test is None) is (self._kind is AttemptKind.TEST):
            raise AttemptUnknown("the attempt is of another kind")
        return TakenAttempt(attempt, sealed)


def bounded_response(response: Response) -> Response:
    """Return the known parameters of a posted response. Raises: ResponseMalformed."""
    known = known_parameters(response)
    if len(json.dumps(json.dumps(known))) > _MAX_POSTED_RESPONSE_CHARS:
        raise ResponseMalformed("the response is too long")
    return known


def require_binding(binding: str | None) -> str:
    """Return the binding of the browser if it is well-formed.

    Raises: AttemptNotLive, before the store is read: a client without an attempt causes no database load.
    """
    if not is_binding(binding):
        raise AttemptNotLive("the browser sent no valid binding cookie")
    return binding


def _attempt_id(state: str, redirect_uri: str) -> str:
    """The id under which an attempt is stored.

    It includes the redirect URI, so a response matches only an attempt with the redirect URI that it arrived
    at (RFC 9700 4.4.2.2). At another URI it matches no attempt: the portal sends no token request and
    consumes no attempt (THREATS T1).
    """
    return digest(f"{redirect_uri}\n{state}")
