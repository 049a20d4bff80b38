"""`portal doctor`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.cli.options import config_option, settings_of
from portal.errors import ConfigurationError

if TYPE_CHECKING:
    from portal.cli.doctor.model import Result, Stage

FOUND = 1
"""The exit code when there is a problem."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print all results as one JSON object.")
@click.option("--offline", is_flag=True, help="Send no request: neither to the portal nor to providers.")
@config_option
def doctor(as_json: bool, offline: bool, config: Path | None) -> int:
    """Check settings, keys, files, limits, database, proxy, tenants and providers; say what to do.

    Changes nothing; portals may be running. Run it as the portal's user, with the portal's settings and
    environment. Exits with 1 when there is a problem; warnings, and what could not be checked, are none.
    """
    from portal.cli.doctor.report import COLORS, json_report, report_lines
    from portal.tenancy.checks.live.model import Status

    results = [*_results(config, offline=offline, stage=_show_stage)]
    _show_stage("")
    if as_json:
        click.echo(json_report(results))
    for line in () if as_json else report_lines(results):
        click.secho(line, fg=COLORS.get(line[:1]))
    return FOUND if any(result.status is Status.FAIL for result in results) else 0


def _results(config: Path | None, *, offline: bool, stage: Stage) -> list[Result]:
    from portal.cli.doctor import machine
    from portal.cli.doctor.examination import examined

    stage("the settings")
    try:
        settings = settings_of(config)
    except ConfigurationError as error:
        return [*machine.refused_settings(error)]
    return examined(settings, config, os.environ, offline=offline, stage=stage)


def _show_stage(what: str) -> None:
    """Say what is checked: on a terminal in one line that is replaced, else in a line each."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{f'checking {what} …' if what else ''}", err=True, nl=False)
    elif what:
        click.echo(f"checking {what}", err=True)
