"""`portal store check`: names the entries of the database that this portal cannot use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from portal.cli.options import log_to_stderr
from portal.config.settings import Settings
from portal.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from portal.admin.store_check import Report

FOUND = 1
"""The exit code when an entry cannot be used."""


def check_store(settings: Settings, *, most: int, as_json: bool, progress: Callable[[int, int], None]) -> int:
    """Check the database, print the report and return the exit code.

    Parameters: most, how many entries with the same problem are named; progress, as in `StoreCheck.run`.
    Raises: ConfigurationError, StartupError.
    """
    import asyncio

    log_to_stderr(settings)
    report = asyncio.run(_report(settings, most, progress))
    click.echo(_as_json(report) if as_json else _as_text(report))
    return FOUND if report.counts else 0


async def _report(settings: Settings, most: int, progress: Callable[[int, int], None]) -> Report:
    from portal.admin.store_check import StoreCheck
    from portal.clock import now
    from portal.config.field_types import is_slug
    from portal.keys.key_ring import KeyRing
    from portal.keys.vault import Vault
    from portal.stores.by_url import inspection_for, startup_failures
    from portal.tenancy.loading import SUFFIXES

    if not settings.tenants.is_dir():
        raise ConfigurationError([Problem("tenants", f"there is no folder {settings.tenants}")])
    files = {
        path.stem for path in settings.tenants.iterdir() if path.suffix in SUFFIXES and is_slug(path.stem)
    }
    check = StoreCheck(Vault(KeyRing.load(settings.keys)), files, clock=now)
    inspection = inspection_for(settings.database)
    with startup_failures(settings.database):
        try:
            await inspection.open()
            return await check.run(inspection, most=most, progress=progress)
        finally:
            await inspection.close()


def _as_json(report: Report) -> str:
    counts = [
        {"kind": kind, "problem": problem, "count": count} for (kind, problem), count in report.counts.items()
    ]
    findings = [asdict(finding) for finding in report.findings]
    return json.dumps({"entries": report.entries, "problems": counts, "findings": findings}, indent=2)


def _as_text(report: Report) -> str:
    lines = []
    for (kind, problem), count in report.counts.items():
        named = [one.key for one in report.findings if (one.kind, one.problem) == (kind, problem)]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        lines += [f"{kind}: {problem}: {count}", f"  {', '.join(named)}{more}"]
    read = report.entries.total()
    return "\n".join([*lines, f"{read} entries read, {report.counts.total()} problems found."])
