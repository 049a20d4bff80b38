"""Reads and writes contents outside the event loop: 64 KB of YAML take longer than the loop may wait.

One thread does all of it, so that the presets of its reader are used by one thread at a time, and each tenant
has one piece of work in it at a time, so that a busy tenant does not delay the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from portal.errors import Problem
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.stored import ContentReader

P = ParamSpec("P")
T = TypeVar("T")

Conflicts = Callable[[LoadedTenant], Sequence[Problem]]
"""Returns a problem for each name of a tenant that another one has. Runs in a thread."""


def no_conflicts(loaded: LoadedTenant) -> Sequence[Problem]:
    """For who has no registry, such as commands."""
    return ()


class ContentWorker:
    """Runs functions on contents in its thread.

    Parameters: reader, whose presets nothing else may use; call its methods only inside `run`.
    """

    def __init__(self, reader: ContentReader) -> None:
        self.reader = reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="contents")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By slug; locks that nobody waits for disappear."""

    async def run(self, slug: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work` for a tenant, or raise what it raises."""
        turn = self._turns.setdefault(slug, asyncio.Lock())
        async with turn:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
