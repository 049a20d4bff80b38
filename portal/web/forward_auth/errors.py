"""Errors of forward authentication (`GET /t/{tenant}/authz`). Proxies pass 401 and 403 on to the browser."""

from __future__ import annotations

from portal.errors import BadRequest, PortalError


class ProxyNotTrusted(PortalError):
    """The request does not come from a reverse proxy of the operator."""

    status = 403
    code = "proxy_not_trusted"
    title = "Only a reverse proxy may ask this"
    advice = (
        "This address answers the operator's reverse proxy. Its network address must be in trusted_proxies, "
        "and where forward_auth.secret is set, its request needs X-Portal-Forward-Auth with that secret."
    )


class OriginalRequestMalformed(BadRequest):
    """The headers that describe the original request are missing, repeated or contradict each other."""

    code = "original_request_malformed"
    title = "The proxy does not describe the request"
    advice = (
        "The reverse proxy must send method, URI and host of the original request, each once: as "
        "X-Original-Method, X-Original-URI and X-Original-Host, or as X-Forwarded-Method, X-Forwarded-Uri "
        "and X-Forwarded-Host."
    )


class OriginalRequestRefused(PortalError):
    """The original request cannot be decided safely: servers may read its address differently."""

    status = 403
    code = "original_request_refused"
    title = "This address was refused"
    advice = "Check the address: part of it is not accepted for an application behind the portal."


class IdentityTooLong(PortalError):
    """What the application is to learn of the user does not fit into header fields."""

    code = "identity_too_long"
    title = "Your account has too much data for this application"
    advice = (
        "The claims that forward_auth.claims lists do not fit into a header field. The administrator of your "
        "organisation can choose fewer."
    )


class TokenBound(PortalError):
    """The access token is bound to a key of the portal, so an application cannot use it (RFC 9449)."""

    code = "token_bound"
    title = "The access token cannot be passed on"
    advice = (
        "It is bound to a key of the portal. The administrator of your organisation can turn off dpop or "
        "forward_auth.token."
    )
