"""Finds tenants for people who do not have the link of their organisation."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left

from portal.tenancy.index import LONGEST_SEARCH, Index, fold
from portal.tenancy.model import Tenant
from portal.time_slices import in_slices

LONGEST_ADDRESS = 254
"""Characters of an e-mail address (RFC 5321 4.5.3.1.3)."""
_LONGEST_DOMAIN = 253
_LONGEST_LABEL = 63
"""Characters of a domain and of one of its labels (RFC 1035 2.3.4); their ASCII form has as many or more."""


def email_domain(text: str) -> str:
    """Return the domain of an e-mail address, or a domain, in the form of a tenant file; else an empty text.

    Upper case and full-width letters are the same as others, and a domain in other letters becomes its ASCII
    form (RFC 3490). Accents make a difference: `acmé.example` is not `acme.example`.
    """
    if len(text) > LONGEST_ADDRESS:
        return ""
    name = unicodedata.normalize("NFKC", text).casefold().strip().rpartition("@")[2].removesuffix(".")
    # one character can become 18 of them, and the ASCII form of a label takes time that grows with its square
    if len(name) > _LONGEST_DOMAIN or any(len(label) > _LONGEST_LABEL for label in name.split(".")):
        return ""
    if not name.isascii():
        try:
            name = _ascii(name)
        except UnicodeError:
            return ""
    return name if "." in name else ""


def _ascii(name: str) -> str:
    """The ASCII form of a domain. Raises: UnicodeError."""
    return name.encode("idna").decode("ascii")


def with_domain(index: Index, domain: str) -> list[Tenant]:
    """Return the tenants with an e-mail domain: the one that owns it, then those that share it, by name."""
    number = index.domain_numbers.get(domain)
    owner = [] if number is None else [index.tenants[number]]
    sharing = (index.by_slug[slug] for slug in index.sharing_slugs.get(domain, ()))
    return [*owner, *(tenant for tenant in sharing if tenant not in owner)]


def named(index: Index, text: str) -> list[Tenant]:
    """Return the listed tenants with exactly this name; case, width and accents make no difference."""
    name = fold(text[:LONGEST_SEARCH])
    place = bisect_left(index.tenants, name, key=lambda tenant: index.folded_names[tenant.name])
    found = []
    while name and place < len(index.tenants) and index.folded_names[index.tenants[place].name] == name:
        found.append(index.tenants[place])
        place += 1
    return [tenant for tenant in found if tenant.listed]


async def with_word(index: Index, text: str) -> list[Tenant]:
    """Return the listed tenants with a word in their name or slug that begins like this, sorted by name.

    An empty text finds all of them. Only the first LONGEST_SEARCH characters are used.
    """
    query = fold(text[:LONGEST_SEARCH])
    if not query:
        return list(index.listed)
    places = [place async for place in in_slices(index.places_of(query))]
    found = (index.tenants[place] for place in places if place is not None)
    return [tenant for tenant in found if tenant.listed]
