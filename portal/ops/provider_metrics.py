"""Metrics of requests to providers."""

from __future__ import annotations

from portal.ops.tallies import Tallies
from portal.ops.tenant_labels import TenantLabels

_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class ProviderMetrics:
    """Counts requests to providers. Parameters: tenants, the values of the label `tenant`."""

    def __init__(self, tallies: Tallies, tenants: TenantLabels) -> None:
        self._tenants = tenants
        self._requests = tallies.counter(
            "portal_provider_requests",
            "Requests to providers. `endpoint`: metadata, keys, token, par, userinfo or revocation. "
            "`outcome`: "
            "the class of the status, such as 2xx; timeout; busy (the tenant's connections are in "
            "use); failed "
            "(no valid response); refused (the address is not allowed).",
            ("tenant", "endpoint", "outcome"),
        )
        self._duration = tallies.histogram(
            "portal_provider_request_duration_seconds",
            "How long requests to providers took, whatever their outcome.",
            ("endpoint",),
            bounds=_BOUNDS,
        )

    def requested(self, tenant: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a request; see `portal.outbound.client.Observe`."""
        self._requests.add(self._tenants.of(tenant), endpoint, outcome)
        self._duration.observe(seconds, endpoint)
