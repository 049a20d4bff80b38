"""What is wrong now, for `/readyz?verbose` on the address `metrics_listen`, which is never public."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from heapq import nsmallest

from portal.display_text import display_text
from portal.oidc.health import Health
from portal.time_slices import in_slices
from portal.web.context import Portal

_MOST = 100
"""Entries of each list; the numbers count all."""
_MOST_OF_FILE = 3
_LONGEST = 500


async def found_problems(portal: Portal) -> Mapping[str, object]:
    """The providers and tenants with problems, and `store`, which is None: see `finish_readiness`.

    `providers` are what this process has seen; `unhealthy_providers` is the number by tenant, the largest of
    all processes, as in the metrics.
    """
    problems = portal.registry.problems
    tenants = []
    async for name in in_slices(nsmallest(_MOST, problems)):
        texts = [display_text(str(one), limit=_LONGEST) for one in problems[name].problems[:_MOST_OF_FILE]]
        tenants.append({"file": name, "tenant": portal.registry.slug_of_problem(name), "problems": texts})
    return {
        "providers": [_provider(*one) for one in portal.admin.health.unhealthy(_MOST)],
        "unhealthy_providers": await asyncio.to_thread(portal.metrics.unhealthy_providers),
        "tenant_files": tenants,
        "tenant_files_with_problems": len(problems),
        "store": None,
    }


def _provider(tenant: str, id_: str, health: Health) -> Mapping[str, object]:
    return {
        "tenant": tenant,
        "provider": id_,
        "failing_since": health.failing_since,
        "last_success": health.last_success,
        "failures": health.failures,
        "error": health.reason,
    }
