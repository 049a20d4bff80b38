"""Merges claims and keeps `email_verified` consistent with `email` (OIDC Core 5.1)."""

from __future__ import annotations

from collections.abc import Mapping

_VERIFIED = "_verified"


def merge_claims(newer: Mapping[str, object], older: Mapping[str, object]) -> dict[str, object]:
    """Merge two sets of claims about one user; `newer` takes precedence.

    A `…_verified` claim of `older` is dropped when `newer` has another value of the claim to which it refers:
    that value was not verified.
    """
    outdated = {
        name
        for name in older.keys() - newer.keys()
        if (claim := name.removesuffix(_VERIFIED)) != name
        and claim in newer
        and claim in older
        and newer[claim] != older[claim]
    }
    return {**{name: value for name, value in older.items() if name not in outdated}, **newer}
