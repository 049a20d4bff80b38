"""The list of live checks, in the order in which results are shown."""

from __future__ import annotations

from portal.tenancy.checks.live.api import check_api
from portal.tenancy.checks.live.authorization import check_authorization_request, check_redirect_uri
from portal.tenancy.checks.live.capabilities import (
    check_algorithms,
    check_client_authentication_method,
    check_pkce,
    check_request_protection,
    check_response_mode,
    check_scopes,
)
from portal.tenancy.checks.live.client import check_client_credentials
from portal.tenancy.checks.live.clock import check_clock
from portal.tenancy.checks.live.connection import check_dns, check_tls
from portal.tenancy.checks.live.deliveries import check_deliveries
from portal.tenancy.checks.live.discovery import check_discovery
from portal.tenancy.checks.live.endpoints import check_endpoints
from portal.tenancy.checks.live.key_set import check_key_set
from portal.tenancy.checks.live.model import Check

PROVIDER_CHECKS = (
    Check("dns", check_dns, seconds=4.0),
    Check("tls", check_tls, ("dns",), seconds=4.0),
    Check("discovery", check_discovery, ("tls",), seconds=6.5),
    Check("endpoints", check_endpoints, ("discovery",)),
    Check("algorithms", check_algorithms, ("discovery",)),
    Check("pkce", check_pkce, ("discovery",)),
    Check("response_mode", check_response_mode, ("discovery",)),
    Check("request_protection", check_request_protection, ("discovery",)),
    Check("client_auth", check_client_authentication_method, ("discovery",)),
    Check("jwks", check_key_set, ("endpoints",), seconds=4.5),
    Check("redirect_uri", check_redirect_uri, ("endpoints",), seconds=5.5),
    Check("authorization_request", check_authorization_request, ("redirect_uri",)),
    Check("scopes", check_scopes, ("redirect_uri",)),
    Check("client_credentials", check_client_credentials, ("redirect_uri",), seconds=5.5),
    Check("clock", check_clock, ("jwks", "client_credentials")),
    Check("deliveries", check_deliveries),
)
"""For each provider of a tenant. A name in `after` must come earlier in the list."""
TENANT_CHECKS = (Check("api", check_api, seconds=6.0),)
"""Once for a tenant."""
