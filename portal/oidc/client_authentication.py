"""How the portal proves itself at token and revocation endpoints (OIDC Core 9, RFC 6749 2.3)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

from portal.errors import TokenRequestRejected
from portal.oidc.provider import ClientAuth, Provider


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What proves the client in one request: headers and form fields to add. Has no repr: it is secret."""

    headers: Sequence[tuple[str, str]] = ()
    fields: Sequence[tuple[str, str]] = ()


def credentials(provider: Provider) -> Credentials:
    """The credentials of a request to the provider.

    Raises: TokenRequestRejected (`invalid_client`) when the method needs a secret and there is none.
    """
    if provider.client_auth is ClientAuth.NONE:
        return Credentials(fields=(("client_id", provider.client_id),))
    if provider.client_secret is None:
        raise TokenRequestRejected(
            "invalid_client", f"{provider.client_auth.value} needs a client secret, and none is configured"
        )
    secret = provider.client_secret.reveal()
    if provider.client_auth is ClientAuth.CLIENT_SECRET_POST:
        return Credentials(fields=(("client_id", provider.client_id), ("client_secret", secret)))
    # RFC 6749 2.3.1: both form-urlencoded before they are joined
    pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
    return Credentials(headers=(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()),))
