"""Which headers pass between a browser and a tenant's API, and which more may pass (THREATS S4, T4).

Everything passes that is not listed here. What is listed carries authority (credentials, addresses, what a
page of the portal's origin may do), concerns one connection only, or belongs to the portal. The few names
that are merely dropped by default are in `_MORE_TO_API` and `_MORE_TO_BROWSER`.
"""

from __future__ import annotations

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
IDENTITY_HEADERS = ("X-Auth-Tenant", "X-Auth-Issuer", "X-Auth-Subject", "X-Auth-Claims")
"""What forward-auth says about a user. An application may be an API as well, and trust these."""
NOT_TO_API = _HOP_BY_HOP | {
    "authorization",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    *map(str.lower, IDENTITY_HEADERS),
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    "x-request-id",
    "x-xsrftoken",
    "x-csrftoken",
    "dpop",
    "true-client-ip",
    "via",
    "early-data",
}
_PORTAL_PREFIX = "x-portal-"
"""Prefix of headers between the portal and its pages. An API can neither send nor receive them."""
NOT_TO_API_PREFIXES = (_PORTAL_PREFIX, "x-forwarded-", "sec-", "proxy-", "cf-", "x-original-", "x-rewrite-")
_NOT_TO_BROWSER = _HOP_BY_HOP | {
    "accept-ch",
    "activate-storage-access",
    "alt-svc",
    "clear-site-data",
    "content-security-policy",
    "content-security-policy-report-only",
    "critical-ch",
    "cache-control",
    "date",
    "document-policy",
    "dpop-nonce",
    "expect-ct",
    "location",
    "content-location",
    "expires",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-trial",
    "permissions-policy",
    "feature-policy",
    "pragma",
    "public-key-pins",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "sourcemap",
    "speculation-rules",
    "surrogate-control",
    "strict-transport-security",
    "timing-allow-origin",
    "supports-loading-mode",
    "use-as-dictionary",
    "www-authenticate",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-frame-options",
    "x-powered-by",
    "x-lighttpd-send-file",
    "x-request-id",
    "x-sendfile",
    "x-sourcemap",
    "x-xss-protection",
}
_NOT_TO_BROWSER_PREFIXES = (
    _PORTAL_PREFIX,
    "access-control-",
    "attribution-reporting-",
    "cross-origin-",
    "proxy-",
    "sec-",
    "secure-session-",
    "shared-storage-",
    "x-accel-",
)
_CACHE_CONTROL_SUFFIX = "-cache-control"
"""Suffix of targeted cache-control headers, which take precedence over Cache-Control (RFC 9213)."""

_MORE_TO_API = frozenset({"referer", "sec-gpc"})
_MORE_TO_API_PREFIX = "sec-ch-"
"""Client hints (RFC 8942): what the browser says about the device."""
_MORE_TO_BROWSER = frozenset({"content-location", "server", "x-powered-by"})
"""Information about the API's server, without an effect on the browser."""


def normalized_name(name: str) -> str:
    """Normalize a name: many servers treat `X_Forwarded_For` as `X-Forwarded-For` (RFC 3875 4.1.18)."""
    return name.lower().replace("_", "-").strip("-")


def goes_to_api(name: str) -> bool:
    """Whether a browser's header is sent to every API. Parameters: name, normalized."""
    return name not in NOT_TO_API and not name.startswith(NOT_TO_API_PREFIXES)


def goes_to_browser(name: str) -> bool:
    """Whether a header of every API's response is sent to the browser. Parameters: name, normalized.

    `location` is rewritten by the caller.
    """
    return (
        name not in _NOT_TO_BROWSER
        and not name.startswith(_NOT_TO_BROWSER_PREFIXES)
        and not name.endswith(_CACHE_CONTROL_SUFFIX)
    )


def may_go_to_api(name: str) -> bool:
    """Whether a tenant file may let a header pass to its API that is dropped by default."""
    return name in _MORE_TO_API or name.startswith(_MORE_TO_API_PREFIX)


def may_go_to_browser(name: str) -> bool:
    """Whether a tenant file may let a header of its API's responses pass that is dropped by default."""
    return name in _MORE_TO_BROWSER
