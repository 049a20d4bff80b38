"""Checks tenant files and prints the results, for `portal tenant …` and `portal key show`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from portal.config.settings import Settings
    from portal.tenancy.checks.files import CheckedFile


def check_tenants(paths: Sequence[Path], settings: Settings) -> list[CheckedFile]:
    """Check tenant files and folders with the settings of a portal. Raises ConfigurationError."""
    from portal.tenancy.available_presets import available_presets
    from portal.tenancy.checks.files import check_files

    return check_files(
        paths,
        allow_private_networks=settings.allow_private_networks,
        environ=os.environ,
        reserved_hosts=(settings.public_host,),
        presets=available_presets(settings.presets),
    )


def show_checked(file: CheckedFile, settings: Settings, *, hints: bool) -> None:
    """Print the result for one file. Parameters: hints, whether to print them too."""
    from portal.cli.source_lines import source_lines

    if file.problems or file.tenant is None:
        click.secho(f"✗ {file.path}", fg="red")
    else:
        from portal.cli.key_report import redirect_uri_lines

        click.secho(f"✓ {file.path}  {file.tenant.name}", fg="green")
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
