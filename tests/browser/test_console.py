"""The console in a browser: narrow and wide, light and dark, with and without scripts."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.console import ACT, OPERATOR, SOON, move_to_database
from tests.kit.raw import until
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
LONG = "An organisation with a name that is much too long for one line of a narrow window, and more"
LEFT_OF_SIGN = """line => parseFloat(getComputedStyle(line).paddingLeft)
    + parseFloat(getComputedStyle(line, "::before").marginLeft)"""
"""The pixels between the edge of a diff and the sign of a line."""


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,))) as made:
        made.run(prepared)
        yield made


async def prepared(world: World) -> None:
    """Globex has two revisions, Initech is new, and the file of Acme has a problem."""
    typed = await move_to_database(world)
    services = world.running.portal.admin
    await services.tenants.make("initech", LONG[:100], ACT)
    content = (await services.tenants.revision("globex")).content
    changed = content.replace("#14663c", "#0b7a63").replace("name: Globex", "name: Globex & Söhne <Ltd>")
    assert typed
    await services.tenants.publish("globex", changed, ACT)
    stored = world.running.stored_tenants
    await until(
        lambda: stored.tenants["globex"].state.revision == 2, "revision 2 is not served", seconds=SOON
    )


def shown(visitor: Visitor, name: str) -> None:
    """Check the page, and keep its picture where a person asks for it."""
    visitor.check()
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        visitor.page.screenshot(path=f"{folder}/{name}-{visitor.look}.png", full_page=True)


@pytest.mark.parametrize(
    "look",
    [Look(1280, "light"), Look(390, "dark"), Look(390, "light", scripts=False), Look(1280, "dark")],
    ids=str,
)
def test_every_page_of_the_console_is_sound(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look, reduced_motion="reduce")
    page = visitor.open("/admin/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to open the console")
    shown(visitor, "signed-out")
    visitor.arrive("globex")
    visitor.arrive("acme")
    page.locator(".menu-account summary").click()
    page.get_by_role("link", name="Console", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Organisations")
    shown(visitor, "overview")
    page.get_by_role("link", name="Add an organisation").click()
    page.get_by_label("Name of the organisation").fill("Hooli")
    page.get_by_label("Short name").fill("globex")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("This short name is taken; choose another.")).to_be_visible()
    expect(page.get_by_label("Name of the organisation")).to_have_value("Hooli")
    shown(visitor, "new")
    for path, heading in (
        ("/admin/t/acme/", "Acme Corporation"),
        ("/admin/t/globex/", "Globex & Söhne <Ltd>"),
        ("/admin/t/globex/sessions", "Logins"),
        ("/admin/t/globex/domains", "Domains"),
        ("/admin/t/globex/revisions", "Revisions"),
        ("/admin/t/globex/revisions/1", "Revision 1"),
        ("/admin/t/globex/revisions/2", "Revision 2"),
        ("/admin/t/globex/events", "Events"),
        ("/admin/t/globex/status", "Status"),
        ("/admin/t/initech/", LONG[:100]),
    ):
        visitor.open(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(page.locator(".console-nav a[aria-current]")).to_have_count(1)
        if path == "/admin/t/globex/revisions/1":
            page.locator(".more summary").click()
            assert page.locator(".diff-added").last.evaluate(LEFT_OF_SIGN) >= 8
        shown(visitor, path.strip("/").replace("/", "-"))
    visitor.check_no_errors(refusals=True)


@pytest.mark.parametrize("look", [Look(390, "light", scripts=False), Look(1280, "light")], ids=str)
def test_an_admin_rolls_back_and_ends_a_login(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor, user = new_visitor(look), new_visitor()
    user.arrive("globex", "hank")
    page = visitor.arrive("globex")
    page.locator(".menu-account summary").click()
    page.get_by_role("link", name="Console", exact=True).click()
    page.get_by_role("main").get_by_role("link", name="Globex & Söhne").click()
    page.get_by_role("link", name="Revisions", exact=True).click()
    page.get_by_role("link", name="Revision 1").click()
    page.get_by_label("Reason").fill("the first name was right")
    page.get_by_role("button", name="Roll back to revision 1").click()
    expect(page.get_by_role("status")).to_have_text(
        "Revision 3 is live. Every process serves it within seconds."
    )
    expect(page.get_by_text("the first name was right")).to_be_visible()
    page.get_by_role("link", name="Logins", exact=True).click()
    page.get_by_role("button", name="End the login of Hank Huang").click()
    expect(page.get_by_role("status")).to_have_text("The login has ended.")
    expect(page.get_by_text("Hank Huang")).to_have_count(0)
    user.page.reload()
    expect(user.page.get_by_role("heading", level=1)).to_contain_text("Sign in to")
    page.get_by_role("link", name="Events", exact=True).click()
    expect(page.get_by_text("Login ended: globex-9b21")).to_be_visible()
    visitor.check_no_errors()
