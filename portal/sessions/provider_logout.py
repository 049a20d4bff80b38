"""Back-channel and front-channel logout: deletes the logins of a provider session that ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from portal.clock import Clock
from portal.keys.vault import Vault
from portal.oidc.errors import LogoutRequestRejected, LogoutTokenReplayed
from portal.oidc.id_token import invalid_identifier, is_identifier
from portal.oidc.logout_token import LogoutNotice
from portal.oidc.provider import Provider
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.credentials import digest
from portal.sessions.ended import Ended, EndReason, ignore_end
from portal.sessions.refresh import TokenRefresher
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.logout")


class ProviderLogoutService:
    """Deletes logins that a provider ended, of one tenant only: two tenants may share an issuer.

    Tokens are not revoked. Refresh tokens with offline access remain valid after a logout (Back-Channel
    Logout 2.7), and the provider has revoked the others itself.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        tokens: TokenRefresher,
        clock: Clock,
        ended: Ended = ignore_end,
    ) -> None:
        self._store = store
        self._vault = vault
        self._relying_party = relying_party
        self._tokens = tokens
        self._clock = clock
        self._ended = ended
        self._without_exp: set[str] = set()
        """Registrations for which a logout token without `exp` was logged."""

    async def end_by_token(self, tenant: str, providers: Sequence[Provider], token: Secret) -> None:
        """Accept a logout token of one of the tenant's providers, once (Back-Channel Logout 2.6 and 2.7).

        When this returns, every login that the token identifies is deleted for all processes. Only then is
        the token recorded as used, so the provider may send it again after a failure.

        Raises: LogoutTokenRejected when no login was ended; StoreUnavailable or ProviderUnavailable when the
        provider may retry; MetadataRejected, KeysRejected or OutboundRefused when the provider's keys cannot
        be fetched.
        """
        notice = await self._relying_party.read_logout_token(providers, token)
        self._warn_once(notice)
        used = digest(f"{tenant}\0{notice.issuer}\0{notice.jti}")
        if await self._store.is_remembered(used, now=self._clock()):
            raise _replayed(notice)
        await self._end_logins(tenant, notice)
        if not await self._store.remember_once(used, expires_at=notice.acceptable_until, now=self._clock()):
            raise _replayed(notice)

    async def end_by_sid(
        self, tenant: str, providers: Collection[Provider], issuer: str | None, sid: str
    ) -> None:
        """End the logins of the provider session `sid` (Front-Channel Logout 1.0, 3).

        Parameters: providers, the tenant's registrations at `issuer`; issuer, None for any issuer. The caller
        does not learn whether such a session existed.
        Raises: LogoutRequestRejected when `sid` is malformed; StoreUnavailable.
        """
        if not is_identifier(sid):
            raise LogoutRequestRejected("sid", invalid_identifier("sid", sid))
        for provider in {provider.registration: provider for provider in providers}.values():
            await self._end_session(tenant, provider, issuer, sid, reason=EndReason.FRONT_CHANNEL_LOGOUT)

    def _warn_once(self, notice: LogoutNotice) -> None:
        provider = notice.provider
        if not notice.has_exp and provider.key not in self._without_exp:
            self._without_exp.add(provider.key)
            _log.warning("logout_token_without_exp", tenant=provider.tenant, provider=provider.id)

    async def _end_logins(self, tenant: str, notice: LogoutNotice) -> None:
        registration = notice.provider.registration
        if notice.sid is not None:
            await self._end_session(
                tenant, notice.provider, notice.issuer, notice.sid, reason=EndReason.BACK_CHANNEL_LOGOUT
            )
        if notice.subject is None:
            return
        ended = await self._store.delete_logins_by_subject(
            notice.issuer,
            notice.subject,
            tenant=tenant,
            registration=registration,
            without_sid=notice.sid is not None,
        )
        self._forget(ended, EndReason.BACK_CHANNEL_LOGOUT)

    async def _end_session(
        self, tenant: str, provider: Provider, issuer: str | None, sid: str, *, reason: EndReason
    ) -> None:
        # Earlier versions hashed the issuer of the user's directory instead of the shared `provider.issuer`.
        issuers = dict.fromkeys([provider.issuer, issuer or provider.issuer])
        candidates = [stored for hashed in issuers for stored in self._vault.stored_sids(tenant, hashed, sid)]
        for stored in dict.fromkeys(candidates):
            ended = await self._store.delete_logins_by_sid(
                issuer, stored, tenant=tenant, registration=provider.registration
            )
            self._forget(ended, reason)

    def _forget(self, ended: list[Login], reason: EndReason) -> None:
        for login in ended:
            self._tokens.forget(login.id)
            self._ended(login, reason)
            _log.info("login_ended", tenant=login.tenant, provider=login.provider, reason=reason.value)


def _replayed(notice: LogoutNotice) -> LogoutTokenReplayed:
    return LogoutTokenReplayed(
        "jti_replayed", "a token with this jti was accepted before", provider=notice.provider.id
    )
