"""Test logins: somebody signs in at a provider of a draft, to see what a publication would do (decision 057).

A test login goes through the same steps as a login, at the same redirect URI, and ends with what the provider
said about the user. It makes no session, and its tokens are revoked and forgotten (THREATS A6). What it
fetches from the provider is not kept: nothing that a draft names can reach a live login, or another draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from portal.admin.actors import Actor
from portal.admin.draft_reading import OpenDraft
from portal.admin.draft_state import FailedTest, TestLoginTooLarge, TestResult, sign_in_fingerprint
from portal.admin.drafts import DraftChanged, Drafts
from portal.admin.events import Act, EventKind, Outcome
from portal.admin.tenants import TenantMissing
from portal.admin.test_login_errors import TooManyTests, changed_meanwhile, refused
from portal.admin.test_redirect_uris import CallbackUrls, redirect_uri
from portal.admin.viewers import Right, Viewer
from portal.clock import Clock
from portal.display_text import display_text
from portal.errors import PortalError, StoreUnavailable
from portal.keys.vault import Vault
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.authorization_response import check_delivery
from portal.oidc.errors import ProviderDenied
from portal.oidc.provider import Authentication, Provider
from portal.oidc.refetch_budget import RefetchBudget
from portal.oidc.relying_party import RelyingParty
from portal.sentences import message
from portal.sessions.attempts import OpenAttempt
from portal.sessions.login_size import check_login_size
from portal.sessions.login_warnings import missing_scopes, warnings_of
from portal.sessions.sealed_attempt import Response, SealedTest
from portal.sessions.stored_attempts import (
    AttemptKind,
    StoredAttempts,
    TakenAttempt,
    bounded_response,
    require_binding,
)
from portal.sessions.token_revocation import revoke_tokens
from portal.stores.store import Store
from portal.tenancy.model import Tenant

_log = structlog.get_logger("portal.admin")

_BURST = 10
_REFILL_SECONDS = 6.0
"""A tenant can begin ten test logins at once, and then one every six seconds."""
_LONGEST_DETAIL = 1_000
_LONGEST_SCOPES = 300


class LiveTenants(Protocol):
    """What test logins need of the registry."""

    def get(self, slug: str) -> Tenant | None:
        """The live tenant with this slug."""

    def file_of(self, slug: str) -> Path | None:
        """The file to which a slug belongs, if any."""


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """A test login that can begin."""

    provider: Provider
    fingerprint: str
    """The `sign_in_fingerprint` of the provider."""
    redirect_uri: str
    separate: bool
    """Whether logins after a publication will use another redirect URI: see `redirect_uri`."""


@dataclass(frozen=True, slots=True)
class BegunTest:
    """Redirect the browser to this URL of this provider."""

    url: str
    provider: Provider


class TestLogins:
    """Begins and finishes test logins; the results are kept with the draft.

    Parameters: relying_party, makes one for each step of a test login; callbacks, of the portal's main site;
    clock, that of the database.
    """

    __test__ = False

    def __init__(
        self,
        drafts: Drafts,
        tenants: LiveTenants,
        *,
        store: Store,
        vault: Vault,
        relying_party: Callable[[], RelyingParty],
        callbacks: CallbackUrls,
        clock: Clock,
    ) -> None:
        self._drafts = drafts
        self._tenants = tenants
        self._attempts = StoredAttempts(AttemptKind.TEST, store=store, vault=vault, clock=clock)
        self._relying_party = relying_party
        self._callbacks = callbacks
        self._clock = clock
        self._budget = RefetchBudget(clock, burst=_BURST, refill=_REFILL_SECONDS)

    # --- beginning

    def plan(self, draft: OpenDraft, provider: str) -> PlannedTest:
        """Return the test login at a provider of a draft. Raises TestLoginRefused."""
        if self._tenants.file_of(draft.slug) is not None:
            raise refused(message("The settings of this organisation are in a file. It has no draft."))
        if draft.record is None:
            raise refused(message("There is no draft: what is live has not been changed."))
        if draft.loaded is None or draft.problems:
            raise refused(message("The draft has problems. Correct them before the test login."))
        tenant = draft.loaded.tenant
        tested = tenant.providers.get(provider)
        if tested is None:
            raise refused(message("The draft has no such provider."))
        uri = redirect_uri(tenant, tested, self._live(draft), self._callbacks)
        separate = uri != self._callbacks.callback_url(tenant, provider)
        return PlannedTest(tested, sign_in_fingerprint(tenant, provider), uri, separate)

    def _live(self, draft: OpenDraft) -> list[Tenant] | None:
        """What is live of the tenant of a draft, as `redirect_uri` needs it.

        That is the live revision, also of a suspended tenant, whose client is still registered; and what this
        process serves, which may be the one before.
        """
        if draft.live is not None and draft.live_tenant is None:
            return None
        both = (draft.live_tenant, self._tenants.get(draft.slug))
        return [one for one in both if one is not None]

    async def begin(
        self,
        slug: str,
        provider: str,
        *,
        bind: Callable[[Provider], str],
        act: Act,
        options: AuthorizationOptions | None = None,
    ) -> BegunTest | FailedTest:
        """Begin a test login at a provider of the draft as it is now.

        Parameters: bind, returns the binding of the browser for a login at a provider.
        Raises: TestLoginRefused, TenantMissing, StoreUnavailable.
        """
        draft = await self._drafts.get(slug)
        planned = self.plan(draft, provider)
        if not self._budget.take(slug):
            raise TooManyTests(f"more than {_BURST} at once")
        binding = bind(planned.provider)
        try:
            return await self._begin(planned, binding, act.actor, options or AuthorizationOptions())
        except StoreUnavailable:
            raise
        except PortalError as error:
            return await self._failed(draft, planned, act, error)

    async def _begin(
        self, planned: PlannedTest, binding: str, actor: Actor, options: AuthorizationOptions
    ) -> BegunTest:
        provider, party = planned.provider, self._relying_party()
        try:
            request = await party.begin(
                provider,
                redirect_uri=planned.redirect_uri,
                options=replace(options, state_prefix=AttemptKind.TEST.value),
            )
        finally:
            await party.close()
        await self._attempts.add(
            provider,
            request,
            return_to="",
            binding=binding,
            login_hint=options.login_hint,
            test=SealedTest(actor.as_json(), planned.fingerprint),
        )
        return BegunTest(request.url, provider)

    # --- finishing

    async def store_posted_response(
        self, slug: str, response: Response, *, redirect_uri: str, binding: str | None
    ) -> str:
        """Store a posted response until the browser returns with its cookies; return the reference.

        Parameters: redirect_uri, where the response arrived.
        Raises: ResponseMalformed, SignedResponseRejected, ResponseModeRejected, AttemptUnknown,
        TestLoginRefused, StoreUnavailable.
        """
        require_binding(binding)
        response = bounded_response(response)
        taken = await self._attempts.take(slug, response, redirect_uri=redirect_uri, binding=binding)
        _, planned = await self._draft_of(slug, taken)
        return await self._attempts.store_posted(taken, response, planned.provider.response_mode)

    async def finish_posted(
        self, slug: str, reference: str, *, binding: str | None, viewer: Viewer, request: Act
    ) -> BegunTest | TestResult | FailedTest:
        """As `finish`, with the posted response that was stored under a reference."""
        taken, response = await self._attempts.take_posted(slug, reference, binding=binding)
        return await self._finish(
            slug, taken, response, binding, _act(viewer, slug, taken, request), posted=True
        )

    async def finish(
        self,
        slug: str,
        response: Response,
        *,
        redirect_uri: str,
        binding: str | None,
        viewer: Viewer,
        request: Act,
    ) -> BegunTest | TestResult | FailedTest:
        """Validate an authorization response from the URL; keep what it says with the draft.

        Return the result, or what failed; or, as after a login that a provider cannot do without another
        page, where to send the browser again.
        Parameters: redirect_uri, where the response arrived; viewer, who has the browser now; request, for
        the event, with any actor.
        Raises: ResponseMalformed, SignedResponseRejected, AttemptUnknown, TestLoginRefused, StoreUnavailable:
        the test login is not known, or not one of this browser, viewer and draft.
        """
        taken = await self._attempts.take(slug, response, redirect_uri=redirect_uri, binding=binding)
        return await self._finish(
            slug, taken, response, binding, _act(viewer, slug, taken, request), posted=False
        )

    async def _finish(
        self,
        slug: str,
        taken: TakenAttempt,
        response: Response,
        binding: str | None,
        act: Act,
        *,
        posted: bool,
    ) -> BegunTest | TestResult | FailedTest:
        draft, planned = await self._draft_of(slug, taken)
        attempt = OpenAttempt.of(taken, planned.provider)
        try:
            if not posted:
                check_delivery(response, attempt.provider.response_mode, posted=False)
            authentication = await self._authentication(attempt, response)
        except ProviderDenied as denial:
            options = attempt.retry(denial.error)
            if options is None or binding is None:
                return await self._failed(draft, planned, act, denial)
            return await self._begin(planned, binding, act.actor, options)
        except PortalError as error:
            return await self._failed(draft, planned, act, error)
        result = self._result(planned, authentication, act.actor)
        event = act.event(EventKind.TEST_LOGIN, tenant=slug, target=_target(planned), at=result.at)
        try:
            await self._drafts.record_test(slug, result, version=draft.version, event=event)
        except TestLoginTooLarge as error:
            return await self._failed(draft, planned, act, error)
        except (DraftChanged, TenantMissing) as error:
            raise changed_meanwhile() from error
        _log.info("test_login_succeeded", tenant=slug, provider=planned.provider.id)
        return result

    async def _authentication(self, attempt: OpenAttempt, response: Response) -> Authentication:
        """Finish the login as a real one, and revoke its tokens."""
        party = self._relying_party()
        try:
            authentication = await party.finish(
                attempt.provider,
                response,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                redirect_uri=attempt.redirect_uri,
                dpop_key=attempt.dpop_key,
                interaction=attempt.asked,
            )
            await revoke_tokens(party, attempt.provider, authentication.tokens)
        finally:
            await party.close()
        check_login_size(authentication.claims, authentication.tokens)
        return authentication

    async def _draft_of(self, slug: str, taken: TakenAttempt) -> tuple[OpenDraft, PlannedTest]:
        """The draft that an attempt tests, if it still has what is tested. Raises TestLoginRefused."""
        structlog.contextvars.bind_contextvars(provider=taken.attempt.provider)
        tested = taken.sealed.test
        try:
            draft = await self._drafts.get(slug)
        except TenantMissing as error:
            raise changed_meanwhile() from error
        planned = self.plan(draft, taken.attempt.provider)
        if tested is None or planned.fingerprint != tested.fingerprint:
            raise changed_meanwhile()
        if planned.redirect_uri != taken.attempt.redirect_uri:  # what is live has changed
            raise changed_meanwhile()
        return draft, planned

    # --- what is kept

    def _result(self, planned: PlannedTest, authentication: Authentication, actor: Actor) -> TestResult:
        return TestResult(
            provider=planned.provider.id,
            registration=planned.fingerprint,
            at=self._clock(),
            actor=actor.as_json(),
            claims=authentication.claims,
            subject=authentication.subject,
            issuer=authentication.issuer,
            scopes=tuple(display_text(scope) for scope in authentication.tokens.scope),
            refresh_token=authentication.tokens.refresh_token is not None,
            warnings=tuple(_warnings(planned.provider, authentication)),
        )

    async def _failed(
        self, draft: OpenDraft, planned: PlannedTest, act: Act, error: PortalError
    ) -> FailedTest:
        failed = FailedTest(
            provider=planned.provider.id,
            registration=planned.fingerprint,
            at=self._clock(),
            actor=act.actor.as_json(),
            code=error.code,
            title=error.title,
            explanation=display_text(error.explanation or "", _LONGEST_DETAIL),
            detail=display_text(error.detail, _LONGEST_DETAIL),
        )
        _log.info(
            "test_login_failed",
            tenant=draft.slug,
            provider=failed.provider,
            code=failed.code,
            detail=failed.detail,
        )
        event = replace(act, reason=failed.title).event(
            EventKind.TEST_LOGIN,
            tenant=draft.slug,
            target=_target(planned),
            at=failed.at,
            outcome=Outcome.REFUSED,
        )
        try:
            await self._drafts.record_failed_test(draft.slug, failed, version=draft.version, event=event)
        except (DraftChanged, TenantMissing) as changed:
            raise changed_meanwhile() from changed
        return failed


def _act(viewer: Viewer, slug: str, taken: TakenAttempt, request: Act) -> Act:
    """A request as an act of who tests, if that is still who began. Raises TestLoginRefused."""
    if viewer.may(Right.DRAFT, slug):
        actor = viewer.actor_for(slug)
        if taken.sealed.test is not None and actor.as_json() == taken.sealed.test.actor:
            return replace(request, actor=actor)
    raise refused(message("You are not, or no longer, who began this test login."))


def _target(planned: PlannedTest) -> str:
    return f"provider {planned.provider.id}"


def _warnings(provider: Provider, authentication: Authentication) -> Iterator[str]:
    for _, detail in warnings_of(provider, authentication):
        yield detail
    missing = [one for one in missing_scopes(provider, authentication.tokens) if one != "offline_access"]
    if missing:
        names = display_text(", ".join(missing), _LONGEST_SCOPES)
        yield f"the provider did not grant these scopes: {names}"
