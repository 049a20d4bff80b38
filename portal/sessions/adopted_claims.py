"""Computes the claims of a login after a refresh that returned a new ID token."""

from __future__ import annotations

from portal.oidc.errors import IdTokenRejected
from portal.oidc.id_token import Claims
from portal.oidc.jose import jws
from portal.oidc.verified_claims import merge_claims
from portal.secret import Secret
from portal.sessions.session_expiry import earliest_expiry

_NAMES = frozenset(
    (
        *("name", "family_name", "given_name", "middle_name", "nickname", "preferred_username"),
        *("profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"),
    )
)
"""Claims of the scope `profile` (OIDC Core 5.4); some providers omit them from a refreshed ID token."""


def adopted_claims(stored: Claims, previous: Secret | None, new: Claims) -> Claims:
    """Merge the claims of a new ID token over the stored ones, which UserInfo may have contributed to.

    A claim that the previous ID token had and the new one lacks was withdrawn (some providers omit an empty
    `roles` or `groups`). It is removed, unless it only describes the user's profile.

    Parameters: stored, the claims in the store; previous, the ID token that is being replaced; new, the
    claims of a valid ID token.
    """
    withdrawn = _names_in(previous, stored) - new.keys() - _NAMES
    kept = {name: value for name, value in stored.items() if name not in withdrawn}
    merged = merge_claims({name: value for name, value in new.items() if name != "sid"}, kept)
    return {**merged, **earliest_expiry(stored, new)}


def _names_in(previous: Secret | None, stored: Claims) -> frozenset[str]:
    """The claim names of the previous ID token; all stored names when it cannot be read."""
    if previous is None:
        return frozenset(stored)
    try:
        return frozenset(jws.stored_claims(previous.reveal()))
    except IdTokenRejected:
        return frozenset(stored)
