"""Global Token Revocation: a provider ends all logins of one of its users at a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from weakref import WeakValueDictionary

import structlog

from portal.clock import Clock
from portal.oidc import global_revocation
from portal.oidc.errors import RevocationSubjectUnknown, RevocationTokenRejected
from portal.oidc.global_revocation import RevocationSender, RevokedSubject, SubjectFormat
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.credentials import digest
from portal.sessions.ended import Ended, EndReason, ignore_end
from portal.sessions.logout import LogoutService
from portal.sessions.revoked_users import RevokedUsers
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins

_log = structlog.get_logger("portal.logout")

_READ_AT_ONCE = 200


class GlobalRevocationService:
    """Ends logins of one tenant only: two tenants may share an issuer. Parameters: clock, of the database."""

    def __init__(
        self,
        *,
        store: Store,
        logins: TenantLogins,
        relying_party: RelyingParty,
        logouts: LogoutService,
        clock: Clock,
        ended: Ended = ignore_end,
    ) -> None:
        self._store = store
        self._logins = logins
        self._relying_party = relying_party
        self._logouts = logouts
        self._clock = clock
        self._ended = ended
        self._revoked_users = RevokedUsers(store)
        self._searches: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each tenant: its provider cannot make the portal search for several users at once."""

    async def authenticate(
        self, tenant: str, providers: Sequence[Provider], token: Secret, *, audience: str
    ) -> RevocationSender:
        """Return who sent a request. Parameters: audience, the URL of the endpoint.

        Raises: RevocationTokenRejected, also for a token that was used; StoreUnavailable; as
        RelyingParty.verified.
        """
        enabled = [provider for provider in providers if provider.global_token_revocation]
        provider = global_revocation.find_registration(token, enabled)
        sender = await self._relying_party.verified(
            provider,
            partial(_validate, token, provider, audience, self._clock),
            unknown=global_revocation.RevocationKeyUnknown,
            purpose="revocation",
        )
        if await self._store.is_remembered(_used(tenant, sender), now=self._clock()):
            raise _replayed(sender)
        return sender

    async def end_all(
        self,
        tenant: str,
        providers: Sequence[Provider],
        sender: RevocationSender,
        subject: RevokedSubject,
        *,
        email_claim: str,
    ) -> None:
        """End all logins of a user of the sender at a tenant, and revoke their tokens.

        When this returns, the logins are deleted for all processes, and one that is being made will end. Only
        then is the token recorded as used, so the provider may send it again after a failure.
        Parameters: providers, all of the tenant; email_claim, the claim that has the e-mail address.
        Raises: RevocationSubjectUnknown when the user has no login there; RevocationTokenRejected when
        another request has used the token, and this one has ended no login; StoreUnavailable.
        """
        await self._revoked_users.record(tenant, sender.issuer, subject)
        registrations = frozenset(one.registration for one in providers if one.accepts_issuer(sender.issuer))
        if subject.format is SubjectFormat.EMAIL:
            async with self._searches.setdefault(tenant, asyncio.Lock()):
                ended = 0
                async for found in self._with_email(
                    tenant, sender, registrations, email_claim, subject.value
                ):
                    ended += await self._end(tenant, sender, registrations, found)
        else:
            ended = await self._end(tenant, sender, registrations, subject.value)
        is_first = await self._store.remember_once(
            _used(tenant, sender), expires_at=sender.acceptable_until, now=self._clock()
        )
        if not ended and not is_first:
            raise _replayed(sender)
        if not ended:
            raise RevocationSubjectUnknown(
                f"no login of this {subject.format} subject at {sender.provider.key}"
            )

    async def _with_email(
        self, tenant: str, sender: RevocationSender, registrations: Collection[str], claim: str, email: str
    ) -> AsyncIterator[str]:
        """The subjects that have a live login with this e-mail address, which is compared exactly."""
        before = None
        while True:
            page = await self._logins.list(
                tenant, registrations=registrations, before=before, most=_READ_AT_ONCE, now=self._clock()
            )
            for login in (one.login for one in page):
                if login.issuer == sender.issuer and login.claims.get(claim) == email:
                    yield login.subject
            if len(page) < _READ_AT_ONCE:
                return
            before = page[-1].position

    async def _end(
        self, tenant: str, sender: RevocationSender, registrations: Collection[str], subject: str
    ) -> int:
        count = 0
        for registration in registrations:
            ended = await self._store.delete_logins_by_subject(
                sender.issuer, subject, tenant=tenant, registration=registration
            )
            for login in ended:
                self._ended(login, EndReason.GLOBAL_TOKEN_REVOCATION)
                _log.info(
                    "login_ended",
                    tenant=tenant,
                    provider=login.provider,
                    reason=EndReason.GLOBAL_TOKEN_REVOCATION.value,
                )
            await self._logouts.revoke_ended(ended)
            count += len(ended)
        return count


def _validate(
    token: Secret, provider: Provider, audience: str, clock: Clock, keys: KeySet
) -> RevocationSender:
    return global_revocation.validate(token, provider, keys, audience=audience, now=clock())


def _used(tenant: str, sender: RevocationSender) -> str:
    return digest(f"global token revocation\0{tenant}\0{sender.issuer}\0{sender.jti}")


def _replayed(sender: RevocationSender) -> RevocationTokenRejected:
    return RevocationTokenRejected(
        "jti_replayed", "a token with this jti was accepted before", provider=sender.provider.id
    )
