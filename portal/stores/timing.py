"""Measures how long the operations of a store take."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from portal.errors import StoreUnavailable
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins
from portal.stores.tenant_store import Database, TenantStore

Measure = Callable[[str, float, bool], None]
"""Called with the name of an operation, its seconds, and whether the database was unavailable."""

_NOT_MEASURED = frozenset({"open", "close"})


def timed_store(store: Database, measure: Measure) -> Database:
    """Return the store with its operations measured. Parameters: measure, called after each of them."""
    timed = TimedOperations(store, Store, measure)
    timed.tenants = TimedOperations(store.tenants, TenantStore, measure, prefix="tenants.")
    timed.tenant_logins = TimedOperations(store.tenant_logins, TenantLogins, measure, prefix="tenant_logins.")
    return cast(Database, timed)


def operations_of(protocol: type) -> frozenset[str]:
    """The names of the operations of a protocol that are measured."""
    found = {name for name, _ in inspect.getmembers(protocol, inspect.iscoroutinefunction)}
    return frozenset(found - _NOT_MEASURED)


class TimedOperations:
    """Passes everything on to an object, and measures the async methods of a protocol.

    Parameters: prefix, of the names for `measure`.
    """

    tenants: TimedOperations
    tenant_logins: TimedOperations

    def __init__(self, timed: object, protocol: type, measure: Measure, *, prefix: str = "") -> None:
        self._timed = timed
        for name in operations_of(protocol):
            setattr(self, name, _measured(getattr(timed, name), f"{prefix}{name}", measure))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._timed, name)


def _measured(
    operation: Callable[..., Awaitable[object]], name: str, measure: Measure
) -> Callable[..., Awaitable[object]]:
    @wraps(operation)
    async def call(*arguments: object, **named: object) -> object:
        begun = time.perf_counter()
        failed = False
        try:
            return await operation(*arguments, **named)
        except StoreUnavailable:
            failed = True
            raise
        finally:
            measure(name, time.perf_counter() - begun, failed)

    return call
