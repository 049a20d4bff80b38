"""A tenant admin adds a provider with the forms of the console, without JavaScript."""

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
SECRET = "the-secret-of-initech"
NewVisitor = Callable[..., Visitor]


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
    await admin.drafts.save("initech", "name: Initech\n", ACT, replaces=None)


def content(stage: Stage) -> str:
    return stage.run(lambda world: world.running.portal.admin.drafts.get("initech")).shown


def picture(page: Page, name: str, look: Look) -> None:
    """Keep a picture of the page, for people, where the variable names a folder."""
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/forms-{name}-{look}.png", full_page=True)


@pytest.mark.parametrize(
    "look", [Look(1280, "light", scripts=False), Look(390, "dark", scripts=False), Look(390)], ids=str
)
def test_a_generic_provider_is_added_with_the_form(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look)
    visitor.arrive("acme")
    page = visitor.open(f"{DRAFT}/providers/new")
    picture(page, "choice", look)
    visitor.check()
    page.get_by_role("button", name="Another provider").click()
    expect(page).to_have_url(stage.at(f"{DRAFT}/providers/default"))
    expect(page.locator(".copy-text").first).to_have_text(stage.at("/t/initech/callback"))
    expect(page.get_by_role("button", name="Copy the Callback URL")).to_have_count(1 if look.scripts else 0)
    issuer = stage.issuers["globex"]
    page.get_by_label("Issuer", exact=True).fill(f"{issuer}/.well-known/openid-configuration")
    page.get_by_label("Client ID").fill("<the client id>")
    page.get_by_label("Client secret").fill(SECRET)
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator("#error-client_id")).to_contain_text("placeholder")
    expect(page.get_by_label("Issuer", exact=True)).to_have_value(issuer)
    expect(page.get_by_text("Leave this empty to keep it")).to_be_visible()
    picture(page, "provider", look)
    visitor.check()
    page.get_by_label("Client ID").fill("portal")
    page.get_by_text("More settings").click()
    page.locator("#field-more-scopes").fill("openid email")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator(".field-error")).to_have_count(0)
    assert SECRET not in page.content()
    root = values(content(stage))
    assert root["issuer"] == issuer
    assert root["client"]["id"] == "portal"
    assert root["scopes"] == ["openid", "email"]
    page.get_by_role("button", name="Run the checks").click()
    expect(page.get_by_role("button", name="Run the checks again")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("In order").first).to_be_visible()
    expect(page.get_by_text("Failed").first).to_be_visible()
    picture(page, "checks", look)
    visitor.check()
    page = visitor.open(f"{DRAFT}/general")
    page.get_by_label("Who has an e-mail address that ends with").check()
    page.get_by_label("Endings of e-mail addresses").fill("@initech.example")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.get_by_text("Saved in the draft.")).to_be_visible()
    picture(page, "general", look)
    visitor.check()
    page = visitor.open(f"{DRAFT}/providers/new")
    expect(page.get_by_text("The callback URL of “Another provider” changes.")).to_be_visible()
    picture(page, "second", look)
    visitor.check()
    page.get_by_label("Short name of the provider that is there").fill("staff")
    page.get_by_role("button", name="Okta").click()
    expect(page.locator(".copy-text").first).to_have_text(stage.at("/t/initech/callback/okta"))
    picture(page, "okta", look)
    visitor.check()
    page.get_by_role("link", name="Remove this provider").click()
    picture(page, "remove", look)
    visitor.check()
    page.get_by_role("button", name="Remove it").click()
    assert list(values(content(stage))["providers"]) == ["staff"]
    visitor.check_no_errors()
