"""Runs the live checks of drafts in the background, and keeps their results for ten minutes.

The results are in the database, so that every process of the portal shows the same (docs/decisions/064). A
run costs outgoing requests: there is one at a time for each tenant, then a pause, and a few in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import structlog

from portal.clock import Clock
from portal.errors import PortalError, StoreUnavailable
from portal.tenancy.checks.live.model import CheckResult, Context, Status
from portal.tenancy.checks.live.runner import run_live_checks

KEPT = 600.0
"""Seconds that results are shown."""
PAUSE = 10.0
"""Seconds from the beginning of a run to that of the next of the same tenant."""
LONGEST_RUN = 40.0
"""Seconds after which a run that has not ended is taken for interrupted, since its process has."""
MOST_RUNS = 4
"""At the same time in a process."""
_MOST_RESULTS = 300
_LONGEST_TEXT = 400
_STEP = 1.0
"""Seconds between two updates of the results of a run."""
_STORE_ATTEMPTS = 5

_log = structlog.get_logger()


class ChecksRefused(PortalError):
    """The checks cannot begin now. Parameters: retry_after, seconds."""

    status = 429
    code = "checks_refused"
    title = "The checks cannot begin yet"
    advice = "Wait a few seconds and try again."


class RunState(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A run of the live checks of a draft."""

    state: RunState
    began_at: float
    """Seconds, UTC."""
    version: int | None
    """Of the draft that is checked."""
    made_at: float
    """When the tenant was made: the next tenant of the same slug does not see the run."""
    results: tuple[CheckResult, ...] = ()

    def text(self) -> str:
        """The JSON in the database."""
        results = [asdict(_bounded(one)) for one in self.results[:_MOST_RESULTS]]
        fields = {"state": self.state, "began_at": self.began_at, "version": self.version}
        fields["made_at"] = self.made_at
        return json.dumps({**fields, "results": results}, ensure_ascii=False)

    def count(self, status: Status) -> int:
        """How many results have a verdict."""
        return sum(1 for one in self.results if one.status is status)


class MetaStore(Protocol):
    """What the runs need of the database."""

    async def get_meta(self, meta_id: str) -> str | None: ...

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool: ...


class CheckRuns:
    """The runs of a process. Parameters: clock, that of the database."""

    def __init__(self, store: MetaStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._runs: set[asyncio.Task[None]] = set()
        self._kept: set[asyncio.Task[None]] = set()
        """Those that will delete results."""

    async def report(self, slug: str, *, made_at: float) -> CheckReport | None:
        """Return the last run of a tenant, if it is not older than ten minutes.

        Parameters: made_at, when the tenant was made. Raises StoreUnavailable.
        """
        found = _read(await self._store.get_meta(_key(slug)))
        if found is None or found.made_at != made_at or found.began_at + KEPT < self._clock():
            return None
        if found.state is RunState.RUNNING and found.began_at + LONGEST_RUN < self._clock():
            return replace(found, state=RunState.INTERRUPTED)
        return found

    async def begin(
        self, slug: str, contexts: Sequence[Context], *, version: int | None, made_at: float
    ) -> None:
        """Begin a run.

        Parameters: contexts, of the providers of a tenant; version, of its draft; made_at, when it was made.

        Raises: ChecksRefused while another one runs, or too soon after it; StoreUnavailable.
        """
        if len(self._runs) >= MOST_RUNS:
            raise ChecksRefused("too many checks are running", retry_after=5)
        text = await self._store.get_meta(_key(slug))
        earlier, now = _read(text), self._clock()
        if earlier is not None:
            pause = LONGEST_RUN if earlier.state is RunState.RUNNING else PAUSE
            if (left := earlier.began_at + pause - now) > 0:
                raise ChecksRefused("checks of this tenant ran a moment ago", retry_after=int(left) + 1)
        run = CheckReport(RunState.RUNNING, now, version, made_at)
        if not await self._store.swap_meta(_key(slug), expected=text, value=run.text()):
            raise ChecksRefused("checks of this tenant have just begun", retry_after=int(PAUSE))
        _start(self._run(slug, contexts, run), self._runs)

    async def close(self) -> None:
        """Stop the runs; they are reported as interrupted."""
        tasks = [*self._runs, *self._kept]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, slug: str, contexts: Sequence[Context], run: CheckReport) -> None:
        try:
            await self._check(slug, contexts, run)
        except StoreUnavailable as error:
            _log.warning("live_checks_not_stored", tenant=slug, reason=error.detail)
            return
        _start(self._forget(slug, run), self._kept)

    async def _forget(self, slug: str, run: CheckReport) -> None:
        """Delete the results when they are shown no longer."""
        await asyncio.sleep(KEPT)
        with contextlib.suppress(StoreUnavailable):  # the next run of the tenant replaces them
            await self._put(slug, run, "")

    async def _check(self, slug: str, contexts: Sequence[Context], run: CheckReport) -> None:
        """Run the checks, and store the results as they become known."""
        found: list[CheckResult] = []
        checks = asyncio.ensure_future(run_live_checks(contexts, progress=found.append))
        try:
            while not (await asyncio.wait({checks}, timeout=_STEP))[0]:
                with contextlib.suppress(StoreUnavailable):  # the next step has these results as well
                    await self._put(slug, run, replace(run, results=tuple(found)).text())
        finally:
            checks.cancel()
        done = replace(run, state=RunState.DONE, results=tuple(checks.result())).text()
        for _ in range(_STORE_ATTEMPTS):
            with contextlib.suppress(StoreUnavailable):  # tried again
                await self._put(slug, run, done)
                return
            await asyncio.sleep(_STEP)
        await self._put(slug, run, done)

    async def _put(self, slug: str, run: CheckReport, text: str) -> None:
        """Replace what is stored of a run; a later run stays. Raises StoreUnavailable."""
        stored = await self._store.get_meta(_key(slug))
        now = _read(stored)
        if now is not None and now.began_at == run.began_at:
            await self._store.swap_meta(_key(slug), expected=stored, value=text)


def _start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _key(slug: str) -> str:
    return f"live_checks:{slug}"


def _bounded(result: CheckResult) -> CheckResult:
    seen, advice, where = (_shortened(text) for text in (result.seen, result.advice, result.where))
    return replace(result, seen=seen, advice=advice, where=where)


def _shortened(text: str) -> str:
    """A text that ends with a whole word; what follows a sentence is one of its own."""
    text = text.replace(".; ", ". ")
    if len(text) <= _LONGEST_TEXT:
        return text
    kept = text[: _LONGEST_TEXT - 2]
    return f"{kept.rpartition(' ')[0] or kept} …"


def _read(text: str | None) -> CheckReport | None:
    """The run in the database; None without one, and for one of a later version."""
    try:
        found = json.loads(text) if text else None
        if found is None:
            return None
        results = tuple(CheckResult(**{**one, "status": Status(one["status"])}) for one in found["results"])
        began_at, made_at = float(found["began_at"]), float(found["made_at"])
        return CheckReport(RunState(found["state"]), began_at, found["version"], made_at, results)
    except (ValueError, TypeError, KeyError):
        return None
