"""What sessions need to know of tenants, so that they need to know nothing of tenant files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from portal.access.rules import AccessRules
from portal.oidc.provider import Provider


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a login lives, in seconds: without use, and at most. `idle` None: as long as its session."""

    idle: float | None
    absolute: float


class Directory(Protocol):
    """The live tenants."""

    def provider(self, tenant: str, provider: str) -> Provider | None:
        """The live registration of that name."""

    def limits(self, tenant: str) -> Limits:
        """How long a login at this tenant lives."""

    def access(self, tenant: str, provider: str) -> Sequence[AccessRules]:
        """Who of the accounts of a provider may sign in; all of these rules must hold."""
