"""The operator's product on pages: contrast of its colour, files, links."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product as combinations
from typing import Any

import pytest

from portal.config.logo_content import Logo
from portal.config.product import Product
from portal.tenancy.presets.logo import contrast
from portal.web.product_colors import DARK, LIGHT, Scheme, accent_of, hovered, text_on
from portal.web.product_files import ProductFiles, product_files
from portal.web.views import Chrome, ErrorPage, NotAllowedPage
from tests.kit.logos import SVG
from tests.kit.page_samples import EVERY, HOSTILE, INITECH, STATIC, html_of, render

EVERY_COLOR = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in combinations(range(0, 256, 17), repeat=3)]
"""All colours of three digits."""
ALL = Product(
    name="Initech Sign-in",
    logo=Logo(SVG.encode(), "svg", 3.0),
    color="#7a1f5c",
    support_url="https://help.initech.example/?a=1&b=2",
    support_email="it's+help@initech.example",
    legal_url="https://initech.example/legal",
)


def chrome(product: Product) -> Chrome:
    return Chrome(product=product_files(product).view)


# --- colours


def test_text_on_the_header_and_on_buttons_has_enough_contrast_for_any_color() -> None:
    assert min(contrast(text_on(color), color) for color in EVERY_COLOR) >= 4.5
    for color in EVERY_COLOR:
        assert contrast(text_on(color), hovered(color)) >= contrast(text_on(color), color)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_links_and_the_edges_of_buttons_have_enough_contrast_for_any_color(scheme: Scheme) -> None:
    ink = "#161a22" if scheme is LIGHT else "#edeff4"
    for color in EVERY_COLOR:
        made = accent_of(color, scheme)
        backgrounds = (scheme.canvas, scheme.surface, scheme.sunken, made.wash)
        for one in (made.accent, made.strong):
            assert min(contrast(one, behind) for behind in backgrounds) >= 4.5, color
            assert contrast(scheme.on_accent, one) >= 4.5, color
        assert contrast(ink, made.wash) >= 4.5, color


def test_a_color_that_has_its_contrast_stays_as_it_is() -> None:
    assert accent_of("#7a1f5c", LIGHT).accent == "#7a1f5c"
    assert accent_of("#7a1f5c", DARK).accent != "#7a1f5c"


def test_the_colors_of_the_schemes_are_those_of_the_style_sheet() -> None:
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC / "portal.css").read_text(), re.DOTALL)[:2]
    for text, scheme in ((light, LIGHT), (dark, DARK)):
        values = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))
        assert (values["canvas"], values["surface"]) == (scheme.canvas, scheme.surface)
        assert (values["sunken"], values["on-accent"]) == (scheme.sunken, scheme.on_accent)


# --- files


def test_without_a_product_there_are_no_files_and_no_rules() -> None:
    assert product_files(Product()) == ProductFiles()
    for template, page, before in EVERY.values():
        html = html_of(template, page, before)
        assert "/product/" not in html
        assert "foot-links" not in html
        assert "Need help?" not in html


def test_the_address_of_a_file_changes_with_its_content() -> None:
    first = product_files(ALL)
    assert first.view.logo_url is not None
    assert first.files[first.view.logo_url.removeprefix("/product/")] == SVG.encode()
    other = product_files(replace(ALL, logo=Logo(SVG.encode() + b"\n", "svg", 3.0), color="#123456"))
    assert not first.files.keys() & other.files.keys()
    assert product_files(ALL) == first


def test_the_style_sheet_has_the_color_only_when_there_is_one() -> None:
    def sheet(product: Product) -> str:
        made = product_files(product)
        assert made.view.style_url is not None
        return made.files[made.view.style_url.removeprefix("/product/")].decode()

    assert sheet(ALL).startswith(":root { --accent: #7a1f5c;")
    assert "--product: #7a1f5c;" in sheet(ALL)
    assert sheet(Product(name="Initech")) == (STATIC / "product.css").read_text()


# --- pages


@pytest.mark.parametrize("name", EVERY)
def test_every_page_has_the_name_logo_and_links_of_the_product(name: str) -> None:
    template, page, before = EVERY[name]
    view = product_files(ALL).view
    tree = render(template, page, replace(before, product=view))
    assert tree.all("title")[0].text.endswith("Initech Sign-in")
    assert "Tenant Portal" not in html_of(template, page, replace(before, product=view))
    (header,) = tree.all("header")
    assert header.all("a")[0].text == "Initech Sign-in"
    assert (header.all("img")[0].attrs["src"], header.all("img")[0].attrs["width"]) == (view.logo_url, "96")
    sheets = [link.attrs["href"] for link in tree.all("link") if link.attrs["rel"] == "stylesheet"]
    assert sheets[-1] == view.style_url
    links = {link.text: link.attrs["href"] for link in tree.all("footer")[0].all("a")}
    assert links == {
        "Help": ALL.support_url,
        ALL.support_email: "mailto:it%27s+help@initech.example",
        "Legal information": ALL.legal_url,
    }


@pytest.mark.parametrize(
    ("support", "text"),
    [
        ({}, ""),
        ({"support_email": None}, "Need help? See the help pages of Initech Sign-in."),
        ({"support_url": None}, "Need help? Ask it's+help@initech.example."),
    ],
)
def test_error_pages_say_whom_to_ask(support: dict[str, Any], text: str) -> None:
    expected = text or "Need help? Ask it's+help@initech.example, or see the help pages of Initech Sign-in."
    for template, page in (
        ("error.html", ErrorPage(500, "Something went wrong", "", "Try again.", "9f2c")),
        ("not_allowed.html", NotAllowedPage(INITECH, "17", "", "", "/t/initech/login", None, "9f2c")),
    ):
        tree = render(template, page, chrome(replace(ALL, **support)))
        assert expected in [" ".join(one.text.split()) for one in tree.all("main")[0].all("p")]


def test_the_product_of_a_careless_operator_is_shown_as_text() -> None:
    hostile = replace(ALL, name=HOSTILE)
    html = html_of("error.html", ErrorPage(500, "No", "", "Try again.", ""), chrome(hostile))
    assert HOSTILE not in html
    assert "<script>alert" not in html
