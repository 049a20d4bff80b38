"""A tenant's logo and colour, in light and dark, narrow and wide."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.test_product import contrasts
from tests.browser.visitor import Look, Visitor
from tests.kit.logos import SVG
from tests.kit.raw import change_tenant
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
LOOKS = [Look(1280, "light"), Look(1280, "dark"), Look(390, "light"), Look(390, "dark", scripts=False)]


class _Logo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(SVG)))
        self.end_headers()
        self.wfile.write(SVG.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the test clean."""


@pytest.fixture
def logo_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Logo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/logo.svg"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("color", ["#7a1f5c", "#ffd400", "#ffffff", "#101010"])
def test_the_primary_button_has_the_tenants_colour_and_can_be_read(
    stage: Stage, new_visitor: NewVisitor, look: Look, color: str
) -> None:
    stage.ask(lambda world: change_tenant(world, "acme", branding={"color": color}))
    visitor = new_visitor(look, reduced_motion="reduce")
    page = visitor.open("/t/acme/")
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    button = page.locator(".button:not(.button-quiet)").first
    expect(button).to_have_css("background-color", f"rgb({red}, {green}, {blue})")
    measured = contrasts(page)
    assert measured["button"] >= 4.5
    assert measured["edge"] >= 3
    visitor.check()
    button.hover()
    assert contrasts(page)["button"] >= 4.5
    visitor.check_no_errors()


async def fetched(world: World) -> bool:
    """Fetch the logo, as the first page would."""
    tenant = world.running.portal.registry.get("acme")
    return tenant is not None and await world.running.portal.logos.get(tenant) is not None


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_logo_is_shown_in_place_of_the_initials(
    stage: Stage, new_visitor: NewVisitor, look: Look, logo_url: str
) -> None:
    stage.ask(lambda world: change_tenant(world, "acme", branding={"logo_url": logo_url, "color": "#7a1f5c"}))
    assert stage.run(fetched)
    visitor = new_visitor(look, reduced_motion="reduce")
    page = visitor.open("/t/acme/")
    picture = page.locator(".avatar-large img.avatar-logo")
    expect(picture).to_be_visible()
    assert page.evaluate("() => [...document.images].every((one) => one.naturalWidth > 0)")
    expect(picture).to_have_css("background-color", "rgb(255, 255, 255)")
    visitor.check()
    visitor.arrive("acme")
    expect(page.locator("img.avatar-logo").first).to_be_attached()
    visitor.check()
    visitor.check_no_errors()
