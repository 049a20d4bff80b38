"""Runs live checks: side by side, each with a limit, all of them within ten seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from portal.display_text import display_text
from portal.errors import PortalError
from portal.tenancy.checks.live.catalog import PROVIDER_CHECKS, TENANT_CHECKS
from portal.tenancy.checks.live.model import (
    Check,
    CheckResult,
    Context,
    Finding,
    NotPossible,
    Status,
)

TOTAL_SECONDS = 9.0
"""For all checks of one tenant; the rest of ten seconds is for the start and end of the command."""
AT_ONCE = 16
"""Providers that are checked at the same time."""
_LONGEST = 600
_LEAST_SECONDS = 0.05

Progress = Callable[[CheckResult], None]
"""Called with each result as it becomes known."""


async def run_live_checks(
    contexts: Sequence[Context],
    *,
    progress: Progress | None = None,
    total_seconds: float = TOTAL_SECONDS,
    provider_checks: Sequence[Check] = PROVIDER_CHECKS,
    tenant_checks: Sequence[Check] = TENANT_CHECKS,
) -> list[CheckResult]:
    """Check the providers of tenants, and their APIs; return the results in the order of the lists.

    Parameters: contexts, one for each provider, those of a tenant together; progress, called with each
    result; total_seconds, for a provider with all of its checks.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    report = progress or _ignore

    async def run(context: Context, checks: Sequence[Check], provider: str | None) -> list[CheckResult]:
        async with turns:
            return await _Run(context, provider, report, total_seconds).all(checks)

    runs = []
    for index, context in enumerate(contexts):
        runs.append(run(context, provider_checks, context.provider.id))
        is_last = index + 1 == len(contexts) or contexts[index + 1].tenant is not context.tenant
        if is_last:
            runs.append(run(_of_tenant(context), tenant_checks, None))
    return [result for results in await asyncio.gather(*runs) for result in results]


def _of_tenant(context: Context) -> Context:
    """Return a context for the checks of the tenant itself, with nothing that those of a provider found."""
    return Context(context.tenant, context.tenant.default_provider, context.http, (), context.clock)


def _ignore(_: CheckResult) -> None:
    """Nobody watches the progress."""


class _Run:
    """The checks of one provider or tenant."""

    def __init__(self, context: Context, provider: str | None, progress: Progress, seconds: float) -> None:
        self._context = context
        self._provider = provider
        self._progress = progress
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._tasks: dict[str, asyncio.Task[list[CheckResult]]] = {}

    async def all(self, checks: Sequence[Check]) -> list[CheckResult]:
        for check in checks:
            earlier = [self._tasks[name] for name in check.after if name in self._tasks]
            self._tasks[check.name] = asyncio.ensure_future(self._one(check, earlier))
        try:
            found = await asyncio.gather(*self._tasks.values())
        finally:
            for task in self._tasks.values():
                task.cancel()
        return [result for results in found for result in results]

    async def _one(
        self, check: Check, earlier: Sequence[asyncio.Task[list[CheckResult]]]
    ) -> list[CheckResult]:
        if earlier:
            await asyncio.wait(earlier)
        findings = await self._findings(check)
        results = [self._result(check, finding) for finding in findings]
        for result in results:
            self._progress(result)
        return results

    async def _findings(self, check: Check) -> list[Finding]:
        remaining = self._deadline - asyncio.get_running_loop().time()
        if remaining < _LEAST_SECONDS:
            seen = f"not begun: earlier checks took all of the {self._seconds:g} seconds"
            return [Finding(Status.SKIPPED, seen)]
        limit = min(check.seconds, remaining)
        try:
            async with asyncio.timeout(limit):
                return await check.run(self._context)
        except TimeoutError:
            return [Finding(Status.FAIL, f"did not respond within {limit:.1f} seconds")]
        except NotPossible as reason:
            return [Finding(Status.SKIPPED, str(reason))]
        except PortalError as error:
            return [Finding(Status.FAIL, error.detail or error.title)]

    def _result(self, check: Check, finding: Finding) -> CheckResult:
        texts = (display_text(text, _LONGEST) for text in (finding.seen, finding.advice, finding.where))
        slug = self._context.tenant.slug
        return CheckResult(slug, self._provider, check.name, finding.status, *texts)
