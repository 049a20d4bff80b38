"""Wires the services of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from portal.config.settings import SessionSettings
from portal.keys.vault import Vault
from portal.oidc.relying_party import RelyingParty
from portal.sessions.directory import Directory
from portal.sessions.ended import Ended, ignore_end
from portal.sessions.global_revocation import GlobalRevocationService
from portal.sessions.logout import LogoutService
from portal.sessions.provider_logout import ProviderLogoutService
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenRefresher
from portal.sessions.refresh_outcomes import RefreshObserver, ignore_outcome
from portal.sessions.service import SessionService
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins
from portal.traces import Tracer


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What the services share. They store and compare times of the database's clock."""

    store: Store
    vault: Vault
    directory: Directory
    relying_party: RelyingParty
    ended: Ended = ignore_end
    """Called with each login that a provider ended, and why."""
    refreshes: RefreshObserver = ignore_outcome
    traces: Tracer | None = None

    def token_refresher(self, *, may_refresh: Callable[[], bool]) -> TokenRefresher:
        return TokenRefresher(
            store=self.store,
            vault=self.vault,
            relying_party=self.relying_party,
            directory=self.directory,
            clock=self.store.time,
            may_refresh=may_refresh,
            ended=self.ended,
            observer=self.refreshes,
            traces=self.traces,
        )

    def session_service(
        self, tokens: TokenRefresher, reader: BatchedReader, limits: SessionSettings
    ) -> SessionService:
        return SessionService(
            store=self.store,
            vault=self.vault,
            relying_party=self.relying_party,
            directory=self.directory,
            tokens=tokens,
            reader=reader,
            clock=self.store.time,
            idle=limits.idle,
            absolute=limits.absolute,
        )

    def logout_service(self, tokens: TokenRefresher) -> LogoutService:
        return LogoutService(
            store=self.store,
            vault=self.vault,
            relying_party=self.relying_party,
            directory=self.directory,
            tokens=tokens,
            clock=self.store.time,
        )

    def provider_logout_service(self, tokens: TokenRefresher) -> ProviderLogoutService:
        return ProviderLogoutService(
            store=self.store,
            vault=self.vault,
            relying_party=self.relying_party,
            tokens=tokens,
            clock=self.store.time,
            ended=self.ended,
        )

    def global_revocation_service(
        self, logouts: LogoutService, logins: TenantLogins
    ) -> GlobalRevocationService:
        return GlobalRevocationService(
            store=self.store,
            logins=logins,
            relying_party=self.relying_party,
            logouts=logouts,
            clock=self.store.time,
            ended=self.ended,
        )
