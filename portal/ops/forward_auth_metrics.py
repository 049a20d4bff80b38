"""The metric of forward authentication: what the portal decided for reverse proxies."""

from __future__ import annotations

from portal.errors import AccessDenied, CrossSiteRequest, LoginRequired, PortalError
from portal.ops.tallies import Tallies
from portal.ops.tenant_labels import TenantLabels


class ForwardAuthMetrics:
    """Counts decisions. Parameters: tenants, the values of the label `tenant`."""

    def __init__(self, tallies: Tallies, tenants: TenantLabels) -> None:
        self._tenants = tenants
        self._decisions = tallies.counter(
            "portal_forward_auth_decisions",
            "Requests to applications that a reverse proxy asked about. `outcome`: allowed; login_required; "
            "access_denied (by an access rule); cross_site (another site may have caused the request); "
            "refused (the proxy is not trusted, or describes no request that can be decided); unavailable "
            "(the portal, the database or the provider failed); aborted (the proxy disconnected).",
            ("tenant", "outcome"),
        )

    def allowed(self, tenant: str) -> None:
        """Count a request that may pass."""
        self._decisions.add(self._tenants.of(tenant), "allowed")

    def refused(self, tenant: str, error: PortalError) -> None:
        """Count a request that may not pass. Parameters: error, why."""
        self._decisions.add(self._tenants.of(tenant), _outcome(error))

    def aborted(self, tenant: str) -> None:
        """Count a request whose proxy disconnected before the decision."""
        self._decisions.add(self._tenants.of(tenant), "aborted")


def _outcome(error: PortalError) -> str:
    if error.status >= 500:
        return "unavailable"
    if isinstance(error, LoginRequired) or error.status == 401:
        return "login_required"
    if isinstance(error, AccessDenied):
        return "access_denied"
    return "cross_site" if isinstance(error, CrossSiteRequest) else "refused"
