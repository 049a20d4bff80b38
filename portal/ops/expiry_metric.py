"""The metric of credentials that expire.

It is not a gauge of prometheus-client: those of several processes are stored in files, from which a label
cannot be removed. Every process serves the same tenants, so the one that is asked knows all values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from portal.ops.tallies import Description

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

NAME = "portal_client_secret_expiry_timestamp_seconds"
_TEXT = (
    "When the next secret or certificate of a provider's client expires, in seconds since the epoch; of the "
    "100 registrations whose credentials expire first."
)
DESCRIPTION = Description(NAME, "gauge", ("tenant", "provider"), _TEXT)


class ExpiryMetric:
    """Collects the times that were set last; implements the collector of prometheus-client."""

    def __init__(self) -> None:
        self._expiries: Sequence[tuple[str, str, float]] = ()

    def set(self, expiries: Sequence[tuple[str, str, float]]) -> None:
        """Replace all values. Parameters: expiries, tenant, id of the provider, and the time."""
        self._expiries = tuple(expiries)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric."""
        from prometheus_client.core import GaugeMetricFamily  # loads slowly

        family = GaugeMetricFamily(NAME, _TEXT, labels=["tenant", "provider"])
        for tenant, provider, at in self._expiries:
            family.add_metric([tenant, provider], at)
        yield family
