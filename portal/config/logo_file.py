"""Reads the operator's logo from its file."""

from __future__ import annotations

from pathlib import Path

from portal.config.logo_content import Logo, LogoRefused, logo_of
from portal.config.yaml_document import read_bytes
from portal.errors import ConfigurationError

LARGEST_LOGO = 256 * 1024
"""Bytes."""
_REMEDY = "name an SVG, PNG, WebP or JPEG file, relative to the folder of the settings file"


def read_logo(path: Path) -> Logo:
    """Return the logo in a file. Raises: LogoRefused."""
    try:
        content = read_bytes(path, name="", limit=LARGEST_LOGO)
    except ConfigurationError as error:
        raise LogoRefused(f"cannot be used: {error.problems[0].message}; {_REMEDY}") from None
    return logo_of(content)
