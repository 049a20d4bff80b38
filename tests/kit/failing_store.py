"""A wrapper that makes a Store fail for tests."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from typing import Any

from portal.errors import FailedBeforeLogin, StoredWithoutLogin, StoreUnavailable
from portal.stores.model import Login
from portal.stores.store import Store
from portal.stores.tenant_store import TenantStore

METHODS = tuple(
    name for name, method in vars(Store).items() if inspect.iscoroutinefunction(method) and name != "close"
)
"""All methods of a Store that access the database."""
TENANT_METHODS = tuple(
    name for name, method in vars(TenantStore).items() if inspect.iscoroutinefunction(method)
)
"""Those of its `tenants`."""


class FailingStore:
    """Forwards each call, except for methods that a test made fail or lose their acknowledgement.

    A login that is stored with its session is a call of `put_login` after that of the session, as on MongoDB.
    The methods of its `tenants` fail in the same way.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failing: dict[str, float] = {}
        self._losing: dict[str, float] = {}
        self.calls: Counter[str] = Counter()

    def fail(self, *names: str, times: float = math.inf) -> None:
        """Make these methods (default: all) raise StoreUnavailable without any effect."""
        self._failing.update(dict.fromkeys(names or (*METHODS, *TENANT_METHODS), times))

    def lose(self, *names: str, times: float = math.inf) -> None:
        """Make these methods (default: all) take effect, but raise StoreUnavailable."""
        self._losing.update(dict.fromkeys(names or (*METHODS, *TENANT_METHODS), times))

    def recover(self) -> None:
        """Make all methods work again."""
        self._failing.clear()
        self._losing.clear()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "tenants":
            return _FailingTenants(self, found)
        return self.failing(name, found) if name in METHODS else found

    def failing(self, name: str, method: Any) -> Any:
        """A method that fails when the test says so, and calls `method` otherwise."""

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            login = None if name == "put_login" else named.pop("login", None)
            failure = StoreUnavailable if login is None else FailedBeforeLogin
            if _due(self._failing, name):
                raise failure(f"the test made {name} fail")
            result = await method(*arguments, **named)
            if _due(self._losing, name):
                raise failure(f"the acknowledgement of {name} was lost")
            if login is not None and result is not False:
                await self._put_after_session(login)
            return result

        return call

    async def _put_after_session(self, login: Login) -> None:
        try:
            await self.put_login(login)
        except StoreUnavailable as error:
            raise StoredWithoutLogin(error.detail) from error


class _FailingTenants:
    def __init__(self, store: FailingStore, tenants: TenantStore) -> None:
        self._store = store
        self._tenants = tenants

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._tenants, name)
        return self._store.failing(name, method) if name in TENANT_METHODS else method


def _due(remaining: dict[str, float], name: str) -> bool:
    remaining[name] = remaining.get(name, 0) - 1
    return remaining[name] >= 0
