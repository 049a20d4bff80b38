"""Metrics of API calls."""

from __future__ import annotations

from portal.ops.tallies import Tallies
from portal.ops.tenant_labels import TenantLabels

_CLASSES = {0: "aborted", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_UPSTREAM_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ADDED_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class CallMetrics:
    """Counts API calls. Parameters: tenants, the values of the label `tenant`."""

    def __init__(self, tallies: Tallies, tenants: TenantLabels) -> None:
        self._tenants = tenants
        self._calls = tallies.counter(
            "portal_api_calls",
            "API calls that have ended, WebSockets included. `status` is 1xx to 5xx, or aborted when "
            "the browser "
            "left before a response began; `responder` is api or, when the portal made the response, portal.",
            ("tenant", "status", "responder"),
        )
        self._upstream = tallies.histogram(
            "portal_api_upstream_duration_seconds",
            "How long an API took: from the request to the head of its response, with a body of up to 64 KB. "
            "Calls with a body of more than 64 KB and WebSockets are not in it.",
            ("tenant",),
            bounds=_UPSTREAM_BOUNDS,
        )
        self._added = tallies.histogram(
            "portal_api_added_duration_seconds",
            "What the portal added to a call before its response began: session, access rules, waiting for a "
            "refresh. The same calls as in portal_api_upstream_duration_seconds.",
            bounds=_ADDED_BOUNDS,
        )

    def ended(self, tenant: str, status: int, *, by_api: bool, took: float, waited: float) -> None:
        """Count a call.

        Parameters: status, of the response, 0 without one; by_api, whether it is the API's; took, seconds
        from the end of the request to the begin of the response, 0 or less if it is not to be measured;
        waited, how many of them were spent waiting for the API.
        """
        label = self._tenants.of(tenant)
        self._calls.add(label, _CLASSES.get(status // 100, "5xx"), "api" if by_api else "portal")
        if took > 0.0:
            self._upstream.observe(waited, label)
            self._added.observe(max(0.0, took - waited))
