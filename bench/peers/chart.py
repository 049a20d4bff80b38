"""A bar chart as SVG that is readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 760
_LABELS = 220
_VALUES = 70
_ROW = 30
_TOP = 44
_STYLE = """\
  text { font: 14px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .bar { fill: #8c959f }
  .own { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .bar { fill: #7d8590 }
    .own { fill: #4493f8 }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its label, its length, and whether it stands out."""

    label: str
    value: float
    own: bool = False


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, each with its value. The background is transparent."""
    longest = max((bar.value for bar in bars), default=0) or 1
    height = _TOP + _ROW * len(bars) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"',
        f'     aria-label="{escape(_as_text(title, bars))}">',
        f"<style>\n{_STYLE}</style>",
        f'<text class="title" x="0" y="20">{escape(title)}</text>',
    ]
    for number, bar in enumerate(bars):
        y = _TOP + _ROW * number
        length = max(bar.value / longest * (_WIDTH - _LABELS - _VALUES), 1)
        lines += [
            f'<text x="{_LABELS - 10}" y="{y + 15}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{"own" if bar.own else "bar"}" x="{_LABELS}" y="{y}" width="{length:.1f}" '
            f'height="20" rx="2"/>',
            f'<text x="{_LABELS + length + 8:.1f}" y="{y + 15}">{bar.value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _as_text(title: str, bars: Sequence[Bar]) -> str:
    return f"{title}: " + ", ".join(f"{bar.label} {bar.value:,.0f}" for bar in bars)
