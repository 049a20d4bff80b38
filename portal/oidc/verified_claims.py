"""Claims that say of another claim that it was verified: `email_verified` of `email` (OIDC Core 5.1)."""

from __future__ import annotations

from collections.abc import Mapping

_VERIFIED = "_verified"


def laid_over(newer: Mapping[str, object], older: Mapping[str, object]) -> dict[str, object]:
    """The claims of two statements about one user; where both have a claim, that of `newer`.

    What `older` says was verified is left out when `newer` has another value in its place: nobody verified
    that one.
    """
    unsaid = {
        name
        for name in older.keys() - newer.keys()
        if (claim := name.removesuffix(_VERIFIED)) != name
        and claim in newer
        and claim in older
        and newer[claim] != older[claim]
    }
    return {**{name: value for name, value in older.items() if name not in unsaid}, **newer}
