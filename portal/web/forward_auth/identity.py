"""What an application learns of a user, as header fields. No I/O (THREATS P2)."""

from __future__ import annotations

import base64
import json
import string
from urllib.parse import quote

from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.forward_auth.errors import IdentityTooLong

LONGEST_FIELD = 8_000
"""Characters of a field; proxies and application servers accept heads of 8 to 32 KB."""
_PLAIN = string.ascii_letters + string.digits + "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""The printable characters of ASCII except space and `%`."""
_PLAIN_CHARACTERS = frozenset(_PLAIN)


def identity_headers(tenant: Tenant, login: Login) -> list[tuple[str, str]]:
    """Return the header fields about a user. All of them, always: none of the client's may remain.

    A subject is unique for its issuer only (OIDC Core 2), so that is named as well. Raises: IdentityTooLong.
    """
    fields = [
        ("X-Auth-Tenant", tenant.slug),
        ("X-Auth-Issuer", encoded_text(login.issuer)),
        ("X-Auth-Subject", encoded_text(login.subject)),
        ("X-Auth-Claims", encoded_claims(tenant, login)),
    ]
    if any(len(value) > LONGEST_FIELD for _, value in fields):
        raise IdentityTooLong(f"more than {LONGEST_FIELD} characters in a field for {tenant.slug}")
    return fields


def encoded_text(text: str) -> str:
    """Percent-encode what is not printable ASCII, spaces and `%`: two texts never have the same result."""
    if _PLAIN_CHARACTERS.issuperset(text):
        return text
    return quote(text, safe=_PLAIN, errors="surrogatepass")


def encoded_claims(tenant: Tenant, login: Login) -> str:
    """The claims that the tenant chose, as a JSON object in base64url without padding (RFC 4648 5).

    Raises: IdentityTooLong for a number that JSON cannot write.
    """
    chosen = {name: login.claims[name] for name in tenant.forward_auth.claims if name in login.claims}
    if not chosen:
        return "e30"  # {}
    try:
        text = json.dumps(chosen, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise IdentityTooLong("a claim has a number that JSON cannot write") from error
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
