"""Notices that a client's secret, key or certificate expires, 60, 30 and 7 days before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from portal.oidc.provider import CredentialExpiry, Provider
from portal.tenancy.model import Tenant

DAYS = (60, 30, 7)
"""Before the expiry, when the notice begins and when it is repeated."""
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A credential of a tenant's client that expires soon, or has expired."""

    tenant: str
    provider: str
    """The id of the provider."""
    credential: str
    """In words, such as `the client secret`."""
    path: tuple[str | int, ...]
    """The keys of the credential in the tenant file, below the provider."""
    expires_at: float
    """Seconds since the epoch, UTC."""
    threshold: int
    """The smallest number of `DAYS` that is not yet over; 0 when the credential has expired."""

    @property
    def expired(self) -> bool:
        """Whether it has expired."""
        return self.threshold == 0

    @property
    def text(self) -> str:
        """The notice as a sentence without a full stop."""
        day = datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d")
        if self.path[-1] == "certificate":
            if self.expired:
                return f"{self.credential} expired on {day}; providers refuse it, so replace it"
            return f"{self.credential} expires on {day}; replace it before that date"
        if self.path[1] == "signed_secret":
            state = "expired" if self.expired else "expires"
            return f"{self.credential} {state} on {day}; create another key at the provider"
        state = "expired" if self.expired else "expires"
        if self.path[-1] == 0:
            return f"{self.credential} {state} on {day}; remove it, so that the second one takes its place"
        if self.expired or self.path[-1] == 1:
            return f"{self.credential} {state} on {day}; create another one at the provider, and replace it"
        return f"{self.credential} expires on {day}; add its successor as a second secret before that date"


def secret_notices(tenant: Tenant, now: float) -> tuple[Notice, ...]:
    """Return the notices for a tenant, the most urgent one first.

    Parameters: now, seconds since the epoch, UTC.
    """
    found = (notice for provider in tenant.providers.values() for notice in provider_notices(provider, now))
    return tuple(sorted(found, key=lambda notice: notice.expires_at))


def provider_notices(provider: Provider, now: float) -> tuple[Notice, ...]:
    """Return the notices for one provider, in the order of its file. Parameters: as `secret_notices`."""
    return tuple(
        Notice(provider.tenant, provider.id, one.credential, one.path, one.at, threshold)
        for one in provider.expiries
        if (threshold := _threshold(one, now)) is not None
    )


def _threshold(expiry: CredentialExpiry, now: float) -> int | None:
    left = expiry.at - now
    if left <= 0:
        return 0
    return min((days for days in DAYS if left <= days * _DAY), default=None)
