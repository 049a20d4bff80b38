"""The story of the README: a setup link, a provider that its console describes, a test login, and users.

`PORTAL_TEST_PICTURES` names a folder for pictures of its pages; those of the guides are made with it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal.demo.setup import make_setup_link
from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.console import OPERATOR
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,), setup_links="publish")) as made:
        yield made


async def _link(world: World) -> str:
    made = await make_setup_link(world.running.portal.admin)
    assert made is not None
    return made.reveal()


def _registration(visitor: Visitor, issuer: str) -> dict[str, str]:
    """What the provider's console shows of the portal's client."""
    page = visitor.context.new_page()
    page.goto(f"{issuer}/")
    found = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=True))
    page.close()
    return found


def _picture(page: Page, name: str, look: Look) -> None:
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/setup-{name}-{look.width}.png", full_page=True)


@pytest.mark.parametrize("look", [Look(1280, "light", scripts=False), Look(390, "dark")], ids=str)
def test_an_administrator_with_a_setup_link_publishes_a_provider_that_users_sign_in_at(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    """Three fields are filled in, and nothing else."""
    admin, user = new_visitor(look), new_visitor(look)
    issuer = stage.ask(lambda world: world.provider("initech").issuer)
    stage.issuers["initech"] = issuer
    registered = _registration(admin, issuer)
    page = admin.page
    page.goto(stage.run(_link))
    _picture(page, "link", look)
    page.get_by_role("button", name="Start in this browser").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Set up Initech")
    admin.check()

    page.get_by_role("link", name="Choose a provider").click()
    _picture(page, "kinds", look)
    page.get_by_role("button", name="Another provider").click()
    expect(page.locator(".copy-text").first).to_have_text(registered["Registered callback URL"])
    expect(page.locator(".field-error")).to_have_count(0)
    page.get_by_label("Issuer", exact=True).fill(registered["Issuer"])
    page.get_by_label("Client ID").fill(registered["Client ID"])
    page.get_by_label("Client secret").fill(registered["Client secret"])
    _picture(page, "values", look)
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator(".field-error")).to_have_count(0)
    admin.check()

    page.get_by_role("button", name="Run the checks").click()
    expect(page.get_by_role("button", name="Run the checks again")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0)
    _picture(page, "checks", look)
    page.get_by_role("link", name="Test a sign-in").click()
    page.get_by_role("button", name="Test this provider").click()
    page.get_by_label("User name").fill("peter")
    page.get_by_label("Password").fill("initech-peter")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text(re.compile("^The test login succeeded"))).to_be_visible()
    expect(page.get_by_text("This account may sign in.")).to_be_visible()
    _picture(page, "test", look)
    admin.check()
    assert admin.context.request.get(stage.at("/session")).json()["tenants"] == []

    page.get_by_role("link", name=re.compile("publishing")).click()
    _picture(page, "publish", look)
    page.get_by_role("button", name="Publish for everybody").click()
    expect(page.get_by_text("Published as revision 1.")).to_be_visible()
    _picture(page, "published", look)
    admin.check()
    admin.check_no_errors()

    home = user.page
    for _ in range(20):  # every process serves it within two seconds
        shown = home.goto(stage.at("/t/initech/"))
        if shown is not None and shown.ok:
            break
        home.wait_for_timeout(200)
    home.locator("main a.button").first.click()
    home.get_by_label("User name").fill("milton")
    home.get_by_label("Password").fill("initech-milton")
    home.get_by_role("button", name="Sign in", exact=True).click()
    expect(home).to_have_url(stage.at("/t/initech/"))
    expect(home.locator("main")).to_contain_text("Milton Moss")
    user.check()
