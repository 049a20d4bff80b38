"""The domains of tenants of an open database, for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portal.admin.domains import Domains
    from portal.config.settings import Settings
    from portal.stores.tenant_store import Database


async def opened_domains(settings: Settings, database: Database) -> Domains:
    """Raises ConfigurationError and StartupError when the key ring is not that of the database."""
    from portal.admin.content_worker import ContentWorker
    from portal.admin.domains import Domains
    from portal.keys.key_ring import KeyRing
    from portal.keys.key_ring_check import check_key_ring
    from portal.keys.vault import Vault
    from portal.outbound.txt_records import TxtRecords
    from portal.tenancy.available_presets import available_presets
    from portal.tenancy.stored import ContentReader

    ring = KeyRing.load(settings.keys)
    await check_key_ring(database, ring)

    async def owner_of(name: str) -> str | None:
        return await _owner_in_files(settings, database, name)

    vault = Vault(ring)
    return Domains(
        database.tenants,
        database,
        vault,
        TxtRecords(settings.domains.nameservers),
        contents=ContentWorker(ContentReader(vault, available_presets(settings.presets))),
        owner_of=owner_of,
        clock=database.time,
    )


async def _owner_in_files(settings: Settings, database: Database, name: str) -> str | None:
    """As `portal.tenancy.registry.Registry.owner_in_files`, from what portals recorded."""
    from portal.tenancy.loading import SUFFIXES
    from portal.tenancy.owner_record import recorded_owners

    if name == settings.public_host.lower():
        return ""
    recorded = await recorded_owners(database)
    owner = recorded.get(("hosts", name)) or recorded.get(("email_domains", name))
    if owner is None or any((settings.tenants / f"{owner}{suffix}").exists() for suffix in SUFFIXES):
        return owner
    return owner if await database.tenants.get_tenant(owner) is None else None
