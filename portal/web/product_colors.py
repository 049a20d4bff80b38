"""Colours made from the operator's colour, with a proven contrast in light and dark pages.

A text has a contrast of at least 4.5:1 with its background (WCAG 2.2, 1.4.3), and the edge of a button or of
the focus at least 3:1 with what is around it (1.4.11). The colour of the header and of primary buttons is the
operator's; only the colour of links and edges moves towards black or white until it has its contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.tenancy.presets.logo import contrast

TEXT_CONTRAST = 4.5
_BLACK, _WHITE = "#000000", "#ffffff"
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Scheme:
    """The colours of portal.css in light or in dark pages that the operator's colour must suit."""

    canvas: str
    surface: str
    sunken: str
    on_accent: str
    strongest: str
    """What a colour moves towards to get more contrast with the backgrounds."""
    wash_share: float
    """The part of the operator's colour in the background of notices."""


LIGHT = Scheme("#f6f7f9", "#ffffff", "#f1f3f6", "#ffffff", _BLACK, 0.08)
DARK = Scheme("#0e1016", "#161922", "#0f1219", "#10132b", _WHITE, 0.15)


@dataclass(frozen=True, slots=True)
class Accent:
    """The colours of links, edges and notices in a scheme."""

    accent: str
    strong: str
    """When the pointer is on it."""
    wash: str
    """The background of notices."""


def text_on(background: str) -> str:
    """Return black or white: the one with more contrast, which is at least 4.58:1 on any background."""
    return max((_WHITE, _BLACK), key=lambda color: contrast(color, background))


def hovered(background: str) -> str:
    """Return the background of a button when the pointer is on it: its text has more contrast than before."""
    return mixed(background, _BLACK if text_on(background) == _WHITE else _WHITE, 0.15)


def accent_of(color: str, scheme: Scheme) -> Accent:
    """Return the colour of links in a scheme: as near to `color` as the contrast with backgrounds allows."""
    wash = mixed(scheme.surface, color, scheme.wash_share)
    backgrounds = (scheme.canvas, scheme.surface, scheme.sunken, scheme.on_accent, wash)
    moved = (mixed(color, scheme.strongest, step / _STEPS) for step in range(_STEPS + 1))
    accent = next(
        one for one in moved if all(contrast(one, behind) >= TEXT_CONTRAST for behind in backgrounds)
    )
    return Accent(accent, mixed(accent, scheme.strongest, 0.25), wash)


def mixed(one: str, other: str, share: float) -> str:
    """Return a colour `#rrggbb` with a share, from 0 to 1, of another one."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(first + (second - first) * share):02x}" for first, second in pairs)
