"""The services of the console and of the command line, as one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from portal.admin.all_logins import AllLogins
from portal.admin.change_limit import ChangeLimit
from portal.admin.check_runs import CheckRuns
from portal.admin.closing import Closing
from portal.admin.content_worker import ContentWorker
from portal.admin.domains import Domains
from portal.admin.drafts import Drafts
from portal.admin.file_sign_ins import FileSignIns
from portal.admin.login_expiry import LoginExpiry
from portal.admin.logins import LoginAdmin, StoredTenantLogins
from portal.admin.search_turns import SearchTurns
from portal.admin.setup_links import SetupLinks
from portal.admin.subjects import Subjects
from portal.admin.summaries import Summaries
from portal.admin.tenants import TenantAdmin
from portal.admin.test_logins import TestLogins
from portal.admin.test_redirect_uris import CallbackUrls
from portal.admin.viewers import Viewers
from portal.config.settings import Settings
from portal.keys.vault import Vault
from portal.oidc.provider_health import ProviderHealth
from portal.oidc.relying_party import RelyingParty
from portal.outbound.txt_records import TxtRecords
from portal.sessions.logout import LogoutService
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
    file_sign_ins: FileSignIns
    changes: ChangeLimit
    drafts: Drafts
    contents: ContentWorker
    """Reads contents in its thread."""
    checks: CheckRuns
    test_logins: TestLogins
    domains: Domains
    setup_links: SetupLinks
    logins: LoginAdmin
    subjects: Subjects
    all_logins: AllLogins
    expiry: LoginExpiry
    closing: Closing
    health: ProviderHealth
    summaries: Summaries
    searches: SearchTurns

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.checks.close()


def admin_services(
    settings: Settings,
    *,
    database: Database,
    vault: Vault,
    registry: Registry,
    new_relying_party: Callable[[], RelyingParty],
    callbacks: CallbackUrls,
    health: ProviderHealth,
    logouts: LogoutService,
) -> AdminServices:
    """Make the services of a portal.

    Parameters: new_relying_party, makes one that shares no cache with any other; callbacks, of the main site;
    health, of the providers; registry, which has read the tenant files.
    """
    _warn_about_operators(settings, registry)
    reader = ContentReader(vault, available_presets(settings.presets), may_use_private_networks(settings))
    in_thread = ContentWorker(replace(reader, presets=available_presets(settings.presets)))
    store, clock = database.tenants, database.time
    logins = StoredTenantLogins(
        database.tenant_logins, has_file=lambda slug: registry.file_of(slug) is not None, clock=clock
    )
    tenants = TenantAdmin(
        store,
        reader,
        worker=in_thread,
        conflicts=registry.conflicts,
        end_logins=logins.end,
        clock=clock,
    )
    drafts = Drafts(store, tenants, in_thread, conflicts=registry.conflicts, clock=clock)
    setup_links = SetupLinks(store, public_url=settings.public_url, file_of=registry.file_of, clock=clock)
    file_sign_ins = FileSignIns(
        database, registry, settings.operators, seconds=settings.session.absolute, clock=clock
    )
    login_admin = LoginAdmin(
        database.tenant_logins, store, tenants=registry.get, logouts=logouts, vault=vault, clock=clock
    )
    return AdminServices(
        store=store,
        tenants=tenants,
        viewers=Viewers(
            registry,
            settings.operators,
            sign_ins=file_sign_ins,
            link_publishes=settings.setup_links == "publish",
            find_setup_link=setup_links.bound,
        ),
        file_sign_ins=file_sign_ins,
        changes=ChangeLimit(clock),
        drafts=drafts,
        contents=in_thread,
        checks=CheckRuns(database, clock=clock),
        test_logins=TestLogins(
            drafts,
            registry,
            store=database,
            vault=vault,
            relying_party=new_relying_party,
            callbacks=callbacks,
            clock=clock,
        ),
        domains=_domains(settings, database, vault, registry, in_thread),
        setup_links=setup_links,
        logins=login_admin,
        all_logins=AllLogins(
            database.tenant_logins, login_admin, tenants=registry.get, vault=vault, clock=clock
        ),
        subjects=Subjects(
            database,
            tenants=registry.get,
            end_login=logouts.end_found_login,
            vault=vault,
            clock=clock,
        ),
        expiry=LoginExpiry(database.tenant_logins, clock=clock),
        closing=Closing(tenants, logins),
        health=health,
        summaries=Summaries(registry, store),
        searches=SearchTurns(),
    )


def _warn_about_operators(settings: Settings, registry: Registry) -> None:
    """Report operators that nobody can be: a misspelt tenant looks like a console that does not open."""
    named = dict.fromkeys(operator.tenant for operator in settings.operators)
    missing = [tenant for tenant in named if registry.file_of(tenant) is None]
    if missing:
        _log.warning("operators_without_tenant_file", tenants=missing)


def _domains(
    settings: Settings, database: Database, vault: Vault, registry: Registry, contents: ContentWorker
) -> Domains:
    async def owner_of(name: str) -> str | None:
        return registry.owner_in_files(name)

    records = TxtRecords(settings.domains.nameservers)
    return Domains(
        database.tenants,
        database,
        vault,
        records,
        contents=contents,
        owner_of=owner_of,
        clock=database.time,
    )
