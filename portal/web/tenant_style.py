"""A tenant's colour on its own pages, and the addresses of its style sheet and logo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from portal.tenancy.logos import TenantLogo
from portal.tenancy.model import Tenant
from portal.web.product_colors import DARK, LIGHT, Scheme, accent_of, hovered, text_on
from portal.web.views import TenantCard

_PRIMARY = ".button:not(.button-quiet, .button-bad)"
"""As in product.css, which is loaded before."""
_MOST_SHEETS = 1_000


def logo_url(tenant: Tenant, logo: TenantLogo | None) -> str:
    """Return the address of a tenant's logo; it changes with the content. Empty without a logo."""
    return f"/t/{tenant.slug}/logo?v={logo.version}" if logo is not None else ""


def style_url(tenant: Tenant) -> str | None:
    """Return the address of a tenant's style sheet, which changes with it; None without a colour."""
    if tenant.branding.color is None:
        return None
    return f"/t/{tenant.slug}/style-{style_sheet(tenant.branding.color)[1]}.css"


def page_style_url(find: Callable[[str], Tenant | None], current: TenantCard | None, path: str) -> str | None:
    """Return the style sheet of the tenant whose own page is at a path; None when it has no colour.

    Parameters: find, returns a live tenant by its slug.
    """
    tenant = find(current.slug) if current is not None else None
    if tenant is None or not path.startswith(f"/t/{tenant.slug}/"):
        return None
    return style_url(tenant)


@lru_cache(maxsize=_MOST_SHEETS)
def style_sheet(color: str) -> tuple[bytes, str]:
    """Return a style sheet for primary buttons of this colour, and the beginning of its hash.

    Parameters: color, `#rrggbb`. The text has a contrast of at least 4.5:1 with the button, and the edge
    with what is around it, in light and in dark pages (`product_colors`).
    """
    text = text_on(color)
    rules = (
        f"{_PRIMARY} {{ background: {color}; color: {text}; }}\n"
        f"{_PRIMARY}:hover {{ background: {hovered(color)}; color: {text}; }}\n"
        f"{_edges(color, LIGHT)}"
        f"@media (prefers-color-scheme: dark) {{\n{_edges(color, DARK)}}}\n"
    )
    content = rules.encode()
    return content, hashlib.sha256(content).hexdigest()[:16]


def _edges(color: str, scheme: Scheme) -> str:
    made = accent_of(color, scheme)
    return (
        f"{_PRIMARY} {{ border-color: {made.accent}; }}\n"
        f"{_PRIMARY}:hover {{ border-color: {made.strong}; }}\n"
    )
