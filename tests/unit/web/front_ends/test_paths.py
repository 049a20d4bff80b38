"""Which file a path names, and whether its name has a hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.front_ends.paths import file_path, is_hashed, is_page


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "index.html"),
        ("/app.js", "app.js"),
        ("/assets/index-BkT3q1aC.js", "assets/index-BkT3q1aC.js"),
        ("/shop/", "shop/index.html"),
        ("/caf%C3%A9.png", "café.png"),
        ("/a%20b.txt", "a b.txt"),
        ("/LICENSE", "LICENSE"),
    ],
)
def test_a_path_names_a_file(path: str, file: str) -> None:
    assert file_path(path, source_maps=False) == file


def test_source_maps_are_files_where_they_are_wanted() -> None:
    for path in ("/app.js.map", "/app.js.map.gz", "/app.js.map.br", "/APP.JS.MAP", "/app.js.map.gz.br"):
        assert file_path(path, source_maps=False) is None, path
        assert file_path(path, source_maps=True) == path[1:]
    assert file_path("/roadmap", source_maps=False) == "roadmap"
    assert file_path("/map", source_maps=False) == "map"


@pytest.mark.parametrize(
    "path",
    ["/a%2fb.js", "/a%5Cb.js", "/a\\b.js", "/a%252fb.js", "/a%25.js", "/a%0ab.js", "/a//b.js", "/a/./b.js"],
)
def test_a_path_that_can_be_read_in_two_ways_names_no_file(path: str) -> None:
    assert file_path(path, source_maps=True) is None


@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60))
def test_a_file_is_always_below_the_folder(text: str) -> None:
    file = file_path(f"/{text}", source_maps=True)
    if file is not None:
        assert not any(part.startswith(".") or part == "" for part in file.split("/"))
        assert not set(file) & {"\\", "%", "\0", "\n"}


def test_a_page_has_no_extension() -> None:
    assert [is_page(path) for path in ("/", "/acme/", "/acme/orders/7", "/v1.2/x")] == [True] * 4
    assert not is_page("/app.js")
    assert not is_page("/acme/jane.doe")


@pytest.mark.parametrize(
    "name",
    [
        "assets/index-BkT3q1aC.js",
        "assets/index-QwErTzUi.css",
        "assets/a-_x-Y1bcd.woff2",
        "static/js/main.3f2a9c1b.js",
        "static/js/2.0e5b3c1d.chunk.js",
        "app-2JBS6RPE.js",
        "3f2a9c1b8d7e6f5a4b3c.js",
        "style.0a1b2c3d4e5f.min.css",
        "main.3f2a9c1b.js.map",
        "static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
        "chunk-7XGQLZ5K.js",
        "assets/index-DiwrgTda.css",
        "assets/vendor-B5Qt9EMX.js",
        "assets/a-C_x9Qz-4.js",
        "index.0e5b3c1d.css",
        "0e5b3c1d8d7e6f5a.png",
    ],
)
def test_names_of_builds_have_a_hash(name: str) -> None:
    assert is_hashed(name)


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "app.js",
        "service-worker.js",
        "assets/logo.svg",
        "assets/hero-download.png",
        "assets/report-20260101.pdf",
        "hero-Download.png",
        "report.20260101.pdf",
        "jquery-3.7.1.min.js",
        "background-image.png",
        "terms-2026-01-15.pdf",
        "main-QwErTzUi.css",
        "logo2025.png",
        "iphone15.png",
        "chapter01.html",
        "chapter12/section02.html",
        "index2024.html",
        "favicon32.png",
        "screenshot1.png",
        "background2.jpg",
        "hero-product2.jpg",
        "hero-1200x800.jpg",
        "photo-20260101a.jpg",
        "manual.version2.pdf",
        "terms-version3.pdf",
        "OpenSans700.woff2",
        "IMG_20240101.jpg",
        "img/IMG_20240101.jpg",
        "backup-IMG_2024_01.jpg",
        "20240101120000000.jpg",
        "assets/my-sub_page.js",
        "assets/page-download.js",
        "assets/team-carousel.png",
        "assets/img-Portrait.jpg",
        "assets/img-HomePage.jpg",
        "assets/img-IMG_2024.jpg",
        "assets/hero-photo_01.jpg",
        "page.3f2a9c1b.html",
        "3f2a9c1b8d7e6f5a4b3c.html",
        "assets/page-BkT3q1aC.html",
    ],
)
def test_words_versions_and_dates_are_no_hashes(name: str) -> None:
    assert not is_hashed(name)
