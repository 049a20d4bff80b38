"""What the live checks are called on the pages of the console."""

from __future__ import annotations

from portal.sentences import message

_TITLES = {
    "dns": message("Name of the host"),
    "tls": message("Connection and certificate"),
    "discovery": message("Metadata"),
    "endpoints": message("Endpoints"),
    "algorithms": message("Signatures of ID tokens"),
    "pkce": "PKCE",
    "response_mode": message("Response mode"),
    "request_protection": message("Protected requests"),
    "client_auth": message("Authentication of the client"),
    "jwks": message("Keys of the provider"),
    "redirect_uri": message("Redirect URI"),
    "authorization_request": message("Authorization request"),
    "scopes": message("Scopes"),
    "client_credentials": message("Client id and secret"),
    "clock": message("Clock"),
    "deliveries": message("Notifications of the provider"),
    "api": message("API"),
}
"""The checks for people; one that is not listed is shown by its name."""


def check_title(check: str) -> str:
    """The name of a check for people."""
    return _TITLES.get(check, check)
