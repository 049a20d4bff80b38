"""`portal tenant reload`: tells which tenants have lost their files, and confirms that they are to go."""

from __future__ import annotations

import asyncio

from portal.config.settings import Settings
from portal.errors import ConfigurationError, Problem, StartupError, StoreUnavailable
from portal.sessions.registrations import served_tenants
from portal.stores.by_url import store_for
from portal.stores.store import Store
from portal.tenancy.folder import tenant_files
from portal.tenancy.removals import acceptance_key

_VALID_SECONDS = 120.0
"""A portal that is started later reads the folder as it is anyway."""
_NAMED = 20


def reload_lines(settings: Settings, *, accept_removals: bool) -> list[str]:
    """Return what to say. Parameters: accept_removals, confirm the folder as it is now.

    The confirmation goes through the database: it reaches every process of every host whose folder holds
    files for the same tenants. Raises ConfigurationError, StartupError.
    """
    try:
        slugs = {path.stem for path in tenant_files(settings.tenants)}
    except OSError as error:
        message = f"the folder of tenant files cannot be read: {error.strerror}"
        raise ConfigurationError([Problem(str(settings.tenants), message)]) from None
    return asyncio.run(_reload(settings, slugs, accept_removals))


async def _reload(settings: Settings, slugs: set[str], accept_removals: bool) -> list[str]:
    store = store_for(settings.database)
    try:
        await store.open()
        lost = sorted(await served_tenants(store, now=store.time()) - slugs)
        if accept_removals:
            await _accept(store, slugs)
    except StoreUnavailable as error:
        raise StartupError(
            f"The database cannot be used: {error.detail}.",
            remedy="It is needed to reach the portals that run: start it, and try again.",
        ) from error
    finally:
        await store.close()
    lines = [f"There are files for {len(slugs)} tenants in {settings.tenants}."]
    names = ", ".join(lost[:_NAMED]) + (f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
    if accept_removals:
        lines.append(f"Running portals end within seconds what has no file here: {names or 'nothing'}.")
    elif lost:
        lines.append(f"Served without a file, or removed just now: {names}.")
        lines.append("Bring the files back, or confirm with: portal tenant reload --accept-removals")
    else:
        lines.append("Every tenant that is served has its file. Running portals follow files by themselves.")
    return lines


async def _accept(store: Store, slugs: set[str]) -> None:
    moment = store.time()
    await store.remember_once(acceptance_key(slugs), expires_at=moment + _VALID_SECONDS, now=moment)
