"""Fixtures: one Chromium for the package, and a new portal and new visitors for each test."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.stage import Stage
from tests.browser.visitor import Visitor

_QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Package scope: while Playwright is active, no other event loop can run in this thread."""
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program is not None, "Chromium is missing; run scripts/setup.sh test"
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*_QUIET, "--disable-sync", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path)) as stage:
        yield stage


@pytest.fixture
def new_visitor(chromium: Browser, stage: Stage) -> Iterator[Callable[..., Visitor]]:
    """Opens browser windows: `new_visitor(Look(390, "dark"))`. Options are those of `Browser.new_context`."""
    visitors: list[Visitor] = []

    def opened(*args: Any, **options: Any) -> Visitor:
        visitors.append(Visitor(chromium, stage, *args, **options))
        return visitors[-1]

    try:
        yield opened
    finally:
        for visitor in visitors:
            visitor.close()
