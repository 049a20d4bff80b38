"""All checks of `portal doctor`, one area after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from portal.cli.doctor.addresses import address_results
from portal.cli.doctor.database import database_facts, database_results, stored_contents
from portal.cli.doctor.folders import folder_results
from portal.cli.doctor.machine import file_results, key_results, limit_results, settings_results
from portal.cli.doctor.model import Area, Result, Stage
from portal.cli.doctor.proxy import proxy_results
from portal.cli.doctor.tenants import live_results, secret_files, stored_tenants, tenant_results
from portal.cli.doctor.traces import trace_results
from portal.config.settings import Settings
from portal.tenancy.checks.files import CheckedFile
from portal.tenancy.checks.live.model import Status

_OFFLINE = "not asked: --offline"
_WITH_REQUESTS = (("addresses", "listen"), ("proxy", "headers"))


def examined(
    settings: Settings, config: Path | None, environ: Mapping[str, str], *, offline: bool, stage: Stage
) -> list[Result]:
    """Run all checks. Parameters: offline, whether to send no request; stage, learns what is checked next."""
    results = [*settings_results(settings, config, environ), *key_results(settings)]
    stage("files and limits")
    results += file_results(settings, config, secret_files(settings))
    results += asyncio.run(folder_results(settings))
    results += limit_results(settings)
    stage("the database")
    stored, of_database = _database(settings)
    results += of_database
    stage("the proxy")
    results += (
        [Area(name).skipped(check, _OFFLINE) for name, check in _WITH_REQUESTS]
        if offline
        else asyncio.run(_of_this_portal(settings))
    )
    if settings.traces is not None:
        stage("the collector of traces")
        results += trace_results(settings, offline=offline)
    stage("the tenants")
    files, of_files = tenant_results(settings)
    results += of_files
    results += stored[1]
    tenants = [*files, *stored[0]]
    if not tenants and not any(one.status is Status.FAIL for one in [*of_files, *stored[1]]):
        advice = f"Add a tenant file to {settings.tenants}, or make a tenant in the console."
        results.append(Area("tenants").warned("files", "there is no tenant: nobody can sign in", advice))
    stage(f"the providers of {len(tenants)} tenants")
    if offline:
        return [*results, Area("tenants").skipped("live checks", _OFFLINE)]
    return [*results, *live_results(tenants, settings)]


async def _of_this_portal(settings: Settings) -> list[Result]:
    """What requests to this portal show: where it listens, and what the proxy in front of it does."""
    return [*[result async for result in address_results(settings)], *await proxy_results(settings)]


def _database(settings: Settings) -> tuple[tuple[list[CheckedFile], list[Result]], list[Result]]:
    """The tenants of the database, with what was found of them; what was found of the database."""
    facts = asyncio.run(database_facts(settings))
    if isinstance(facts, list):
        return ([], []), facts
    results = [*database_results(settings, facts)]
    if facts.format is None:
        return ([], []), results
    contents = asyncio.run(stored_contents(settings))
    if isinstance(contents, Result):
        return ([], []), [*results, contents]
    return stored_tenants(settings, contents), results
