"""A Store that fails on command, around one that works."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from typing import Any

from portal.errors import StoreUnavailable
from portal.stores.store import Store

METHODS = tuple(
    name for name, method in vars(Store).items() if inspect.iscoroutinefunction(method) and name != "close"
)
"""Every method of a Store that asks the database."""


class FailingStore:
    """Passes every call on, unless it was told that the method fails or loses its acknowledgement."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failing: dict[str, float] = {}
        self._losing: dict[str, float] = {}
        self.calls: Counter[str] = Counter()

    def fail(self, *names: str, times: float = math.inf) -> None:
        """From now on, these methods (all when none is named) do nothing and raise StoreUnavailable."""
        self._failing.update(dict.fromkeys(names or METHODS, times))

    def lose(self, *names: str, times: float = math.inf) -> None:
        """From now on, these methods do what they are told and raise StoreUnavailable nevertheless."""
        self._losing.update(dict.fromkeys(names or METHODS, times))

    def recover(self) -> None:
        """Everything works again."""
        self._failing.clear()
        self._losing.clear()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in METHODS:
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            if _due(self._failing, name):
                raise StoreUnavailable(f"{name} was told to fail")
            result = await method(*arguments, **named)
            if _due(self._losing, name):
                raise StoreUnavailable(f"the acknowledgement of {name} was lost")
            return result

        return call


def _due(told: dict[str, float], name: str) -> bool:
    told[name] = told.get(name, 0) - 1
    return told[name] >= 0
