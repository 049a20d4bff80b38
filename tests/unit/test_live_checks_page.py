"""The page of live checks has every check, and its tables are current."""

from __future__ import annotations

import runpy
from pathlib import Path

from portal.tenancy.checks.live.catalog import PROVIDER_CHECKS, TENANT_CHECKS

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_of_the_page_are_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "live_checks.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["rendered"](page) == page, "run: python scripts/live_checks.py"


def test_the_page_describes_every_check() -> None:
    page = (ROOT / "docs" / "reference" / "live-checks.md").read_text(encoding="utf-8")
    described = page.partition("| check |")[2].partition("`--json`")[0]
    names = {check.name for check in (*PROVIDER_CHECKS, *TENANT_CHECKS)}
    assert {name for name in names if f"`{name}`" not in described} == set()
