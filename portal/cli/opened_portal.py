"""A portal that serves nothing, for commands that act on logins: with its tenants, keys and database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from portal.cli.options import log_to_stderr

if TYPE_CHECKING:
    from portal.app import RunningPortal
    from portal.config.settings import Settings

T = TypeVar("T")


def with_portal(settings: Settings, work: Callable[[RunningPortal], Awaitable[T]]) -> T:
    """Run `work` with a portal whose database is open. Warnings go to standard error.

    Raises ConfigurationError, StartupError; StoreUnavailable.
    """
    return asyncio.run(_run(settings, work))


async def _run(settings: Settings, work: Callable[[RunningPortal], Awaitable[T]]) -> T:
    from portal.app import build, close
    from portal.keys.key_ring import KeyRing
    from portal.stores.by_url import startup_failures
    from portal.tenant_upkeep import TenantUpkeep

    log_to_stderr(settings)
    KeyRing.load(settings.keys)  # `build` would make a missing one
    built = build(settings)
    try:
        with startup_failures(settings.database):
            await built.portal.store.open()
            await built.database_check.check_key_ring()
            await TenantUpkeep(built.portal, built.stored_tenants).read_stored_tenants()
        await built.key_ring.reload()
        return await work(built)
    finally:
        await close(built)
