"""Tenant files for tests, and their problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from portal.errors import ConfigurationError
from portal.tenancy.loading import read_tenant
from portal.tenancy.model import Tenant

ENVIRON = {"ACME_SECRET": "s3cret-of-acme"}
ACME = """\
name: Acme Corporation
issuer: https://login.acme.example/realms/staff
client:
  id: portal
  secret: ${ACME_SECRET}
"""


def write(folder: Path, text: str = ACME, name: str = "acme.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def tenant(folder: Path, text: str, *, private: bool = False, environ: Mapping[str, str] = ENVIRON) -> Tenant:
    """Return the tenant of a file `acme.yaml` with this text."""
    return read_tenant(write(folder, text), allow_private_networks=private, environ=environ).tenant


def problems(
    folder: Path, text: str, *, private: bool = False, environ: Mapping[str, str] = ENVIRON
) -> list[str]:
    """Return the problems of such a file, with paths relative to its folder."""
    try:
        tenant(folder, text, private=private, environ=environ)
    except ConfigurationError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []
