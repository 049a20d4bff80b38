"""The switcher: who is signed in where, where one can sign in again, and which page stays the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

from portal.tenancy.model import Tenant
from portal.web.remembered import Remembered
from portal.web.views import Person, SignInAgain, TenantCard

_KEPT = re.compile(r"/t/[a-z0-9-]+/(developer)")
"""Pages of a tenant that every tenant has. Front ends keep their own pages (`switchTo` of portal.js)."""


def kept_page(path: str) -> str:
    """Return the end of a tenant's page that stays the same when the user switches; empty for its home."""
    kept = _KEPT.fullmatch(path)
    return kept[1] if kept else ""


def people_of(cards: Iterable[TenantCard]) -> tuple[Person, ...]:
    """Group tenants with a login by the person: the same verified e-mail address, or the same name.

    It is only for the eye: nothing is decided by it. A group has the name of its first card.
    """
    listed = tuple(cards)
    first = list(range(len(listed)))
    """An earlier card of the same person, or the card itself."""

    def first_of(number: int) -> int:
        while first[number] != number:
            first[number] = number = first[first[number]]
        return number

    known: dict[str, int] = {}
    for number, card in enumerate(listed):
        for key in (f"name {card.user.casefold()}", card.email and f"email {card.email.casefold()}"):
            if key:
                one, other = first_of(known.setdefault(key, number)), first_of(number)
                first[max(one, other)] = min(one, other)
    groups: dict[int, list[TenantCard]] = {}
    for number, card in enumerate(listed):
        groups.setdefault(first_of(number), []).append(card)
    return tuple(Person(group[0].user, tuple(group)) for group in groups.values())


def sign_in_again(
    entries: Iterable[Remembered],
    *,
    signed_in: Iterable[TenantCard],
    tenant_of: Callable[[str], Tenant | None],
    card_of: Callable[[Tenant], TenantCard],
    page: str,
) -> tuple[SignInAgain, ...]:
    """Return the remembered tenants without a login.

    The sign-in tries `prompt=none` first: the user clicks once, and sees the provider's form only when the
    provider needs one. Parameters: tenant_of, gives the live tenants of this site; page, as of `kept_page`.
    """
    current = {card.slug for card in signed_in}
    found = []
    for one in entries:
        tenant = tenant_of(one.tenant) if one.tenant not in current else None
        if tenant is not None:
            card = card_of(tenant)
            found.append(SignInAgain(card, _url(tenant, one, page)))
    return tuple(found)


def _url(tenant: Tenant, one: Remembered, page: str) -> str:
    home = f"/t/{tenant.slug}/"
    if not tenant.accepts_logins:
        return home
    query = {"prompt": "none", "return_to": home + page}
    if len(tenant.providers) > 1:
        if one.provider not in tenant.providers:
            return home
        query["provider"] = one.provider
    return f"{home}login?{urlencode(query)}"
