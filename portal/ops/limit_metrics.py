"""The metric of limits that were reached."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from portal.errors import PortalError, TooManyRequests
from portal.ops.tallies import Tallies


class Limit(StrEnum):
    """A limit that refuses something, or makes it wait."""

    API_CONNECTIONS = "api_connections"
    """Connections to an API of a tenant (503 `tenant_busy`)."""
    ATTEMPTS_PER_CLIENT = "attempts_per_client"
    """`limits.attempts_per_client` (429)."""
    BODY = "body"
    """The size of a request body (413)."""
    CALLBACKS_PER_CLIENT = "callbacks_per_client"
    """`limits.callbacks_per_client` (429)."""
    CALLS_WITHOUT_LOGIN = "calls_without_login"
    """Calls in progress of APIs with `access: anonymous` or `client`, of a tenant or a client (503
    `tenant_busy`)."""
    CONNECTIONS = "connections"
    """Connections of clients: `limits.connections`, or a limit of the system; further ones wait."""
    CONNECTIONS_PER_CLIENT = "connections_per_client"
    """`limits.connections_per_client`; further ones are closed."""
    CONSOLE_CHANGES = "console_changes"
    """Changes of a tenant in the console (429)."""
    DOMAIN_CHECKS = "domain_checks"
    """Checks of a domain of a tenant in the console (429)."""
    EVENT_STREAMS = "event_streams"
    """Event streams of `GET /session/events`."""
    FINDS_PER_CLIENT = "finds_per_client"
    """`limits.finds_per_client` (429)."""
    LIVE_CHECKS = "live_checks"
    """Live checks of drafts (429)."""
    LOGOUTS_PER_CLIENT = "logouts_per_client"
    """`limits.logouts_per_client` (429)."""
    LOGOUTS_PER_TENANT = "logouts_per_tenant"
    """`limits.logouts_per_tenant` (503)."""
    PROVIDER_CONNECTIONS = "provider_connections"
    """Connections to a provider of a tenant."""
    SESSIONS_PER_USER = "sessions_per_user"
    """`limits.sessions_per_user`; the oldest ends."""
    SETUP_LINKS = "setup_links"
    """Live setup links of a tenant (409)."""
    SETUP_LINKS_PER_CLIENT = "setup_links_per_client"
    """`limits.setup_links_per_client` (429)."""
    SIGN_INS_PER_CLIENT = "sign_ins_per_client"
    """`limits.sign_ins_per_client` (429)."""
    SIGN_INS_PER_TENANT = "sign_ins_per_tenant"
    """`limits.sign_ins_per_tenant` (503)."""
    SOCKETS_PER_TENANT = "sockets_per_tenant"
    """`limits.sockets_per_tenant` (503)."""
    SOCKETS_PER_USER = "sockets_per_user"
    """`limits.sockets_per_user` (503)."""
    STORED_LOGIN = "stored_login"
    """The size of a stored login."""
    STORE_OPERATIONS = "store_operations"
    """Operations that wait for the database (503)."""
    TEST_LOGINS = "test_logins"
    """Test logins of drafts of a tenant (429)."""
    UNAUTHENTICATED_PER_CLIENT = "unauthenticated_per_client"
    """`limits.unauthenticated_per_client` (429)."""


_OF_ERRORS = {
    "payload_too_large": Limit.BODY,
    "too_many_changes": Limit.CONSOLE_CHANGES,
    "too_many_setup_links": Limit.SETUP_LINKS,
    "too_many_test_logins": Limit.TEST_LOGINS,
    "login_too_large": Limit.STORED_LOGIN,
    "checks_refused": Limit.LIVE_CHECKS,
    "domain_checked_recently": Limit.DOMAIN_CHECKS,
}
"""By the code of the error that reports it."""


class LimitMetrics:
    """Counts how often each limit was reached."""

    def __init__(self, tallies: Tallies) -> None:
        self._hits = tallies.counter(
            "portal_limit_hits",
            "How often a limit was reached, by its name; the names are below.",
            ("limit",),
        )
        for limit in Limit:
            self._hits.add(limit, amount=0.0)
        self.on_hit: Callable[[str, str], None] = lambda limit, tenant: None
        """Called with the limit and the tenant, which is empty if none is known."""

    def hit(self, limit: Limit, tenant: str = "") -> None:
        """Count a limit that was reached. Parameters: tenant, of which, if it is of one."""
        self._hits.add(limit)
        self.on_hit(limit, tenant)

    def reported(self, error: PortalError, tenant: str = "") -> PortalError:
        """Count the limit that an error reports, if it reports one; return the error."""
        limit = Limit(error.limit) if isinstance(error, TooManyRequests) else _OF_ERRORS.get(error.code)
        if limit is not None:
            self.hit(limit, tenant)
        return error
