"""What the commands share: the option `--config`, and the settings that it leads to."""

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
    help="The portal's settings; without it, PORTAL_* variables and defaults.",
)


def settings_of(config: Path | None) -> Settings:
    """The settings of a file, or of variables and defaults alone. Raises ConfigurationError."""
    from portal.config.settings import load_settings

    return load_settings(config, os.environ)
