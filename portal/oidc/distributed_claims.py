"""Distributed claims (OIDC Core 5.6.2); the portal does not fetch them."""

from __future__ import annotations

from collections.abc import Mapping


def claims_held_elsewhere(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of claims that an ID token refers to but does not contain.

    Microsoft Entra does this with `groups` for users in many groups, also by `hasgroups`
    (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
    Parameters: claims, of the ID token. The names are untrusted text.
    """
    stated = claims.get("_claim_names")
    names = [*stated] if isinstance(stated, Mapping) else []
    if claims.get("hasgroups") is True:
        names.append("groups")
    return tuple(dict.fromkeys(name for name in names if name not in claims))
