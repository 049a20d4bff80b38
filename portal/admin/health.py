"""What this process knows of the health of providers. It asks nobody; other processes know other things."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.display_text import display_text
from portal.oidc.provider import Provider
from portal.oidc.relying_party import RelyingParty
from portal.sessions.refresh import TokenRefresher


class HealthState(StrEnum):
    """What the last contact with a provider showed."""

    FINE = "fine"
    FAILING = "failing"
    UNKNOWN = "unknown"
    """This process has not asked it yet."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a provider. `at`: of the last contact, seconds since the epoch, UTC; `reason`: text."""

    state: HealthState
    at: float | None = None
    reason: str = ""


class ProviderHealth:
    """Reads what the relying party and the refresher remember."""

    def __init__(self, relying_party: RelyingParty, tokens: TokenRefresher) -> None:
        self._relying_party = relying_party
        self._tokens = tokens

    def of(self, provider: Provider) -> Health:
        """The health of a provider."""
        failed = self._tokens.failures(provider)
        contact = self._relying_party.contact(provider)
        if contact is not None and contact.failure is not None:
            reason = display_text(contact.failure.reason, limit=300)
            return Health(HealthState.FAILING, contact.failure.at, reason)
        if failed:
            return Health(HealthState.FAILING, None, f"{failed} requests to refresh tokens failed in a row")
        if contact is None or contact.fetched_at is None:
            return Health(HealthState.UNKNOWN)
        return Health(HealthState.FINE, contact.fetched_at)
