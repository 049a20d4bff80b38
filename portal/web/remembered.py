"""The organisations that were used on a browser, in a sealed cookie.

Whoever can read the cookie learns nothing of it, and nobody but the portal can make one: an organisation that
a site or a sibling host adds would be offered as if the user had used it (THREATS S2).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from portal.errors import VaultError
from portal.keys.vault import Vault
from portal.secret import Secret

MOST = 12
MAX_AGE = 365 * 24 * 3600
"""Seconds after the last sign-in."""
_LONGEST = 4_096
"""Characters of the cookie: twelve pairs of names of 63 characters, sealed, have 2,500."""


class Remembered(NamedTuple):
    """An organisation, and the id of the provider that the user signed in with."""

    tenant: str
    provider: str


class RememberedOrganisations:
    """Seals and opens the cookies of this deployment. `origin` is that of the site that the cookie is of."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def read(self, cookie: str | None, origin: str) -> tuple[Remembered, ...]:
        """Return what a cookie says, the last used first; nothing when it is forged or of another site."""
        if not cookie or len(cookie) > _LONGEST:
            return ()
        try:
            entries = json.loads(self._vault.open_of_browser(_document(origin), cookie))
            return tuple(Remembered(tenant, provider) for tenant, provider in entries)
        except (VaultError, ValueError, TypeError):  # of another version of the portal
            return ()

    def cookie(self, entries: Iterable[Remembered], origin: str) -> Secret:
        """Return the value of the cookie for these entries, the last used first."""
        by_tenant: dict[str, Remembered] = {}
        for one in entries:
            by_tenant.setdefault(one.tenant, one)
        kept = list(by_tenant.values())[:MOST]
        return Secret(self._vault.seal(_document(origin), json.dumps(kept, separators=(",", ":"))))


def _document(origin: str) -> str:
    return f"organisations of a browser at {origin}"
