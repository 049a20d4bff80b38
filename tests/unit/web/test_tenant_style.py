"""The style sheet with a tenant's colour has its contrast for every colour."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from portal.tenancy.presets.logo import contrast
from portal.web.product_colors import DARK, LIGHT
from portal.web.tenant_style import style_sheet

COLORS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")
RULE = re.compile(r"\.button:not\(\.button-quiet, \.button-bad\)(:hover)? \{ (.*?) \}")


def rules(css: str) -> list[dict[str, str]]:
    return [
        dict(part.split(": ") for part in found[2].rstrip(";").split("; ")) for found in RULE.finditer(css)
    ]


@given(COLORS)
def test_the_text_of_a_primary_button_and_its_edge_are_readable(color: str) -> None:
    css = style_sheet(color)[0].decode()
    light, _, dark = css.partition("@media (prefers-color-scheme: dark)")
    normal, hovered, *edges = rules(light)
    assert normal["background"] == color
    for rule in (normal, hovered):
        assert contrast(rule["background"], rule["color"]) >= 4.5
    for scheme, found in ((LIGHT, edges), (DARK, rules(dark))):
        assert len(found) == 2
        for rule in found:
            for behind in (scheme.canvas, scheme.surface):
                assert contrast(rule["border-color"], behind) >= 3


def test_the_version_changes_with_the_colour() -> None:
    assert style_sheet("#7a1f5c")[1] == style_sheet("#7a1f5c")[1] != style_sheet("#7a1f5d")[1]
