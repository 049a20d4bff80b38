"""The files of front ends, served by a portal."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from portal.app import running
from portal.config.settings import Settings
from portal.errors import StartupError
from tests.kit.browser import Browser, Response
from tests.kit.front_ends import HASHED, LARGE, SCRIPT, SHELL, desk, front_end_folder
from tests.kit.raw import change_tenant, connected, until
from tests.kit.world import World, world

FOREVER = "public, max-age=31536000, immutable"
PAGE = {"Accept": "text/html,*/*;q=0.8"}


class Served:
    """A portal with a front end at /desk."""

    def __init__(self, made: World, folder: Path) -> None:
        self.world, self.folder = made, folder
        self.browser: Browser = made.browser()

    async def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.browser.fetch(self.world.at(path), method, headers=sent, csrf=False)


@asynccontextmanager
async def served(tmp_path: Path, **changes: object) -> AsyncIterator[Served]:
    folder = front_end_folder(tmp_path / "dist")
    async with world(tmp_path / "world", front_ends=desk(folder, **changes)) as made:
        yield Served(made, folder)


@pytest.mark.gen_test
async def test_pages_and_files_have_their_types_and_life_times(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        for path, media_type, life_time in (
            ("", "text/html; charset=utf-8", "no-cache"),
            ("index.html", "text/html; charset=utf-8", "no-cache"),
            (HASHED, "text/javascript; charset=utf-8", FOREVER),
            ("plain.js", "text/javascript; charset=utf-8", "no-cache"),
            ("app.wasm", "application/wasm", "no-cache"),
            ("app.webmanifest", "application/manifest+json", "no-cache"),
            ("icon.svg", "image/svg+xml; charset=utf-8", "no-cache"),
            ("large.bin", "application/octet-stream", "no-cache"),
        ):
            response = await desk_.get(f"/desk/{path}")
            assert response.status == 200, path
            assert response.headers["Content-Type"] == media_type
            assert response.headers["Cache-Control"] == life_time
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert "Set-Cookie" not in response.headers
            head = await desk_.get(f"/desk/{path}", "HEAD")
            assert (head.status, head.body) == (200, b"")
            for name in ("Content-Type", "Content-Length", "Cache-Control", "Etag"):
                assert head.headers[name] == response.headers[name]
        assert (await desk_.get("/desk/plain.js")).text == SCRIPT
        assert (await desk_.get("/desk/large.bin")).body == LARGE


@pytest.mark.gen_test
async def test_an_address_of_the_application_is_its_page_and_a_missing_file_is_not(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        for path in ("/desk/acme/", "/desk/acme/orders/7", "/desk/assets", "/desk/assets/"):
            response = await desk_.get(path, **PAGE)
            assert (response.status, response.text) == (200, SHELL), path
            assert response.headers["Cache-Control"] == "no-cache"
            assert "Accept" in response.headers["Vary"].split(",")
            assert (await desk_.get(path)).status == 404, path
        assert (await desk_.get("/desk/shop/")).text == "<title>Shop</title>"
        missing = await desk_.get("/desk/assets/old-BkT3q1aD.js", **PAGE)
        assert missing.status == 404
        assert "Page not found" in missing.text
        assert missing.headers["Cache-Control"] == "no-store"
        problem = await desk_.get("/desk/missing.json", Accept="application/json")
        assert problem.status == 404
        assert problem.headers["Content-Type"] == "application/problem+json"


@pytest.mark.gen_test
async def test_the_root_without_a_slash_leads_to_the_one_with_a_slash(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        response = await desk_.get("/desk?a=b")
        assert (response.status, response.headers["Location"]) == (303, "/desk/?a=b")
        assert (await desk_.get("/desktop")).status == 404


@pytest.mark.gen_test
async def test_nothing_can_be_sent_to_a_folder(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        for method in ("POST", "PUT", "DELETE"):
            assert (await desk_.get("/desk/", method)).status == 405
        assert (await desk_.browser.fetch(desk_.world.at("/desk/"), "POST", site="cross-site")).status == 403


@pytest.mark.gen_test
async def test_what_a_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        for path in ("", "plain.js", HASHED, "large.bin"):
            first = await desk_.get(f"/desk/{path}")
            again = await desk_.get(f"/desk/{path}", If_None_Match=f'"x", W/{first.headers["Etag"]}')
            assert (again.status, again.body) == (304, b""), path
            for name in ("Etag", "Cache-Control", "Content-Security-Policy"):
                assert again.headers[name] == first.headers[name]
            assert (await desk_.get(f"/desk/{path}", If_None_Match='"x"')).status == 200


@pytest.mark.gen_test
async def test_a_changed_file_is_served_at_once_even_with_the_same_size_and_time(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        for name in ("index.html", "large.bin"):
            path = desk_.folder / name
            os.utime(path, (1, 1))
            first = await desk_.get(f"/desk/{name}")
            changed = first.body.replace(b"e", b"E").replace(b"\1", b"\2")
            path.write_bytes(changed)
            os.utime(path, (1, 1))
            second = await desk_.get(f"/desk/{name}", If_None_Match=first.headers["Etag"])
            assert (second.status, second.body == changed) == (200, True), name


@pytest.mark.gen_test
async def test_a_new_folder_behind_a_symbolic_link_is_served_at_once(tmp_path: Path) -> None:
    front_end_folder(tmp_path / "one")
    front_end_folder(tmp_path / "two", **{"index.html": "two"})
    link = tmp_path / "current"
    link.symlink_to("one")
    async with world(tmp_path / "world", front_ends=desk(link)) as made:
        desk_ = Served(made, link)
        assert (await desk_.get("/desk/")).text == SHELL
        link.unlink()
        link.symlink_to("two")
        assert (await desk_.get("/desk/")).text == "two"


@pytest.mark.gen_test
async def test_compressed_files_are_chosen_by_what_the_browser_accepts(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        plain = await desk_.get(f"/desk/{HASHED}")
        tags = {plain.headers["Etag"]}
        assert (plain.text, plain.headers.get("Content-Encoding")) == (SCRIPT, None)
        for accepted, coding, body in (
            ("gzip, deflate, br, zstd", "br", b"br of the script"),
            ("gzip", "gzip", (desk_.folder / f"{HASHED}.gz").read_bytes()),
            ("br;q=0.1, gzip;q=0.5", "gzip", (desk_.folder / f"{HASHED}.gz").read_bytes()),
            ("br;q=0, gzip;q=0", None, SCRIPT.encode()),
        ):
            response = await desk_.get(f"/desk/{HASHED}", Accept_Encoding=accepted)
            assert response.headers.get("Content-Encoding") == coding
            assert response.body == body
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert response.headers["Cache-Control"] == FOREVER
            tags.add(response.headers["Etag"])
        assert len(tags) == 3
        (desk_.folder / f"{HASHED}.zst").write_bytes(b"zst of the script")
        response = await desk_.get(f"/desk/{HASHED}", Accept_Encoding="zstd, gzip;q=0.9")
        assert (response.headers["Content-Encoding"], response.body) == ("zstd", b"zst of the script")
        assert plain.headers["Vary"] == "Accept-Encoding"
        assert "Vary" not in (await desk_.get("/desk/large.bin", Accept_Encoding="gzip")).headers


@pytest.mark.gen_test
async def test_a_file_without_a_compressed_one_is_compressed_and_an_old_one_is_not_used(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as desk_:
        response = await desk_.get("/desk/plain.js", Accept_Encoding="br, gzip")
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(response.body).decode() == SCRIPT
        assert len(response.body) < 100
        old = desk_.folder / f"{HASHED}.br"
        os.utime(old, (1, 1))
        response = await desk_.get(f"/desk/{HASHED}", Accept_Encoding="br, gzip")
        assert response.headers["Content-Encoding"] == "gzip"
        short = await desk_.get("/desk/icon.svg", Accept_Encoding="gzip")
        assert "Content-Encoding" not in short.headers


@pytest.mark.gen_test
async def test_parts_of_files(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        tag = (await desk_.get("/desk/large.bin")).headers["Etag"]
        size = len(LARGE)
        for header, first, last in (
            ("bytes=0-9", 0, 9),
            ("bytes=-300000", size - 300000, size - 1),
            (f"bytes=600000-{size + 5}", 600000, size - 1),
        ):
            part = await desk_.get("/desk/large.bin", Range=header, If_Range=tag)
            assert part.status == 206
            assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
            assert part.body == LARGE[first : last + 1]
        small = await desk_.get("/desk/plain.js", Range="bytes=1-3")
        assert (small.status, small.text) == (206, SCRIPT[1:4])
        other = await desk_.get("/desk/large.bin", Range="bytes=0-9", If_Range='"other"')
        assert (other.status, len(other.body)) == (200, size)
        several = await desk_.get("/desk/large.bin", Range="bytes=0-1,5-6")
        assert (several.status, len(several.body)) == (200, size)
        head = await desk_.get("/desk/large.bin", "HEAD", Range="bytes=0-9")
        assert (head.status, head.headers["Content-Length"]) == (200, str(size))
        after = await desk_.get("/desk/large.bin", Range=f"bytes={size}-")
        assert (after.status, after.headers["Content-Range"]) == (416, f"bytes */{size}")
        assert "Etag" not in after.headers


@pytest.mark.gen_test
async def test_a_large_file_is_read_no_faster_than_the_client_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    pread = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += size if size > 10_000 else 0  # the database reads small pieces
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    async with served(tmp_path) as desk_:
        (desk_.folder / "huge.bin").write_bytes(b"x" * 60_000_000)
        async with connected(desk_.world) as connection:
            head = f"GET /desk/huge.bin HTTP/1.1\r\nHost: {desk_.world.url[7:]}\r\n\r\n"
            await connection.send(head.encode())
            assert await connection.reader.read(10) == b"HTTP/1.1 2"
            before = -1
            while before != read:  # the kernel's buffers fill, then nothing is read
                before = read
                await asyncio.sleep(0.3)
            assert read < 30_000_000
        await until(lambda: desk_.world.running.portal.in_flight.count == 0, "the request did not end")


@pytest.mark.gen_test
async def test_a_file_that_becomes_shorter_breaks_the_response_off(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        huge = desk_.folder / "huge.bin"
        huge.write_bytes(b"x" * 60_000_000)
        async with connected(desk_.world) as connection:
            head = f"GET /desk/huge.bin HTTP/1.1\r\nHost: {desk_.world.url[7:]}\r\n\r\n"
            await connection.send(head.encode())
            await connection.reader.read(1000)
            os.truncate(huge, 10)
            with pytest.raises(ConnectionError):
                await connection.reader.readexactly(60_000_000)
        assert (await desk_.get("/desk/")).status == 200


@pytest.mark.gen_test
async def test_a_sign_in_leads_to_the_home_of_the_front_end(tmp_path: Path) -> None:
    async with served(tmp_path, home="/desk/{tenant}/") as desk_:
        browser = desk_.browser
        signed_out = await browser.open(desk_.world.at("/t/acme/"))
        assert signed_out.url == desk_.world.at("/t/acme/")
        page = await desk_.world.sign_in(browser, "acme")
        assert page.url == desk_.world.at("/desk/acme/")
        assert page.text == SHELL
        again = await browser.step(desk_.world.at("/t/acme/"))
        assert (again.status, again.headers["Location"]) == (303, "/desk/acme/")


@pytest.mark.gen_test
async def test_a_tenants_front_end_is_served_on_its_host_only(tmp_path: Path) -> None:
    async with served(tmp_path) as desk_:
        made = desk_.world
        folder = front_end_folder(made.parts.tenants_folder.parent / "acme-app", **{"index.html": "Acme"})
        front_end = {"directory": f"../{folder.name}", "csp": {"img-src": ["data:"]}}
        change_tenant(made, "acme", hosts=["portal.acme.example"], front_end=front_end)
        port = made.url.rpartition(":")[2]
        host = {"Host": f"portal.acme.example:{port}"}
        page = await desk_.get("/", **host)
        assert (page.status, page.text) == (200, "Acme")
        assert "<svg" in (await desk_.get("/favicon.ico", **host)).text
        (folder / "favicon.ico").write_bytes(b"Acme's own")
        assert (await desk_.get("/favicon.ico", **host)).text == "Acme's own"
        assert "<svg" in (await desk_.get("/favicon.ico")).text
        assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]
        assert (await desk_.get("/orders/7", **host, **PAGE)).text == "Acme"
        assert (await desk_.get("/t/acme/", **host, **PAGE)).text != "Acme"
        assert (await desk_.get("/session", **host)).headers["Content-Type"].startswith("application/json")
        assert (await desk_.get("/static/portal.css", **host)).status == 200
        assert (await desk_.get("/desk/", **host)).text == SHELL
        for other in (made.url[7:], f"portal.globex.example:{port}"):
            assert "Acme Corporation" not in (await desk_.get("/orders/7", Host=other)).text
            assert (await desk_.get("/orders/7", Host=other, **PAGE)).status == 404


@pytest.mark.gen_test
async def test_a_missing_page_of_the_operators_front_end_prevents_start_up(tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    settings = Settings(
        tenants=tmp_path / "tenants",
        database=f"sqlite:///{tmp_path}/portal.db",
        keys=tmp_path / "keys.json",
        front_ends=desk(tmp_path / "missing"),
    )
    with pytest.raises(StartupError, match="has no index"):
        async with running(settings):
            pass
