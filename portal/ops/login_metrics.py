"""Metrics of logins and of their token requests. No label contains a user."""

from __future__ import annotations

from portal.errors import PortalError
from portal.ops.tallies import Tallies
from portal.ops.tenant_labels import OTHER, TenantLabels

_MOST_RULES = 200
"""Rules are words of the code; the limit holds if one of them should ever come from a provider."""


class LoginMetrics:
    """Counts logins and refreshes. Parameters: tenants, the values of the label `tenant`."""

    def __init__(self, tallies: Tallies, tenants: TenantLabels) -> None:
        self._tenants = tenants
        self._rules: set[str] = set()
        self._started = tallies.counter(
            "portal_logins_started", "Browsers that were sent to a provider to sign in.", ("tenant",)
        )
        self._finished = tallies.counter(
            "portal_logins_finished", "Logins that were stored, those that renew one included.", ("tenant",)
        )
        self._refused = tallies.counter(
            "portal_logins_refused",
            "Logins that could not be started or finished. `rule` is the code of the error and, "
            "after a colon, "
            "the rule of a specification that a token broke.",
            ("tenant", "rule"),
        )
        self._refreshes = tallies.counter(
            "portal_refreshes",
            "Token requests of logins. `token`: login (a refresh) or api (a token for one of several APIs). "
            "`outcome`: refreshed; rejected (the provider refused the refresh token, users sign in again); "
            "unavailable (no response, tried again); failed (the client was refused, or the response is "
            "malformed).",
            ("tenant", "token", "outcome"),
        )

    def started(self, tenant: str) -> None:
        """Count a browser that was sent to a provider."""
        self._started.add(self._tenants.of(tenant))

    def finished(self, tenant: str) -> None:
        """Count a stored login."""
        self._finished.add(self._tenants.of(tenant))

    def refused(self, tenant: str, error: PortalError, *, broke: str = "") -> None:
        """Count a login that failed. Parameters: broke, the rule that a token of the provider broke."""
        self._refused.add(
            self._tenants.of(tenant), self._rule(f"{error.code}:{broke}" if broke else error.code)
        )

    def _rule(self, rule: str) -> str:
        if rule not in self._rules:
            if len(self._rules) >= _MOST_RULES:
                return OTHER
            self._rules.add(rule)
        return rule

    def refreshed(self, tenant: str, token: str, outcome: str) -> None:
        """Count a token request; implements `portal.sessions.refresh_outcomes.RefreshObserver`."""
        self._refreshes.add(self._tenants.of(tenant), token, outcome)
