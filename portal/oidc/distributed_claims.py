"""Claims that a provider only points to (OIDC Core 5.6.2); the portal does not fetch them."""

from __future__ import annotations

from collections.abc import Mapping


def claims_held_elsewhere(claims: Mapping[str, object]) -> tuple[str, ...]:
    """The names of claims that an ID token says are kept elsewhere, and does not have itself.

    Microsoft Entra does this with `groups` of users in many groups, also by `hasgroups`
    (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference).
    Parameters: claims, of the ID token; the names are a provider's text.
    """
    stated = claims.get("_claim_names")
    names = [*stated] if isinstance(stated, Mapping) else []
    if claims.get("hasgroups") is True:
        names.append("groups")
    return tuple(dict.fromkeys(name for name in names if name not in claims))
