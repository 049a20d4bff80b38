"""The header `traceparent` (W3C Trace Context): reading and writing it. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1
_LONGEST = 512
"""Characters. Version 00 has 55; later versions may add fields."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The place of a span: its trace, its own id, and whether the trace is recorded."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The value of the header, in version 00 (W3C Trace Context 3.2.2)."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


def parse_traceparent(text: str) -> TraceContext | None:
    """Return what a header value says; None when it is malformed (W3C Trace Context 3.2.2 and 4.3).

    Ids of zeros only and version ff are invalid. A later version than 00 is read as 00; only a later version
    may have more after the flags.
    """
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))
