"""`portal demo` from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console
from tornado.httpclient import HTTPClientError

from portal.demo.api_handlers import StreamHandler
from portal.demo.banner import RunningDemo, show_banner
from portal.demo.run import serve_demo
from portal.errors import ConfigurationError
from tests.kit.browser import Browser

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def serving_demo(
    data: Path, *, kept: bool = True, public_url: str | None = None, port: int = 0
) -> AsyncIterator[RunningDemo]:
    with socket.create_server(("127.0.0.1", port)) as server:
        server.setblocking(False)
        stop = asyncio.Event()
        announced: asyncio.Future[RunningDemo] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(
            serve_demo(data, server, stop, announced.set_result, kept=kept, public_url=public_url)
        )
        begun: set[asyncio.Future[object]] = {serving, announced}  # type: ignore[arg-type]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        try:
            yield announced.result()
        finally:
            stop.set()
            await serving


@pytest.mark.gen_test
async def test_a_user_of_the_demo_signs_in_and_calls_the_api(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        browser = Browser()
        page = await browser.open(f"{demo.public_url}/t/globex/login")
        assert page.url.startswith(demo.parts.providers["globex"].issuer)
        page = await browser.submit(page.forms[0], {"username": "gina", "password": "globex-gina"})
        assert page.url == f"{demo.public_url}/desk/globex/"
        assert 'src="/desk/desk.js"' in page.text
        response = await browser.fetch(f"{demo.public_url}/t/globex/api/projects")
        assert response.status == 200
        assert "Weather machine" in response.text
        browser.close()


@pytest.mark.gen_test
async def test_the_demo_has_the_url_that_the_browser_uses(tmp_path: Path) -> None:
    async with serving_demo(tmp_path, public_url="https://portal.example") as demo:
        assert demo.public_url == "https://portal.example"
        client = demo.parts.providers["acme"].settings.clients[0]
        assert client.redirect_uris == ("https://portal.example/t/acme/callback",)


@pytest.mark.parametrize(("behind_proxy", "status"), [(True, 401), (False, 403)])
@pytest.mark.gen_test
async def test_a_demo_with_the_url_of_a_proxy_responds_to_its_questions(
    tmp_path: Path, behind_proxy: bool, status: int
) -> None:
    """docs/guides/forward-auth.md "Try it on your machine"."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = "http://portal.localhost:8080" if behind_proxy else None
    async with serving_demo(tmp_path, public_url=url, port=port) as demo:
        browser = Browser()
        fields = {
            "X-Original-Method": "GET",
            "X-Original-URI": "/desk/",
            "X-Original-Host": demo.public_url.partition("://")[2],
        }
        asked = f"http://127.0.0.1:{port}/t/acme/authz"
        assert (await browser.fetch(asked, headers=fields)).status == status
        browser.close()


