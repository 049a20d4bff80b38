"""Which claims a login has after a refresh that brought a new ID token."""

from __future__ import annotations

from portal.oidc.errors import IdTokenRejected
from portal.oidc.id_token import Claims
from portal.oidc.jose import jws
from portal.oidc.verified_claims import merge_claims
from portal.secret import Secret

_NAMES = frozenset(
    (
        *("name", "family_name", "given_name", "middle_name", "nickname", "preferred_username"),
        *("profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"),
    )
)
"""Claims of the scope profile (OIDC Core 5.4); some providers leave them out of a refreshed ID token."""


def adopted_claims(held: Claims, previous: Secret | None, new: Claims) -> Claims:
    """The claims to store: those of the new ID token, and below them what only UserInfo said at the sign-in.

    A claim that the ID token had before and has no longer was withdrawn (some providers leave `roles` or
    `groups` out when there are none) and goes, except for what only says how the user is called.

    Parameters: held, as they are stored; previous, the ID token that the login had until now; new, the claims
    of a valid ID token.
    """
    withdrawn = _names_in(previous, held) - new.keys() - _NAMES
    kept = {name: value for name, value in held.items() if name not in withdrawn}
    return merge_claims({name: value for name, value in new.items() if name != "sid"}, kept)


def _names_in(previous: Secret | None, held: Claims) -> frozenset[str]:
    """The claims of the ID token before; all that are held when it cannot be read."""
    if previous is None:
        return frozenset(held)
    try:
        return frozenset(jws.stored_claims(previous.reveal()))
    except IdTokenRejected:
        return frozenset(held)
