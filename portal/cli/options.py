"""The option `--config`, which all commands share, and the settings it selects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from portal.config.settings import Settings

config_option = click.option(
    "--config",
    envvar="PORTAL_CONFIG",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file of the portal. Default: PORTAL_* variables and built-in defaults.",
)


def settings_of(config: Path | None) -> Settings:
    """Load settings from a file, or from variables and defaults only. Raises ConfigurationError."""
    from portal.config.settings import load_settings

    return load_settings(config, os.environ)


def log_to_stderr(settings: Settings) -> None:
    """Write warnings of a command's work to standard error: what it prints may be read by a program."""
    import sys

    from portal.ops.logging import configure_logging

    configure_logging(style=settings.log.format, level="warning", stream=sys.stderr)


def warn_about_default_url(config: Path | None, settings: Settings) -> None:
    """Warn on standard error when URLs that a command prints have the default `public_url`."""
    if config is None and "PORTAL_PUBLIC_URL" not in os.environ:
        message = f"URLs use the default {settings.public_url}: pass --config or set PORTAL_PUBLIC_URL."
        click.secho(message, err=True, fg="yellow")
