"""What `portal doctor` checks of tenants: those of files and of the database, and their providers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from portal.cli.doctor.model import Area, Result
from portal.cli.live_report import check_live
from portal.cli.tenant_check import checked_files
from portal.config.settings import Settings
from portal.errors import ConfigurationError, StartupError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.examination import StoredContents
from portal.stores.tenant_records import TenantStatus
from portal.tenancy.available_presets import available_presets
from portal.tenancy.checks.files import CheckedFile
from portal.tenancy.checks.live.model import CheckResult
from portal.tenancy.folder import tenant_files
from portal.tenancy.loading import SUFFIXES, read_tenant
from portal.tenancy.stored import FORMAT, ContentReader, may_use_private_networks

_AREA = Area("tenants")
_CORRECT = "Correct the file: portal tenant check says more."


def tenant_results(settings: Settings) -> tuple[list[CheckedFile], list[Result]]:
    """Check the tenant files; return them, and what was found."""
    try:
        tenant_files(settings.tenants)
    except OSError as error:
        seen = f"the folder {settings.tenants} cannot be read: {error.strerror}"
        advice = "Set `tenants` to the folder of the tenant files, and let the portal's user read it."
        return [], [_AREA.failed("files", seen, advice)]
    try:
        files = checked_files([settings.tenants], settings)
    except ConfigurationError as error:
        return [], [_AREA.failed("files", str(problem), _CORRECT) for problem in error.problems]
    results = []
    for file in files:
        results += [_AREA.failed("files", str(problem), _CORRECT) for problem in file.problems]
        for warning in file.warnings:
            results.append(_AREA.warned("files", str(warning), "See portal tenant check."))
    sound = sum(1 for file in files if not file.problems)
    if sound or not files:
        results.append(_AREA.passed("files", f"{sound} of {settings.tenants} can be served"))
    return files, results


def stored_tenants(settings: Settings, found: StoredContents) -> tuple[list[CheckedFile], list[Result]]:
    """Read the live revisions of tenants of the database; a slug that has a file is the file's."""
    try:
        vault = Vault(KeyRing.load(settings.keys))
    except (ConfigurationError, StartupError):
        return [], [_AREA.skipped("database", "their secrets cannot be read without the key ring")]
    try:
        presets = available_presets(settings.presets)
    except ConfigurationError:  # reported by `tenant_results`
        return [], [_AREA.skipped("database", "they cannot be read without valid presets")]
    reader = ContentReader(vault, presets, may_use_private_networks(settings))
    read, results = list[CheckedFile](), list[Result]()
    for slug, record in found.tenants.items():
        if not record.live or record.status == TenantStatus.SUSPENDED or _has_file(settings, slug):
            continue
        revision = found.live.get(slug)
        advice = f"Publish an earlier revision again: portal tenant history {slug}"
        if revision is None or revision.format > FORMAT:
            why = "cannot be read" if revision is None else "was published by a later version"
            results.append(_AREA.failed("database", f"{slug}: revision {record.live} {why}", advice))
            continue
        try:
            loaded = reader.read(slug, revision.content, advice=False)
        except ConfigurationError as error:
            results += [_AREA.failed("database", str(problem), advice) for problem in error.problems]
            continue
        proven = {claim.name for claim in found.domains if claim.tenant == slug and claim.proven_at}
        hosts = tuple(host for host in loaded.tenant.hosts if host in proven)
        tenant = replace(loaded.tenant, hosts=hosts)
        read.append(CheckedFile(Path(slug), tenant, presets=loaded.presets))
    if found.tenants:
        results.append(_AREA.passed("database", f"{len(found.tenants)} in the database, {len(read)} served"))
    return read, results


def live_results(tenants: Sequence[CheckedFile], settings: Settings) -> list[Result]:
    """Ask the providers and APIs of the tenants, as `portal tenant check --live` does."""
    try:
        return [_result(one) for one in check_live(tenants, settings)]
    except (ConfigurationError, StartupError) as error:
        return [_AREA.skipped("live checks", f"not begun: {error}")]


def secret_files(settings: Settings) -> Iterator[Path]:
    """The files of secrets that tenant files name."""
    try:
        presets = available_presets(settings.presets)
        files = checked_files([settings.tenants], settings)
    except ConfigurationError:  # reported by `tenant_results`
        return
    for file in files:
        if file.tenant is not None:
            loaded = read_tenant(
                file.path,
                allow_private_networks=settings.allow_private_networks,
                environ=os.environ,
                secrets_optional=True,
                presets=presets,
                advice=False,
            )
            yield from loaded.secret_files


def _has_file(settings: Settings, slug: str) -> bool:
    return any((settings.tenants / f"{slug}{suffix}").exists() for suffix in SUFFIXES)


def _result(found: CheckResult) -> Result:
    of = "API" if found.provider is None else f"provider {found.provider}"
    advice = "; at ".join(filter(None, (found.advice, found.where)))
    return Result(f"{found.tenant}, {of}", found.check, found.status, found.seen, advice)
