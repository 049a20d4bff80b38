"""The live tenants as sessions see them, from the registry and the portal's settings."""

from __future__ import annotations

from collections.abc import Sequence

from portal.access.rules import AccessRules
from portal.config.settings import Settings
from portal.oidc.provider import Provider
from portal.sessions.directory import Limits
from portal.tenancy.model import Tenant
from portal.tenancy.registry import Registry


class TenantDirectory:
    """A `portal.sessions.directory.Directory`."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._absolute = settings.session.absolute

    def provider(self, tenant: str, provider: str) -> Provider | None:
        live = self._registry.get(tenant)
        return live.providers.get(provider) if live else None

    def limits(self, tenant: str) -> Limits:
        live: Tenant | None = self._registry.get(tenant)
        if live is None:
            return Limits(None, self._absolute)
        return Limits(live.session.idle, min(live.session.absolute or self._absolute, self._absolute))

    def accepts_logins(self, tenant: str) -> bool:
        return (live := self._registry.get(tenant)) is not None and live.accepts_logins

    def email_claim(self, tenant: str) -> str:
        return live.claims.email if (live := self._registry.get(tenant)) is not None else ""

    def access(self, tenant: str, provider: str) -> Sequence[AccessRules]:
        live = self._registry.get(tenant)
        return live.access.get(provider, ()) if live else ()
