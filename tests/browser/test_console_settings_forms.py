"""A tenant admin sets APIs, applications and further settings with forms, without JavaScript and YAML."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal.admin.editing import values
from portal.stores.tenant_records import TenantRecord, TenantStatus
from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.contract.entries import new_event
from tests.kit.console import ACT, OPERATOR
from tests.kit.world import World

DRAFT = "/admin/t/initech/draft"
CONTENT = """\
name: Initech
links:   # as on the intranet
  - title: Time sheets   # of everybody
    url: https://time.initech.example/
"""
NewVisitor = Callable[..., Visitor]
LOOKS = [Look(1280, "light", scripts=False), Look(390, "dark"), Look(390), Look(1280, "dark")]


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,))) as stage:
        stage.run(add_tenant)
        yield stage


async def add_tenant(world: World) -> None:
    """A tenant of the database without a revision."""
    admin = world.running.portal.admin
    record = TenantRecord("initech", TenantStatus.LIVE, live=0, created_at=1.0, changed_at=1.0)
    assert await admin.store.add_tenant(record, event=new_event())
    await admin.drafts.save("initech", CONTENT, ACT, replaces=None)


def content(stage: Stage) -> str:
    return stage.run(lambda world: world.running.portal.admin.drafts.get("initech")).shown


def picture(page: Page, name: str, look: Look) -> None:
    """Keep a picture of the page, for people, where the variable names a folder."""
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/settings-{name}-{look}.png", full_page=True)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_apis_are_added_changed_and_removed(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.open(DRAFT)
    page.get_by_role("link", name="APIs").click()
    picture(page, "no-apis", look)
    visitor.check()
    page.get_by_label("Base URL").fill("https://api.initech.example/v1")
    press(page, "Add to the draft")
    expect(page).to_have_url(stage.at(f"{DRAFT}/api?saved=1"))
    page.get_by_role("link", name="All APIs, and removing one").click()
    page.get_by_label("Short name").fill("billing")
    page.get_by_label("Base URL").fill("https://billing.initech.example")
    page.get_by_label("Base URL").press("Enter")
    expect(page).to_have_url(stage.at(f"{DRAFT}/apis/billing?saved=1"))
    page.get_by_label("Scopes").fill("read:invoices write:invoices")
    page.get_by_label("How the portal gets the access token").select_option("refresh")
    page.get_by_text("Limits").click()
    page.get_by_label("Longest wait for a response").fill("soon")
    press(page, "Save in the draft")
    expect(page.locator("#error-timeout")).to_contain_text("must be a duration such as 90s")
    picture(page, "api-with-a-mistake", look)
    visitor.check()
    page.get_by_label("Longest wait for a response").fill("10s")
    page.get_by_text("Headers and certificates").click()
    picture(page, "api", look)
    press(page, "Save in the draft")
    expect(page.locator(".field-error")).to_have_count(0)
    assert values(content(stage))["apis"]["billing"] == {
        "base_url": "https://billing.initech.example",
        "scopes": ["read:invoices", "write:invoices"],
        "token": "refresh",
        "timeout": "10s",
    }
    page = visitor.open(f"{DRAFT}/apis")
    picture(page, "apis", look)
    press(page, "Remove billing")
    expect(page.get_by_text("Removed when you save.")).to_be_visible()
    picture(page, "api-removed", look)
    visitor.check()
    press(page, "Undo the removal of billing")
    press(page, "Remove billing")
    press(page, "Save in the draft")
    assert {*values(content(stage))} == {"name", "links", "api"}
    visitor.check()
    visitor.check_no_errors()


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_applications_are_added_moved_and_removed(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.open(DRAFT)
    page.get_by_role("link", name="Applications").click()
    picture(page, "applications", look)
    visitor.check()
    page.get_by_label("Main application").fill("/desk/initech/")
    press(page, "Add another link")
    expect(page.get_by_label("Main application")).to_have_value("/desk/initech/")
    expect(page.get_by_label("Title").nth(1)).to_be_focused()
    page.get_by_label("Title").nth(1).fill("Wiki")
    page.get_by_label("Address").nth(1).fill("http://wiki.initech.example/")
    page.get_by_label("Address").nth(1).press("Enter")
    expect(page.locator("#error-url-1")).to_contain_text("must be an https URL, or a path")
    picture(page, "applications-with-a-mistake", look)
    visitor.check()
    page.get_by_label("Address").nth(1).fill("https://wiki.initech.example/")
    press(page, "Move up Wiki")
    press(page, "Save in the draft")
    assert content(stage).endswith('    url: https://time.initech.example/\nhome_url: "/desk/initech/"\n')
    assert [one["title"] for one in values(content(stage))["links"]] == ["Wiki", "Time sheets"]
    press(page, "Remove Time sheets")
    expect(page.get_by_text("Removed when you save.")).to_be_visible()
    picture(page, "applications-removed", look)
    visitor.check()
    press(page, "Undo the removal of Time sheets")
    press(page, "Remove Wiki")
    press(page, "Save in the draft")
    assert values(content(stage))["links"] == [
        {"title": "Time sheets", "url": "https://time.initech.example/"}
    ]
    assert "# of everybody" in content(stage)
    visitor.check()
    visitor.check_no_errors()


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_further_general_settings_are_typed(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.open(f"{DRAFT}/general")
    page.get_by_label("On the start page of the portal").select_option("false")
    page.get_by_label("Address of the logo").fill("https://www.initech.example/logo.svg")
    page.get_by_text("What the portal knows of users").click()
    page.get_by_label("Claims that your front end gets").fill("department\nlocale")
    page.get_by_text("How long a sign-in lasts").click()
    page.get_by_label("A login ends when it is unused for").fill("30m")
    press(page, "Save in the draft")
    expect(page.locator(".field-error")).to_have_count(0)
    picture(page, "general", look)
    visitor.check()
    root = values(content(stage))
    assert root["listed"] is False
    assert root["branding"] == {"logo_url": "https://www.initech.example/logo.svg"}
    assert root["claims"] == {"page": ["department", "locale"]}
    assert root["session"] == {"idle": "30m"}
    visitor.check_no_errors()
