"""How the files of the static folder are served."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from portal.web.asset_files import load_assets
from portal.web.assets import assets_folder
from tests.kit.browser import Response
from tests.kit.world import World

STYLE = "/static/portal.css"
BROWSERS = "gzip, deflate, br, zstd"


async def get(world: World, path: str, method: str = "GET", **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.browser().fetch(world.at(path), method, headers=fields)


@pytest.mark.gen_test
async def test_a_file_is_compressed_for_who_accepts_it(world: World) -> None:
    content = (assets_folder("static") / "portal.css").read_bytes()
    for accepted, coding in (
        (BROWSERS, "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.1", "gzip"),
        ("", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("br", None),
    ):
        response = await get(world, STYLE, Accept_Encoding=accepted)
        assert response.headers.get("Content-Encoding") == coding, accepted
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Content-Type"] == "text/css; charset=utf-8"
        assert response.headers["Content-Length"] == str(len(response.body))
        assert (gzip.decompress(response.body) if coding else response.body) == content
        assert coding is None or len(response.body) < len(content) / 2


@pytest.mark.gen_test
async def test_each_coding_has_its_own_entity_tag(world: World) -> None:
    plain, coded = [await get(world, STYLE, Accept_Encoding=coding) for coding in ("identity", "gzip")]
    tags = plain.headers["ETag"], coded.headers["ETag"]
    assert tags[0] != tags[1]
    assert not any(tag.startswith("W/") for tag in tags)
    for coding, tag, status in (
        ("gzip", tags[1], 304),
        ("gzip", f'"x", W/{tags[1]}', 304),
        ("gzip", "*", 304),
        ("identity", tags[0], 304),
        ("identity", tags[1], 200),
        ("gzip", tags[0], 200),
        ("gzip", '"x"', 200),
    ):
        response = await get(world, STYLE, Accept_Encoding=coding, If_None_Match=tag)
        assert response.status == status, (coding, tag)
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Cache-Control"] == "no-cache"
        if status == 304:
            assert response.body == b""
            assert response.headers["ETag"] == (tags[1] if coding == "gzip" else tags[0])
            assert "Content-Encoding" not in response.headers


@pytest.mark.gen_test
async def test_HEAD_has_the_fields_of_GET(world: World) -> None:
    for coding in ("gzip", "identity"):
        got, head = [await get(world, STYLE, method, Accept_Encoding=coding) for method in ("GET", "HEAD")]
        assert head.body == b""
        varying = {"Date", "X-Request-Id"}
        assert {name: value for name, value in head.headers.items() if name not in varying} == {
            name: value for name, value in got.headers.items() if name not in varying
        }


@pytest.mark.gen_test
async def test_only_the_current_version_is_cached_for_ever(world: World) -> None:
    page = await world.browser().open(world.at("/"))
    (url,) = re.findall(r'href="(/static/portal\.css\?v=[0-9a-f]+)"', page.text)
    forever = await get(world, url)
    assert forever.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for other in (STYLE, f"{STYLE}?v=0123456789abcdef", f"{url}&v=1"):
        assert (await get(world, other)).headers["Cache-Control"] == "no-cache"


@pytest.mark.gen_test
async def test_small_and_unknown_files(world: World) -> None:
    logo = await get(world, "/static/logo.svg", Accept_Encoding=BROWSERS)
    assert "Content-Encoding" not in logo.headers, "compression saves no packet"
    assert "Vary" not in logo.headers
    for path in ("/static/", "/static/..", "/static/%2e%2e/pyproject.toml", "/static/x.css"):
        missing = await get(world, path)
        assert missing.status == 404, path
        assert "ETag" not in missing.headers
    for method in ("POST", "DELETE"):
        assert (await world.browser().fetch(world.at(STYLE), method, body=b"")).status in {403, 405}


def test_what_compression_does_not_make_smaller_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "b.png").write_bytes(bytes(2000))
    (tmp_path / "folder").mkdir()
    assets = load_assets(tmp_path)
    assert set(assets) == {"a.css", "b.png"}
    assert assets["b.png"].compressed is None
    assert assets["a.css"].version != assets["b.png"].version
