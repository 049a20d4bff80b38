"""Front-channel logout in a real browser: which sites may frame the portal's response, and its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.visitor import Visitor
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]


def register_front_channel_only(world: World) -> None:
    """Let Acme's provider use front-channel logout only."""
    settings = world.acme.settings
    (client,) = settings.clients
    world.acme.settings = replace(settings, clients=(replace(client, backchannel_logout_uri=None),))
    world.acme.frontchannel_logout_uris[client.client_id] = world.at("/t/acme/frontchannel-logout")


def test_a_frame_of_the_providers_own_page_signs_the_user_out(stage: Stage, new_visitor: NewVisitor) -> None:
    stage.ask(register_front_channel_only)
    visitor = new_visitor()
    page = visitor.arrive()
    page.goto(f"{stage.issuers['acme']}/logout")
    page.get_by_role("button", name="Sign out").click()
    expect(page.frame_locator("iframe").get_by_text("Signed out.")).to_be_visible()
    visitor.open("/t/acme/")
    expect(page.get_by_role("heading", name="Sign in to Acme Corporation")).to_be_visible()
    visitor.check_no_errors()


def test_a_page_of_another_site_cannot_show_the_response(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    query = urlencode({"iss": stage.issuers["acme"], "sid": "unknown"})
    for site in (stage.other_site, stage.sibling, f"{stage.issuers['globex']}/"):
        visitor.console_errors.clear()
        page.goto(site)
        page.evaluate(
            """(address) => new Promise((loaded) => {
                const frame = document.createElement("iframe");
                frame.onload = loaded;
                frame.src = address;
                document.body.append(frame);
            })""",
            stage.at(f"/t/acme/frontchannel-logout?{query}"),
        )
        expect(page.frame_locator("iframe").get_by_text("Signed out.")).to_have_count(0)
        assert [message for message in visitor.console_errors if "frame-" in message], site
