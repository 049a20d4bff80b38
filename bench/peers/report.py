"""Writes the tables and the picture of docs/performance.md."""

from __future__ import annotations

import datetime
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from bench.peers import install
from bench.peers.chart import Bar, bar_chart
from bench.peers.rounds import Plan
from bench.peers.tables import Table, replace_section
from bench.servers import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.svg"
TITLE = "CPU time of a proxied call of 200 bytes, µs"


def write_table(table: Table, plan: Plan) -> None:
    """Put a table into its section, and draw the picture when it is that of the calls."""
    text = DOCUMENT.read_text(encoding="utf-8")
    text = replace_section(text, table.name, f"{describe_run(table, plan)}\n\n{table.markdown()}")
    text = replace_section(text, "machine", describe_machine())
    DOCUMENT.write_text(text, encoding="utf-8")
    if table.name == "calls":
        PICTURE.write_text(bar_chart(TITLE, call_bars(table)), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)} has the table of {table.name}", flush=True)


def call_bars(table: Table) -> list[Bar]:
    """A bar for each product with a figure for the smallest response, the fastest first."""
    bars = [
        Bar(row[0], float(row[1].replace(",", "")), row[0].startswith("portal"))
        for row in table.rows
        if row[1]
    ]
    return sorted(bars, key=lambda bar: bar.value)


def describe_run(table: Table, plan: Plan) -> str:
    """When and how a table was measured."""
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{today}, medians of {plan.rounds} rounds of {table.round}."


def describe_machine() -> str:
    """Processor, system and versions."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    processor = found[1] if found else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    programs = {
        "Python": platform.python_version(),
        **{name: version(name) for name in ("tornado", "httptools", "uvloop")},
        **install.versions(),
    }
    listed = ", ".join(f"{name} {number}" for name, number in programs.items())
    return (
        f"{os.cpu_count()} processors ({processor}), {memory:.0f} GiB of memory, "
        f"Linux {platform.release()}. {listed}."
    )
