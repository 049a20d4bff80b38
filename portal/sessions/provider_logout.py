"""Logouts that a provider begins: it says which of its sessions ended, and the logins made in them go."""

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
from portal.sessions.refresh import TokenRefresher
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.logout")


class ProviderLogoutService:
    """Ends what a provider says has ended, for one tenant at a time: two tenants may share an issuer.

    Tokens are not revoked: refresh tokens with offline access outlive a logout at the provider (Back-Channel
    Logout 2.7), and the others it has ended itself. The portal only forgets them.
    """

    def __init__(
        self, *, store: Store, vault: Vault, relying_party: RelyingParty, tokens: TokenRefresher, clock: Clock
    ) -> None:
        self._store = store
        self._vault = vault
        self._relying_party = relying_party
        self._tokens = tokens
        self._clock = clock
        self._without_exp: set[str] = set()
        """Registrations whose logout tokens have no `exp`, each of which was logged."""

    async def end_by_token(self, tenant: str, providers: Sequence[Provider], token: Secret) -> None:
        """Accept a logout token of one of the tenant's providers, once (Back-Channel Logout 2.6 and 2.7).

        When this returns, every login that the token names is gone for every process. The token counts as
        used only then: after a failure, the provider may send it again.

        Raises: LogoutTokenRejected, nothing was ended; StoreUnavailable or ProviderUnavailable, try later;
        MetadataRejected, KeysRejected or OutboundRefused, the provider cannot be asked for its keys.
        """
        notice = await self._relying_party.read_logout_token(providers, token)
        self._warn_once(notice)
        used = digest(f"{tenant}\0{notice.issuer}\0{notice.jti}")
        if await self._store.is_remembered(used, now=self._clock()):
            raise _replayed(notice)
        await self._end_noticed(tenant, notice)
        if not await self._store.remember_once(used, expires_at=notice.acceptable_until, now=self._clock()):
            raise _replayed(notice)

    async def end_by_sid(
        self, tenant: str, providers: Collection[Provider], issuer: str | None, sid: str
    ) -> None:
        """End the logins of the provider session `sid` (Front-Channel Logout 1.0, 3).

        Parameters: providers, the tenant's registrations at `issuer`; None: whatever issuer their tokens
        state. Whether there was such a session is not told.
        Raises: LogoutRequestRejected when `sid` is not one; StoreUnavailable.
        """
        if not is_identifier(sid):
            raise LogoutRequestRejected("sid", invalid_identifier("sid", sid))
        for provider in {provider.registration: provider for provider in providers}.values():
            await self._end_session(tenant, provider, issuer, sid, reason="front-channel logout")

    def _warn_once(self, notice: LogoutNotice) -> None:
        provider = notice.provider
        if not notice.has_exp and provider.key not in self._without_exp:
            self._without_exp.add(provider.key)
            _log.warning("logout_token_without_exp", tenant=provider.tenant, provider=provider.id)

    async def _end_noticed(self, tenant: str, notice: LogoutNotice) -> None:
        registration = notice.provider.registration
        if notice.sid is not None:
            await self._end_session(
                tenant, notice.provider, notice.issuer, notice.sid, reason="back-channel logout"
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
        self._forget(ended, "back-channel logout")

    async def _end_session(
        self, tenant: str, provider: Provider, issuer: str | None, sid: str, *, reason: str
    ) -> None:
        # Earlier portals hashed the issuer of a user's directory, where directories share `provider.issuer`.
        hashed = dict.fromkeys([provider.issuer, issuer or provider.issuer])
        candidates = [stored for one in hashed for stored in self._vault.stored_sids(tenant, one, sid)]
        for stored in dict.fromkeys(candidates):
            ended = await self._store.delete_logins_by_sid(
                issuer, stored, tenant=tenant, registration=provider.registration
            )
            self._forget(ended, reason)

    def _forget(self, ended: list[Login], reason: str) -> None:
        for login in ended:
            self._tokens.forget(login.id)
            _log.info("login_ended", tenant=login.tenant, provider=login.provider, reason=reason)


def _replayed(notice: LogoutNotice) -> LogoutTokenReplayed:
    return LogoutTokenReplayed(
        "jti_replayed", "a token of this id was accepted before", provider=notice.provider.id
    )
