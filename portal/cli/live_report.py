"""The live checks of `portal tenant check --live`: runs them, and prints their results."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import click

from portal.cli.key_report import redirect_uris
from portal.cli.options import log_to_stderr
from portal.clock import now
from portal.config.settings import Settings
from portal.keys.client_key_ring import load_client_keys
from portal.oidc.client_keys import ClientKeys, ClientKeySet
from portal.outbound.abandoned_lookup import lookup_in_daemon_thread
from portal.outbound.client import OutboundClient
from portal.tenancy.checks.files import CheckedFile
from portal.tenancy.checks.live.guide import Guide
from portal.tenancy.checks.live.model import CheckResult, Context, Status
from portal.tenancy.checks.live.runner import run_live_checks
from portal.tenancy.checks.preset_guide import guide_of
from portal.tenancy.model import Tenant
from portal.tenancy.presets import Preset
from portal.tenancy.presets.pages import preset_urls

_NAME_WIDTH = 22
_STATUS_WIDTH = 9


def check_live(files: Sequence[CheckedFile], settings: Settings) -> list[CheckResult]:
    """Check the providers and APIs of the valid files; show the progress on a terminal.

    Raises: ConfigurationError or StartupError if the key ring cannot be read.
    """
    log_to_stderr(settings)
    return asyncio.run(_check(files, settings, _client_keys(settings)))


async def _check(
    files: Sequence[CheckedFile], settings: Settings, client_keys: ClientKeys | None
) -> list[CheckResult]:
    http = OutboundClient(
        allow_private_networks=settings.allow_private_networks, lookup=lookup_in_daemon_thread
    )
    contexts = [
        Context(
            tenant=tenant,
            provider=provider,
            http=http,
            redirect_uris=redirect_uris(settings, tenant, provider.id),
            clock=now,
            client_keys=client_keys,
            guide=_guide(settings, tenant, provider.id, file.presets[provider.id]),
        )
        for file in files
        if (tenant := file.tenant) is not None and not file.problems
        for provider in tenant.providers.values()
    ]
    try:
        return await run_live_checks(contexts, progress=_progress())
    finally:
        await http.close()
        _show_progress("")


def _guide(settings: Settings, tenant: Tenant, provider: str, preset: Preset) -> Guide:
    """Return what the preset of a provider says about its kind, with the portal's URLs."""
    one_of_several = provider if len(tenant.providers) > 1 else None
    return guide_of(preset, preset_urls(settings.public_url.rstrip("/"), tenant.slug, one_of_several))


def _client_keys(settings: Settings) -> ClientKeys | None:
    """Return the portal's keys as a client; None if there is no key ring on this machine."""
    if not settings.keys.exists():
        return None
    return ClientKeySet(load_client_keys(settings.keys), clock=now)


def _progress() -> Callable[[CheckResult], None]:
    done: Counter[str] = Counter()

    def show(result: CheckResult) -> None:
        done[result.status.value] += 1
        counts = ", ".join(f"{count} {status}" for status, count in done.items())
        _show_progress(f"checking … {counts}")

    return show


def _show_progress(text: str) -> None:
    """Replace the line of the progress; only on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", err=True, nl=False)


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results that failed."""
    return [result for result in results if result.status is Status.FAIL]


def json_text(results: Sequence[CheckResult]) -> str:
    """Return the results as a JSON list of objects with the members of `CheckResult`."""
    return json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False)


def report_lines(results: Sequence[CheckResult]) -> Iterator[str]:
    """Return the results as lines for people, grouped by provider."""
    for (tenant, provider), group in groupby(results, key=lambda result: (result.tenant, result.provider)):
        yield ""
        yield f"{tenant}, provider {provider}" if provider is not None else f"{tenant}, API"
        for result in group:
            yield f"  {result.status.value:<{_STATUS_WIDTH}}{result.check:<{_NAME_WIDTH}}{result.seen}"
            if result.advice:
                yield f"{'':<{2 + _STATUS_WIDTH}}→ {result.advice}"
            if result.where:
                yield f"{'':<{2 + _STATUS_WIDTH}}  at {result.where}"
    counts = Counter(result.status for result in results)
    if results:
        yield ""
        yield ", ".join(f"{counts[status]} {status.value}" for status in Status)
