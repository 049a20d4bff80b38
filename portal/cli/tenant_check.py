"""`portal tenant check`: tenant files, and with --live their providers and APIs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from portal.cli.source_lines import source_lines
from portal.config.field_types import is_slug
from portal.config.settings import Settings
from portal.errors import ConfigurationError, Problem
from portal.secret import UnsetSecret
from portal.tenancy.available_presets import available_presets
from portal.tenancy.checks.files import CheckedFile, check_files
from portal.tenancy.loading import SUFFIXES
from portal.tenancy.model import Tenant

LIVE_FAILURE = 1
"""The exit code when a live check fails."""


def check_tenants(
    paths: Sequence[Path], settings: Settings, *, claims_file: str | None, live: bool, as_json: bool
) -> int:
    """Check tenants, print the report and return the exit code.

    Parameters: paths, files, folders, or names of tenants in the tenants folder; claims_file, as in
    `claims_reporter`; live, whether to ask providers and APIs; as_json, print only the live results, as JSON,
    and problems of files to standard error.
    Raises: ConfigurationError.
    """
    checked = checked_files([_path(path, settings) for path in paths] or [settings.tenants], settings)
    bad = sum(1 for file in checked if file.problems)
    if as_json:
        for problem in (problem for file in checked for problem in file.problems):
            click.echo(str(problem), err=True)
    else:
        _show_files(checked, settings, paths, claims_file)
    failed = live and _check_live(checked, settings, as_json=as_json)
    if bad:
        return ConfigurationError.exit_code
    return LIVE_FAILURE if failed else 0


def checked_files(paths: Sequence[Path], settings: Settings) -> list[CheckedFile]:
    """Check tenant files with the settings of the portal. Raises: ConfigurationError."""
    return check_files(
        paths,
        allow_private_networks=settings.allow_private_networks,
        environ=os.environ,
        reserved_hosts=(settings.public_host,),
        presets=available_presets(settings.presets),
    )


def served_tenant(slug: str, settings: Settings) -> Tenant:
    """Return a tenant of the tenants folder; warn if its secret is not set.

    Raises: ConfigurationError if it has no file, or an invalid one.
    """
    files = checked_files((settings.tenants,), settings)
    file = next((file for file in files if file.path.stem == slug), None)
    if file is None:
        raise ConfigurationError([Problem(slug, f"has no tenant file in {settings.tenants}")])
    if file.tenant is None or file.problems:
        raise ConfigurationError([*file.problems])
    for provider in file.tenant.providers.values():
        for unset in provider.client_secrets:
            if not isinstance(unset, UnsetSecret):
                continue
            message = f"{file.path}: warning: {unset.source} {unset.state} here"
            click.secho(message, err=True, fg="yellow")
    return file.tenant


def _path(path: Path, settings: Settings) -> Path:
    """Return the tenant file for the name of a tenant; any other path as it is."""
    if path.exists() or not is_slug(str(path)):
        return path
    files = (settings.tenants / f"{path}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.exists()), path)


def _show_files(
    checked: Sequence[CheckedFile], settings: Settings, paths: Sequence[Path], claims_file: str | None
) -> None:
    try_claims = None
    if claims_file is not None:
        from portal.cli.claims_report import claims_reporter

        try_claims = claims_reporter(claims_file)
    for file in checked:
        _show_checked(file, settings, hints=len(checked) == 1)
        for line in try_claims(file.tenant) if try_claims and file.tenant else ():
            click.echo(f"  {line}")
    bad = sum(1 for file in checked if file.problems)
    if not checked:
        click.echo(f"No tenant file found in {', '.join(map(str, paths or (settings.tenants,)))}.")
    elif bad:
        click.echo(f"\n{bad} of {len(checked)} tenant files are invalid.")


def _show_checked(file: CheckedFile, settings: Settings, *, hints: bool) -> None:
    if file.problems or file.tenant is None:
        click.secho(f"✗ {file.path}", fg="red")
    else:
        click.secho(f"✓ {file.path}  {file.tenant.name}", fg="green")
        if len(file.tenant.providers) > 1:
            from portal.cli.key_report import redirect_uri_lines  # imported here: it loads slowly

            for line in redirect_uri_lines(settings, file.tenant):
                click.echo(f"  {line}")
    for problem in file.problems:
        click.echo(f"  {problem}")
        for line in source_lines(problem):
            click.echo(f"    {line}")
    for warning in file.warnings:
        click.secho(f"  {warning.place}: warning: {warning.message}", fg="yellow")
    for hint in file.hints if hints and not file.problems else ():
        click.secho(f"  {hint.place}: hint: {hint.message}", dim=True)


def _check_live(checked: Sequence[CheckedFile], settings: Settings, *, as_json: bool) -> bool:
    """Run the live checks of every valid file, print the results; return whether one failed."""
    from portal.cli.live_report import check_live, failures, json_text, report_lines

    results = check_live(checked, settings)
    if as_json:
        click.echo(json_text(results))
    for line in () if as_json else report_lines(results):
        click.echo(line)
    return bool(failures(results))
