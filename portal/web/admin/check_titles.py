"""What the live checks are called on the pages of the console."""

from __future__ import annotations

_TITLES = {
    "dns": "Name of the host",
    "tls": "Connection and certificate",
    "discovery": "Metadata",
    "endpoints": "Endpoints",
    "algorithms": "Signatures of ID tokens",
    "pkce": "PKCE",
    "response_mode": "Response mode",
    "request_protection": "Protected requests",
    "client_auth": "Authentication of the client",
    "jwks": "Keys of the provider",
    "redirect_uri": "Redirect URI",
    "authorization_request": "Authorization request",
    "scopes": "Scopes",
    "client_credentials": "Client id and secret",
    "clock": "Clock",
    "deliveries": "Notifications of the provider",
    "api": "API",
}
"""The checks for people; one that is not listed is shown by its name."""


def check_title(check: str) -> str:
    """The name of a check for people."""
    return _TITLES.get(check, check)
