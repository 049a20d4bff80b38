"""What sessions need to know of tenants, so that they need to know nothing of tenant files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from portal.access.rules import AccessRules
from portal.oidc.provider import Provider
from portal.stores.model import Login, LoginAttempt


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


def live_registration(directory: Directory, made: Login | LoginAttempt) -> Provider | None:
    """The registration that a login or login attempt was made under; None when it is not live any more."""
    provider = directory.provider(made.tenant, made.provider)
    return provider if provider is not None and provider.registration == made.registration else None


def accepting_registration(directory: Directory, login: Login) -> Provider | None:
    """The live registration of a login, if it still accepts users of the login's issuer.

    It does not when their directory was taken off its list (`tenant_ids`). What such a login leaves behind,
    its tokens and its session at the provider, is ended with the registration all the same.
    """
    provider = live_registration(directory, login)
    return provider if provider is not None and provider.accepts_issuer(login.issuer) else None
