"""The picture of a preset: letters on a colour, not the provider's trademark."""

from __future__ import annotations

from xml.sax.saxutils import escape

from portal.tenancy.presets.model import Logo

_SIZE = 48
_DARK = "#111827"
_LIGHT = "#ffffff"


def logo_svg(logo: Logo) -> str:
    """Return the picture as an SVG document without scripts, styles and links."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" '
        f'height="{_SIZE}" aria-hidden="true"><rect width="{_SIZE}" height="{_SIZE}" rx="10" '
        f'fill="{logo.color}"/><text x="24" y="32" text-anchor="middle" font-family="sans-serif" '
        f'font-size="22" font-weight="600" fill="{text_color(logo.color)}">'
        f"{escape(logo.letters)}</text></svg>\n"
    )


def text_color(background: str) -> str:
    """Return the text colour with the higher contrast on a background `#rrggbb` (WCAG 2.2, 1.4.3)."""
    return max((_LIGHT, _DARK), key=lambda color: contrast(color, background))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours `#rrggbb`, from 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
