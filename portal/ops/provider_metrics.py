"""Metrics of requests to providers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from portal.ops.tallies import Description, Tallies
from portal.ops.tenant_labels import TenantLabels

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

UNHEALTHY = Description(
    "portal_unhealthy_providers",
    "gauge",
    ("tenant",),
    "Providers of a tenant that are unhealthy: all calls failed for 30 seconds, and at least three. The "
    "largest number of all processes.",
)
_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class ProviderMetrics:
    """Counts requests to providers. Parameters: tenants, the values of the label `tenant`."""

    def __init__(self, registry: CollectorRegistry, tallies: Tallies, tenants: TenantLabels) -> None:
        from prometheus_client import Gauge

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
        self._unhealthy = Gauge(
            UNHEALTHY.name,
            UNHEALTHY.text,
            UNHEALTHY.labels,
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._unhealthy_of: dict[str, tuple[str, int]] = {}
        """The label and the number of unhealthy providers of each tenant that has some."""
        self._sums: Counter[str] = Counter()

    def requested(self, tenant: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a request; see `portal.outbound.client.Observe`."""
        self._requests.add(self._tenants.of(tenant), endpoint, outcome)
        self._duration.observe(seconds, endpoint)

    def set_unhealthy(self, tenant: str, count: int) -> None:
        """State how many providers of a tenant are unhealthy."""
        now = (self._tenants.of(tenant), count)
        before = self._unhealthy_of.pop(tenant, (now[0], 0))
        if count:
            self._unhealthy_of[tenant] = now
        if now == before:
            return
        self._sums[before[0]] -= before[1]
        self._sums[now[0]] += count
        for label in {before[0], now[0]}:
            self._unhealthy.labels(label).set(self._sums[label])
