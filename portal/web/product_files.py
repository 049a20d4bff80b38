"""The operator's own product on the pages: name, links, and the files that the portal serves for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from portal.config.logo_content import Logo
from portal.config.product import Product
from portal.web.assets import assets_folder
from portal.web.product_colors import DARK, LIGHT, Scheme, accent_of, hovered, text_on
from portal.web.views import ProductView

FOLDER = "/product/"
_LOGO_HEIGHT, _LOGO_WIDTH = 32, 128
"""Of the logo on pages, in CSS pixels; the width is the largest one."""
MEDIA_TYPES = {
    "svg": "image/svg+xml; charset=utf-8",
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "css": "text/css; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Icon:
    """The icon at `/favicon.ico`, for browsers and crawlers that have not read a page."""

    content: bytes
    media_type: str


def _own_icon() -> Icon:
    return Icon((assets_folder("static") / "logo.svg").read_bytes(), MEDIA_TYPES["svg"])


@dataclass(frozen=True, slots=True)
class ProductFiles:
    """What the pages show of the product, and the content of each file below `/product/`, by its name."""

    view: ProductView = field(default_factory=ProductView)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Each name has the kind of the file as its extension."""
    icon: Icon = field(default_factory=_own_icon)


def product_files(product: Product) -> ProductFiles:
    """Return the view and the files of a product. Reads the style sheet `product.css`."""
    if product == Product():
        return ProductFiles()
    sheet = _style_sheet(product.color).encode()
    sheet_name = _hashed_name("style", "css", sheet)
    files = {sheet_name: sheet}
    logo = product.logo
    logo_name = _hashed_name("logo", logo.kind, logo.content) if logo else ""
    if logo:
        files[logo_name] = logo.content
    view = ProductView(
        name=product.name,
        style_url=FOLDER + sheet_name,
        logo_url=FOLDER + logo_name if logo else None,
        logo_type=MEDIA_TYPES[logo.kind].partition(";")[0] if logo else "",
        logo_width=_shown_width(logo) if logo else 0,
        color=product.color,
        support_url=product.support_url,
        support_email=product.support_email,
        support_mailto=f"mailto:{quote(product.support_email, safe='@+')}" if product.support_email else None,
        legal_url=product.legal_url,
    )
    return ProductFiles(view, files, Icon(logo.content, MEDIA_TYPES[logo.kind]) if logo else _own_icon())


def _hashed_name(name: str, kind: str, content: bytes) -> str:
    return f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.{kind}"


def _shown_width(logo: Logo) -> int:
    return min(_LOGO_WIDTH, max(1, round(_LOGO_HEIGHT * logo.ratio)))


def _style_sheet(color: str | None) -> str:
    rules = (assets_folder("static") / "product.css").read_text(encoding="utf-8")
    if color is None:
        return rules
    dark = f"@media (prefers-color-scheme: dark) {{\n{_accent_rule(color, DARK)}}}\n"
    return f"{_accent_rule(color, LIGHT)}{dark}{_product_rule(color)}{rules}"


def _accent_rule(color: str, scheme: Scheme) -> str:
    made = accent_of(color, scheme)
    return (
        f":root {{ --accent: {made.accent}; --accent-strong: {made.strong}; --accent-wash: {made.wash}; }}\n"
    )


def _product_rule(color: str) -> str:
    return _root_rule({"product": color, "product-hover": hovered(color), "on-product": text_on(color)})


def _root_rule(values: Mapping[str, str]) -> str:
    return f":root {{ {' '.join(f'--{name}: {value};' for name, value in values.items())} }}\n"
