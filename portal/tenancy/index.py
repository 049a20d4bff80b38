"""An immutable index of all live tenants."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import accumulate
from operator import itemgetter
from types import MappingProxyType
from typing import TypeVar

from portal.tenancy.model import Tenant
from portal.time_slices import in_turns

T = TypeVar("T")

LONGEST_SEARCH = 200
"""Characters; Unicode normalisation takes time that grows with the square of some texts (UAX 15)."""


class Index:
    """Live tenants by slug, host, e-mail domain and name. Immutable."""

    __slots__ = (
        "_starts",
        "_text",
        "by_slug",
        "domain_numbers",
        "folded_names",
        "host_slugs",
        "listed",
        "sharing_slugs",
        "tenants",
    )

    def __init__(self, tenants: Iterable[Tenant], *, before: Index | None = None) -> None:
        """Index tenants. Parameters: before, an earlier index, whose work for the same names is reused.

        With few changes since, it is fastest when the tenants are in the order of the earlier index.
        """
        known = before.folded_names if before is not None else {}
        self.folded_names: dict[str, str] = {}
        """The folded name of each tenant, by its name."""
        keys = []
        for tenant in in_turns(tenants):
            name = known.get(tenant.name)
            self.folded_names[tenant.name] = name = fold(tenant.name) if name is None else name
            keys.append((name, tenant.slug, tenant))
        keys.sort(key=itemgetter(0, 1))
        by_slug: dict[str, Tenant] = {}
        searched = []
        self.host_slugs: dict[str, str] = {}
        self.domain_numbers: dict[str, int] = {}
        """The place in `tenants`, by e-mail domain."""
        self.sharing_slugs: dict[str, tuple[str, ...]] = {}
        """The tenants that share an e-mail domain, sorted by name."""
        for number, (name, slug, tenant) in enumerate(in_turns(keys)):
            by_slug[slug] = tenant
            searched.append(f"{slug}\n{name}\n")
            self.host_slugs.update(dict.fromkeys(tenant.hosts, slug))
            self.domain_numbers.update(dict.fromkeys(tenant.email_domains, number))
            for domain in tenant.shared_email_domains:
                self.sharing_slugs[domain] = (*self.sharing_slugs.get(domain, ()), slug)
        self.by_slug = MappingProxyType(by_slug)
        self.tenants: Sequence[Tenant] = tuple(by_slug.values())
        self.listed = _listed(self.tenants)
        """Those of `tenants` that the start page may list."""
        self._text = "".join(searched)  # one text, because searching 10,000 takes 40 times as long
        self._starts = (0, *accumulate(map(len, searched)))

    def replacing(self, changed: Mapping[str, Tenant], removed: Collection[str] = ()) -> Index:
        """Return an index with these new or changed tenants, and without the removed slugs.

        It is fast if no tenant is new, removed or renamed, or shares other e-mail domains.
        """
        before = self.by_slug
        similar = all(slug in before and _is_similar(before[slug], one) for slug, one in changed.items())
        if removed or not similar:
            kept = {slug: one for slug, one in in_turns(before.items()) if slug not in removed}
            return Index({**kept, **changed}.values(), before=self)
        by_slug = before.copy()
        by_slug.update(changed)
        index = copy(self)
        index.by_slug = MappingProxyType(by_slug)
        index.tenants = tuple(by_slug.values())
        index.listed = _listed(index.tenants)
        old, new = [before[slug] for slug in changed], changed.values()
        if [one.hosts for one in old] != [one.hosts for one in new]:
            index.host_slugs = _without(self.host_slugs, (host for one in old for host in one.hosts))
            index.host_slugs.update((host, one.slug) for one in new for host in one.hosts)
        if [one.email_domains for one in old] != [one.email_domains for one in new]:
            numbers = {slug: number for number, slug in enumerate(in_turns(by_slug))}
            index.domain_numbers = _without(
                self.domain_numbers, (name for one in old for name in one.email_domains)
            )
            index.domain_numbers.update(
                (name, numbers[one.slug]) for one in new for name in one.email_domains
            )
        return index

    def by_host(self, host: str) -> Tenant | None:
        """Return the tenant with this host name in `hosts`; a port is ignored."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        slug = self.host_slugs.get(name.lower().removesuffix("."))
        return None if slug is None else self.by_slug[slug]

    def search(self, text: str, *, most: int) -> list[Tenant]:
        """Return tenants by a part of their name or slug, or by an e-mail address or its domain.

        Case and accents are ignored. The result is sorted by name and ends after `most` tenants. Only the
        first LONGEST_SEARCH characters of the text are used.
        """
        query = fold(text[:LONGEST_SEARCH])
        if not query:
            return []
        by_domain = self.domain_numbers.get(query.rpartition("@")[2])
        found = set() if by_domain is None else {by_domain}
        place = self._text.find(query)
        while place >= 0 and len(found) < most:
            number = bisect_right(self._starts, place) - 1
            found.add(number)
            place = self._text.find(query, self._starts[number + 1])
        return [self.tenants[number] for number in sorted(found)]

    def places_of(self, query: str) -> Iterator[int | None]:
        """Yield the places in `tenants` of those that have a word that begins with a folded text.

        None for each other place of the text, so that the caller can pause there (`time_slices`).
        """
        place = self._text.find(query)
        while place >= 0:
            if place and self._text[place - 1].isalnum():
                yield None
                place = self._text.find(query, place + 1)
                continue
            number = bisect_right(self._starts, place) - 1
            yield number
            place = self._text.find(query, self._starts[number + 1])


def _listed(tenants: Sequence[Tenant]) -> Sequence[Tenant]:
    listed = tuple(tenant for tenant in in_turns(tenants) if tenant.listed)
    return tenants if len(listed) == len(tenants) else listed


def _is_similar(old: Tenant, new: Tenant) -> bool:
    return old.name == new.name and old.shared_email_domains == new.shared_email_domains


def _without(table: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    """A copy of a table without these names."""
    copied = dict(table)
    for name in names:
        del copied[name]
    return copied


def fold(text: str) -> str:
    """Return `text` in lower case, without accents and with normalised spaces, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(bare.split())
