"""The interface through which sessions look up tenants; it hides the tenant files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from portal.access.rules import AccessRules
from portal.oidc.provider import Provider
from portal.stores.model import Login, LoginAttempt


@dataclass(frozen=True, slots=True)
class Limits:
    """Lifetime of a login in seconds: without use, and in total. `idle` None: as long as its session."""

    idle: float | None
    absolute: float


class Directory(Protocol):
    """The live tenants."""

    def provider(self, tenant: str, provider: str) -> Provider | None:
        """The live registration of this name."""

    def limits(self, tenant: str) -> Limits:
        """The lifetime of a login at this tenant."""

    def accepts_logins(self, tenant: str) -> bool:
        """Whether anybody can sign in at this tenant; who is signed in may stay all the same."""

    def email_claim(self, tenant: str) -> str:
        """The claim that has the e-mail address of the tenant's users; empty for an unknown tenant."""

    def access(self, tenant: str, provider: str) -> Sequence[AccessRules]:
        """The access rules for accounts of a provider; all of them must hold."""


def live_registration(directory: Directory, made: Login | LoginAttempt) -> Provider | None:
    """The registration that a login or login attempt was made under; None when it is no longer live."""
    provider = directory.provider(made.tenant, made.provider)
    return provider if provider is not None and provider.registration == made.registration else None


def accepting_registration(directory: Directory, login: Login) -> Provider | None:
    """The live registration of a login, if it still accepts users of the login's issuer.

    It does not when the directory of the issuer was removed from `tenant_ids`. The portal still uses the
    registration to revoke the tokens of such a login and to sign the user out at the provider.
    """
    provider = live_registration(directory, login)
    return provider if provider is not None and provider.accepts_issuer(login.issuer) else None
