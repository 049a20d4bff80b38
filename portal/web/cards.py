"""Display values of tenants, users and times for pages."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from portal.display_text import display_text
from portal.oidc.provider import Provider
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.views import TenantCard

_PALETTE = ("#3157d5", "#0b7a63", "#a43d8f", "#b4541a", "#5b4bc4", "#1f6f9f", "#8a3ffc", "#9f3a38")
_MOST_LOOKS = 1_000
_MOST_ROLES = 100


def tenant_card(
    tenant: Tenant,
    login: Login | None,
    *,
    logo_url: str = "",
    warns: Callable[[Iterable[Provider]], bool] = lambda providers: False,
) -> TenantCard:
    """Return the card of a tenant.

    Parameters: login, the browser's login at the tenant, if any; logo_url, where the portal serves its logo;
    warns, whether the sign-in page has a warning about one of its providers, which the user is to see first.
    """
    name, letters, color = _look(tenant.slug, tenant.name, tenant.branding.color)
    user = user_name(tenant, login) if login else ""
    return TenantCard(
        tenant.slug,
        name,
        letters,
        color,
        login is not None,
        user,
        logo_url,
        closed=not tenant.accepts_logins,
        direct=len(tenant.providers) == 1 and not warns(tenant.providers.values()),
        email=verified_email(tenant, login) if login else "",
    )


@lru_cache(maxsize=_MOST_LOOKS)
def _look(slug: str, name: str, color: str | None) -> tuple[str, str, str]:
    """Name, initials and colour of a card."""
    chosen = color or _PALETTE[zlib.crc32(slug.encode()) % len(_PALETTE)]
    return display_text(name, limit=120), initials(name), chosen


def initials(name: str) -> str:
    """The initials of a name: one or two letters."""
    words = [word for word in re.split(r"[\s\-_.]+", name) if word and word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


def user_name(tenant: Tenant, login: Login) -> str:
    """The display name of a user: from the claims that the tenant configures, else the subject."""
    return account_name(tenant, login.claims, login.subject)


def account_name(tenant: Tenant, claims: Mapping[str, object], subject: str) -> str:
    """As user_name, for an account of the tenant's provider that is not signed in."""
    for claim in (tenant.claims.name, tenant.claims.email, "preferred_username"):
        value = claims.get(claim)
        if isinstance(value, str) and (text := display_text(value, limit=120)):
            return text
    return display_text(subject, limit=120)


def email_of(tenant: Tenant, login: Login) -> str:
    """The e-mail address in the claim that the tenant configures; empty without one."""
    value = login.claims.get(tenant.claims.email)
    return display_text(value, limit=254) if isinstance(value, str) else ""


def verified_email(tenant: Tenant, login: Login) -> str:
    """As email_of, if the provider says that it has verified the address (OIDC Core 5.1); else empty."""
    return email_of(tenant, login) if login.claims.get("email_verified") is True else ""


def roles_of(tenant: Tenant, login: Login) -> tuple[str, ...]:
    """The roles in the claim that the tenant configures: a list of strings, or one string."""
    value = login.claims.get(tenant.claims.roles) if tenant.claims.roles else None
    listed = value if isinstance(value, list) else [value]
    texts = (display_text(one, limit=100) for one in listed[:_MOST_ROLES] if isinstance(one, str))
    return tuple(text for text in texts if text)


def unknown_tenant_card(slug: str, name: str = "") -> TenantCard:
    """The card of a tenant that is not live. Parameters: name, if it is known."""
    text, letters, color = _look(slug, name or slug, None)
    return TenantCard(slug, text, letters, color, signed_in=False)
