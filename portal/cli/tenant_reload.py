"""`portal tenant reload`: lists served tenants without a file, and confirms their removal."""

from __future__ import annotations

import asyncio

from portal.cli.options import log_to_stderr
from portal.config.settings import Settings
from portal.errors import ConfigurationError, Problem, StartupError, StoreUnavailable
from portal.sessions.registrations import served_tenants
from portal.stores.by_url import store_for
from portal.stores.store import Store
from portal.tenancy.folder import tenant_files
from portal.tenancy.removals import acceptance_key

_VALID_SECONDS = 120.0
"""A portal that starts later reads the current folder anyway."""
_NAMED = 20


def reload_lines(settings: Settings, *, accept_removals: bool) -> list[str]:
    """Return the report. Parameters: accept_removals, confirm the current content of the folder.

    The confirmation goes through the database and reaches every process on every host whose folder has files
    for the same tenants. Raises ConfigurationError, StartupError.
    """
    try:
        slugs = {path.stem for path in tenant_files(settings.tenants)}
    except OSError as error:
        message = f"the folder of tenant files cannot be read: {error.strerror}"
        raise ConfigurationError([Problem(str(settings.tenants), message)]) from None
    log_to_stderr(settings)
    return asyncio.run(_reload(settings, slugs, accept_removals))


async def _reload(settings: Settings, slugs: set[str], accept_removals: bool) -> list[str]:
    store = store_for(settings.database)
    try:
        await store.open()
        stored = {record.slug for record in await store.tenants.list_tenants()}
        lost = sorted(await served_tenants(store, now=store.time()) - slugs - stored)
        if accept_removals:
            await _accept(store, slugs)
    except StoreUnavailable as error:
        raise StartupError(
            f"The database cannot be used: {error.detail}.",
            remedy="The command reaches running portals through the database: start it and try again.",
        ) from error
    finally:
        await store.close()
    lines = [f"{settings.tenants} has files for {len(slugs)} tenants."]
    names = ", ".join(lost[:_NAMED]) + (f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
    if accept_removals:
        lines.append(f"Running portals remove tenants without a file within seconds: {names or 'none'}.")
    elif lost:
        lines.append(f"Served without a file, or just removed: {names}.")
        lines.append("Restore the files, or confirm with: portal tenant reload --accept-removals")
    else:
        lines.append("Every served tenant has a file. Running portals reload changed files automatically.")
    return lines


async def _accept(store: Store, slugs: set[str]) -> None:
    now = store.time()
    await store.remember_once(acceptance_key(slugs), expires_at=now + _VALID_SECONDS, now=now)
