"""Pages with the operator's own product: every kind of colour, in light and dark, narrow and wide."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal.config.logo_content import Logo
from portal.config.product import Product
from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.logos import SVG

NewVisitor = Callable[..., Visitor]
LINKS = {
    "support_url": "https://help.initech.example/",
    "support_email": "help@initech.example",
    "legal_url": "https://initech.example/legal",
}
LOGO = Logo(SVG.encode(), "svg", 3.0)
PRODUCTS = {
    "plum": Product(name="Initech Sign-in", logo=LOGO, color="#7a1f5c", **LINKS),
    "yellow": Product(name="Initech Sign-in", logo=LOGO, color="#ffd400", **LINKS),
    "white": Product(name="W" * 60 + " with a name that is much too long for it", color="#ffffff"),
    "black": Product(name="Initech", color="#000000"),
    "no colour": Product(name="Initech", logo=LOGO, legal_url=LINKS["legal_url"]),
}


@pytest.fixture(params=PRODUCTS)
def stage(request: pytest.FixtureRequest, tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, product=PRODUCTS[request.param])) as made:
        yield made


def contrasts(page: Page) -> dict[str, float]:
    """The contrast of the header's name and of the first primary button, as the browser shows them."""
    found: dict[str, float] = page.evaluate(
        """() => {
            const luminance = (text) => {
                const [red, green, blue] = text.match(/[0-9]+/g).map((one) => {
                    const part = one / 255;
                    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            };
            const contrast = (text, behind) => {
                const pair = [luminance(text), luminance(behind)].sort((one, other) => one - other);
                return (pair[1] + 0.05) / (pair[0] + 0.05);
            };
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            const button = style(".button:not(.button-quiet)");
            return {
                header: contrast(style(".brand").color, style(".top").backgroundColor),
                button: contrast(button.color, button.backgroundColor),
                edge: contrast(button.borderColor, style("body").backgroundColor),
            };
        }"""
    )
    return found


@pytest.mark.parametrize(
    "look", [Look(1280, "light"), Look(320, "dark"), Look(390, "light", scripts=False)], ids=str
)
def test_pages_are_readable_with_the_product(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look, reduced_motion="reduce")
    product = stage.ask(lambda world: world.settings.product)
    page = visitor.open("/t/acme/")
    assert page.title() == f"Sign in to Acme Corporation – {product.name}"
    assert page.evaluate("() => [...document.images].every((one) => one.naturalWidth > 0)")
    measured = contrasts(page)
    assert measured["header"] >= 4.5
    assert measured["button"] >= 4.5
    assert measured["edge"] >= 3
    visitor.check()
    visitor.open("/nowhere")
    if product.support_email:
        expect(page.get_by_role("main").get_by_role("link", name=product.support_email)).to_be_visible()
    visitor.check()
    visitor.arrive("globex")
    visitor.arrive("acme")
    if look.scripts:
        visitor.open_switcher()
    visitor.check()
    visitor.check_no_errors(refusals=True)
