"""The page of docs/guides/your-page.md, made of the code in the guide."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, expect

from portal.config.front_ends import FrontEndFile, front_ends_of
from tests.browser.stage import Stage

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "your-page.md").read_text()


def code(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text(code("html")[0])
    (tmp_path / "dist" / "orders.js").write_text(code("js")[0])
    (first, *_) = code("yaml")
    files = {name: FrontEndFile(**one) for name, one in yaml.safe_load(first)["front_ends"].items()}
    made = front_ends_of(
        files,
        public_url="http://localhost:8080",
        listen="127.0.0.1:8080",
        folder=tmp_path,
        place=lambda path, of_key: "",
    )
    with contextlib.closing(Stage(tmp_path / "world", front_ends=made)) as stage:
        yield stage


def test_the_page_of_the_guide_shows_the_orders_of_the_signed_in_user(
    stage: Stage, chromium: Browser
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(stage.at("/t/acme/login"))
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at("/app/acme/"))
    expect(page.locator("#orders")).to_contain_text('"customer"')
    page.goto(stage.at("/app/acme/orders/7"))
    expect(page.locator("#orders")).to_contain_text('"customer"')
    context.close()


@pytest.mark.parametrize("text", [one for one in code("yaml") if "front_ends:" in one])
def test_the_settings_of_the_guide_are_valid(text: str) -> None:
    files = {name: FrontEndFile(**one) for name, one in yaml.safe_load(text)["front_ends"].items()}
    assert front_ends_of(
        files,
        public_url="http://localhost:8080",
        listen="127.0.0.1:8080",
        folder=Path(),
        place=lambda path, of_key: "",
    )
