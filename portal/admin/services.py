"""The services of the console and of the command line, as one object."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.setup_links import SetupLinks
from portal.admin.tenants import TenantAdmin
from portal.admin.viewers import Viewers
from portal.config.settings import Settings
from portal.keys.vault import Vault
from portal.stores.tenant_store import Database, TenantStore
from portal.tenancy.available_presets import available_presets
from portal.tenancy.registry import Registry
from portal.tenancy.stored import ContentReader, may_use_private_networks


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the console's handlers use."""

    store: TenantStore
    tenants: TenantAdmin
    viewers: Viewers
    setup_links: SetupLinks


def admin_services(
    settings: Settings, *, database: Database, vault: Vault, registry: Registry
) -> AdminServices:
    """Make the services of a portal."""
    reader = ContentReader(vault, available_presets(settings.presets), may_use_private_networks(settings))
    setup_links = SetupLinks(
        database.tenants, public_url=settings.public_url, file_of=registry.file_of, clock=database.time
    )
    return AdminServices(
        store=database.tenants,
        tenants=TenantAdmin(database.tenants, reader, clock=database.time),
        viewers=Viewers(
            registry,
            settings.operators,
            link_publishes=settings.setup_links == "publish",
            find_setup_link=setup_links.bound,
        ),
        setup_links=setup_links,
    )