def test_make_demo_checks_its_port_before_it_installs_anything(tmp_path: Path) -> None:
    """Run in an empty folder, so that it fails in another way if it goes on."""
    script = tmp_path / "scripts" / "demo.sh"
    script.parent.mkdir()
    script.write_bytes((ROOT / "scripts" / "demo.sh").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = ["bash", str(script), "--listen", f"127.0.0.1:{port}"]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3
    remedy = "choose another: make demo LISTEN=127.0.0.1:9080"
    assert ended.stderr.strip() == f"error: port {port} of this machine is in use; {remedy}"


@pytest.mark.gen_test
async def test_signing_out_at_the_demos_provider_ends_the_login_in_the_portal(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        browser = Browser()
        page = await browser.open(f"{demo.public_url}/t/globex/login")
        await browser.submit(page.forms[0], {"username": "gina", "password": "globex-gina"})
        projects = f"{demo.public_url}/t/globex/api/projects"
        assert (await browser.fetch(projects)).status == 200
        front = await browser.open(demo.parts.providers["globex"].issuer + "/")
        await browser.submit(front.form("logout"), button="confirm")
        assert (await browser.fetch(projects)).status == 401
        browser.close()


@pytest.mark.gen_test
async def test_stopping_does_not_wait_for_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streaming = asyncio.Event()
    send_piece = StreamHandler.send_piece

    async def noted(handler: StreamHandler, piece: bytes) -> bool:
        streaming.set()
        return await send_piece(handler, piece)

    monkeypatch.setattr(StreamHandler, "send_piece", noted)
    async with serving_demo(tmp_path) as demo:
        browser = Browser()
        page = await browser.open(f"{demo.public_url}/t/globex/login")
        await browser.submit(page.forms[0], {"username": "gina", "password": "globex-gina"})
        endless = asyncio.ensure_future(browser.fetch(f"{demo.public_url}/t/globex/api/stream?interval=0.01"))
        async with asyncio.timeout(5):
            await streaming.wait()
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 5
    with contextlib.suppress(HTTPClientError, OSError):
        await endless
    browser.close()


@pytest.mark.gen_test
async def test_a_kept_demo_uses_the_same_ports_again(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        first = demo.parts.ports
    async with serving_demo(tmp_path) as demo:
        assert demo.parts.ports == first
        assert not demo.ports_changed


@pytest.mark.gen_test
async def test_a_port_in_use_is_replaced_and_reported(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        first = demo.parts.ports
    with socket.create_server(("127.0.0.1", first.acme_api)):
        async with serving_demo(tmp_path, kept=False) as demo:
            assert demo.ports_changed
            assert demo.parts.ports.acme_api != first.acme_api
            assert demo.parts.ports.acme_provider == first.acme_provider
            assert "Some ports were in use" in banner_text(demo)


@pytest.mark.gen_test
async def test_the_banner_shows_the_url_and_the_sample_users(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        text = banner_text(demo)
        assert demo.public_url in text
        assert "Place an order" in text
        assert "Place an order" not in banner_text(replace(demo, has_order_desk=False))
        for provider in demo.parts.providers.values():
            client_secret = provider.settings.clients[0].client_secret
            assert client_secret is not None
            assert client_secret not in text
            for user in provider.settings.users:
                assert user.username in text
                assert user.password in text
        assert "60 seconds" in text
        words = " ".join(text.replace("│", "").split())
        assert "no access token anywhere" in words
        assert "reload Acme's page in the portal: you are signed out there too" in words
        assert "forget their sessions" in words
        assert str(tmp_path) in text.replace("\n", "")


@pytest.mark.gen_test
async def test_a_kept_demo_of_an_earlier_version_keeps_its_ports(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        first = demo.parts.ports
    earlier = {name: port for name, port in asdict(first).items() if not name.startswith("initech")}
    (tmp_path / "ports.json").write_text(json.dumps(earlier))
    async with serving_demo(tmp_path) as demo:
        assert demo.parts.ports.globex_api == first.globex_api
        assert demo.parts.ports.initech_provider > 0


@pytest.mark.gen_test
async def test_the_banner_has_the_setup_link_of_the_organisation_that_is_not_set_up(tmp_path: Path) -> None:
    async with serving_demo(tmp_path) as demo:
        assert demo.setup_link is not None
        first = demo.setup_link.reveal()
        assert first.startswith(f"{demo.public_url}/setup/")
        lines = [line.strip(" │") for line in banner_text(demo).splitlines()]
        assert first in lines, "the link is in one piece"
        browser = Browser()
        page = await browser.open(first)
        assert (page.status, "Initech" in page.text) == (200, True), page.text
        front = await browser.open(demo.parts.providers["initech"].issuer + "/")
        assert "portal-at-initech" in front.text
        browser.close()
    async with serving_demo(tmp_path) as demo:
        browser = Browser()
        port = demo.public_url.rpartition(":")[2]
        page = await browser.open(first.replace(first.split("/setup/")[0], f"http://localhost:{port}"))
        assert page.status in {404, 410}, "a new start revokes the earlier link"
        browser.close()


@pytest.mark.gen_test
async def test_a_damaged_ports_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[]")
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/ports.json: cannot be read"):
        async with serving_demo(tmp_path):
            pytest.fail("served with a damaged file")


def test_ctrl_c_ends_the_demo_and_deletes_its_files(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "portal", "demo", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(re.search(r"Open +http://localhost:\d+", line) for line in lines)
        assert any("Press Ctrl-C to end the demo" in line for line in lines)
        assert len(list(tmp_path.glob("portal-demo-*"))) == 1
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Its files were deleted." in out
        assert errors == ""
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait()


def banner_text(demo: RunningDemo) -> str:
    out = io.StringIO()
    show_banner(demo, Console(file=out, width=100))
    return out.getvalue()
