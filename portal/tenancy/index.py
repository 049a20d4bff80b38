"""An immutable index of all live tenants."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from portal.tenancy.model import Tenant

LONGEST_SEARCH = 200
"""Characters; Unicode normalisation takes time that grows with the square of some texts (UAX 15)."""


class Index:
    """Live tenants by slug, host, e-mail domain and name. Immutable."""

    __slots__ = ("_domains", "_folded", "_hosts", "by_slug", "tenants")

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self.tenants: Sequence[Tenant] = tuple(
            sorted(tenants, key=lambda tenant: (fold(tenant.name), tenant.slug))
        )
        self.by_slug: Mapping[str, Tenant] = MappingProxyType({one.slug: one for one in self.tenants})
        self._folded = tuple(fold(tenant.name) for tenant in self.tenants)
        self._hosts = {host: tenant for tenant in self.tenants for host in tenant.hosts}
        self._domains = {domain: tenant for tenant in self.tenants for domain in tenant.email_domains}

    def by_host(self, host: str) -> Tenant | None:
        """Return the tenant with this host name in `hosts`; a port is ignored."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return self._hosts.get(name.lower().removesuffix("."))

    def search(self, text: str) -> list[Tenant]:
        """Return tenants by a part of their name or slug, or by an e-mail address or its domain.

        Case and accents are ignored. The result is sorted by name. Only the first LONGEST_SEARCH characters
        of the text are used.
        """
        query = fold(text[:LONGEST_SEARCH])
        if not query:
            return []
        by_domain = self._domains.get(query.rpartition("@")[2])
        return [
            tenant
            for tenant, name in zip(self.tenants, self._folded, strict=True)
            if tenant is by_domain or query in name or query in tenant.slug
        ]


def fold(text: str) -> str:
    """Return `text` in lower case, without accents and with normalised spaces, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(bare.split())
