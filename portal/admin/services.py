"""The services of the console and of the command line, as one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from portal.admin.closing import Closing
from portal.admin.content_worker import ContentWorker
from portal.admin.drafts import Drafts
from portal.admin.health import ProviderHealth
from portal.admin.logins import LoginAdmin
from portal.admin.summaries import Summaries
from portal.admin.tenants import TenantAdmin
from portal.admin.test_logins import TestLogins
from portal.admin.test_redirect_uris import CallbackUrls
from portal.admin.viewers import Viewers
from portal.config.settings import Settings
from portal.keys.vault import Vault
from portal.oidc.relying_party import RelyingParty
from portal.sessions.logout import LogoutService
from portal.sessions.refresh import TokenRefresher
from portal.stores.tenant_store import Database, TenantStore
from portal.tenancy.available_presets import available_presets
from portal.tenancy.registry import Registry
from portal.tenancy.stored import ContentReader, may_use_private_networks

_log = structlog.get_logger("portal.admin")


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the console's handlers use."""

    store: TenantStore
    tenants: TenantAdmin
    viewers: Viewers
    drafts: Drafts
    test_logins: TestLogins
    logins: LoginAdmin
    closing: Closing
    health: ProviderHealth
    summaries: Summaries


def admin_services(
    settings: Settings,
    *,
    database: Database,
    vault: Vault,
    registry: Registry,
    new_relying_party: Callable[[], RelyingParty],
    callbacks: CallbackUrls,
    relying_party: RelyingParty,
    tokens: TokenRefresher,
    logouts: LogoutService,
) -> AdminServices:
    """Make the services of a portal.

    Parameters: registry, which has read the tenant files; new_relying_party, makes one that shares no cache
    with any other; callbacks, of the main site.
    """
    _warn_about_operators(settings, registry)
    reader = ContentReader(vault, available_presets(settings.presets), may_use_private_networks(settings))
    worker = ContentWorker(replace(reader, presets=available_presets(settings.presets)))
    conflicts = registry.conflicts
    tenants = TenantAdmin(database.tenants, reader, worker=worker, conflicts=conflicts, clock=database.time)
    drafts = Drafts(database.tenants, tenants, worker, conflicts=conflicts, clock=database.time)
    logins = LoginAdmin(
        database.tenant_logins, database.tenants, logouts=logouts, vault=vault, clock=database.time
    )
    return AdminServices(
        store=database.tenants,
        tenants=tenants,
        viewers=Viewers(registry, settings.operators, link_publishes=settings.setup_links == "publish"),
        drafts=drafts,
        test_logins=TestLogins(
            drafts,
            registry,
            store=database,
            vault=vault,
            relying_party=new_relying_party,
            callbacks=callbacks,
            clock=database.time,
        ),
        logins=logins,
        closing=Closing(tenants, database.tenant_logins, clock=database.time),
        health=ProviderHealth(relying_party, tokens),
        summaries=Summaries(registry, database.tenants),
    )


def _warn_about_operators(settings: Settings, registry: Registry) -> None:
    """Report operators that nobody can be: a misspelt tenant looks like a console that does not open."""
    named = dict.fromkeys(operator.tenant for operator in settings.operators)
    missing = [tenant for tenant in named if registry.file_of(tenant) is None]
    if missing:
        _log.warning("operators_without_tenant_file", tenants=missing)
