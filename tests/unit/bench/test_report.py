"""Tables, the picture, and their places in docs/performance.md."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.parent import describe
from bench.peers.__main__ import MEASUREMENTS
from bench.peers.chart import Bar, bar_chart
from bench.peers.report import DOCUMENT, call_bars, describe_run
from bench.peers.rounds import Plan
from bench.peers.tables import Table, number, ratio, replace_section

SVG = "{http://www.w3.org/2000/svg}"


def test_a_table_in_markdown_has_even_columns() -> None:
    table = Table("calls", "3 s", ("product", "µs"), (("nginx", "7.00"), ("a portal", "1,204")))
    assert table.markdown().splitlines() == [
        "| product  |    µs |",
        "| -------- | ----: |",
        "| nginx    |  7.00 |",
        "| a portal | 1,204 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(7.437, "7.44"), (0.4, "0.40"), (87.66, "87.7"), (283.7, "284"), (12_345.6, "12,346")]
)
def test_a_figure_has_the_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_a_ratio_needs_a_reference() -> None:
    assert ratio(150, 100) == "1.50 ×"
    assert ratio(150, None) == ""


def test_a_section_is_replaced_between_its_marks_and_nothing_else() -> None:
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\n<!-- y: end -->\n"
    once = replace_section(text, "x", r"new \1")
    assert once == text.replace("old", r"new \1")
    assert replace_section(once, "x", r"new \1") == once


@pytest.mark.parametrize("text", ["", "<!-- x: begin --><!-- x: end --> <!-- x: begin --><!-- x: end -->"])
def test_a_section_must_be_there_once(text: str) -> None:
    with pytest.raises(ValueError, match="sections 'x'"):
        replace_section(text, "x", "new")


@pytest.mark.parametrize("name", [*MEASUREMENTS, "machine"])
def test_the_document_has_a_place_for_each_measurement(name: str) -> None:
    assert "here" in replace_section(DOCUMENT.read_text(encoding="utf-8"), name, "here")


def test_bars_are_as_long_as_their_values_and_have_labels() -> None:
    picture = bar_chart("a < b", [Bar("one & two", 50), Bar("portal", 100, own=True)])
    root = ElementTree.fromstring(picture)
    bars = root.findall(f"{SVG}rect")
    lengths = [float(bar.get("width", "")) for bar in bars]
    assert lengths[0] == pytest.approx(lengths[1] / 2)
    assert [bar.get("class") for bar in bars] == ["bar", "own"]
    assert [text.text for text in root.findall(f"{SVG}text")] == ["a < b", "one & two", "50", "portal", "100"]
    assert root.get("aria-label") == "a < b: one & two 50, portal 100"
    assert "prefers-color-scheme: dark" in picture


def test_a_picture_without_bars_is_still_a_picture() -> None:
    assert ElementTree.fromstring(bar_chart("none", [])).findall(f"{SVG}rect") == []


def test_the_picture_shows_the_fastest_first_and_only_what_was_measured() -> None:
    rows = (("slow", "1,200"), ("portal tornado SQLite", "270"), ("broken", ""))
    table = Table("calls", "3 s", ("product", "200 B"), rows)
    assert call_bars(table) == [Bar("portal tornado SQLite", 270.0, own=True), Bar("slow", 1200.0)]


def test_a_table_says_how_it_was_measured() -> None:
    table = Table("login", "100 logins", ("product",), ())
    assert describe_run(table, Plan(rounds=5, seconds=3)).endswith(", medians of 5 rounds of 100 logins.")


def test_the_comparison_with_the_parent_is_one_line() -> None:
    assert describe(150.4, 147.6) == "HEAD^ 150 us, HEAD 148 us (-2 %)"
    assert describe(100, 131) == "HEAD^ 100 us, HEAD 131 us (+31 %)"
