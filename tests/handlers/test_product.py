"""The operator's product, served by a portal."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.config.logo_content import Logo
from portal.config.product import Product
from portal.web.assets import assets_folder
from tests.kit.logos import SVG
from tests.kit.world import world

PRODUCT = Product(name="Initech Sign-in", logo=Logo(SVG.encode(), "svg", 3.0), color="#7a1f5c")


@pytest.mark.gen_test
async def test_the_logo_and_the_style_sheet_are_served_for_long_and_can_do_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, product=PRODUCT) as made:
        browser, view = made.browser(), made.running.portal.product.view
        page = await browser.open(made.at("/"))
        assert f'src="{view.logo_url}"' in page.text
        assert f'href="{view.style_url}"' in page.text
        for path, kind, text in (
            (view.logo_url, "image/svg+xml; charset=utf-8", SVG),
            (view.style_url, "text/css; charset=utf-8", "--product: #7a1f5c;"),
        ):
            response = await browser.step(made.at(path or ""))
            assert response.status == 200
            assert text in response.text
            assert response.headers["Content-Type"] == kind
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none';")
            assert "; sandbox;" in policy
            assert "Set-Cookie" not in response.headers


@pytest.mark.gen_test
async def test_another_file_is_not_found(tmp_path: Path) -> None:
    async with world(tmp_path, product=PRODUCT) as made:
        for path in (
            "/product/logo-0000000000000000.svg",
            "/product/portal.yaml",
            "/product/..",
            "/product/",
        ):
            assert (await made.browser().step(made.at(path))).status == 404


@pytest.mark.gen_test
async def test_the_icon_is_the_products_logo(tmp_path: Path) -> None:
    async with world(tmp_path, product=PRODUCT) as made:
        icon = await made.browser().step(made.at("/favicon.ico"))
        assert (icon.status, icon.text) == (200, SVG)
        assert icon.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
        assert icon.headers["Cache-Control"] == "public, max-age=86400"
        assert "; sandbox;" in icon.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in icon.headers


@pytest.mark.gen_test
async def test_without_a_product_the_icon_is_the_portals(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        icon = await made.browser().step(made.at("/favicon.ico"))
        assert icon.text == (assets_folder("static") / "logo.svg").read_text()
        head = await made.browser().fetch(made.at("/favicon.ico"), "HEAD")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(icon.body)))
