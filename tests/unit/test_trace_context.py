"""The header `traceparent` (W3C Trace Context 3.2)."""

from __future__ import annotations

import pytest

from portal.trace_context import TraceContext, parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("ff", True), ("02", False)])
def test_a_header_is_read_with_its_sampled_flag(flags: str, sampled: bool) -> None:
    read = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert read == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read_again(sampled: bool) -> None:
    context = TraceContext(0xAB, 0xC, sampled)
    assert context.traceparent == f"00-{'ab'.zfill(32)}-{'c'.zfill(16)}-0{int(sampled)}"
    assert parse_traceparent(context.traceparent) == context


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_a_later_version_is_read_as_00(text: str) -> None:
    assert parse_traceparent(text) == TraceContext(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
    ],
)
def test_a_malformed_header_says_nothing(text: str) -> None:
    assert parse_traceparent(text) is None
