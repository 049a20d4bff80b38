"""The nginx settings of the Compose file, in a real nginx in front of an echo server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from portal.config.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def find_nginx() -> str | None:
    folders = [
        *os.environ.get("PATH", "").split(os.pathsep),
        "/usr/sbin",
        str(ROOT / ".cache/nginx/usr/sbin"),
    ]
    return shutil.which("nginx", path=os.pathsep.join(folders))


NGINX = find_nginx()
needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed; `make test` unpacks it if apt-get is available"
)


class EchoHandler(RequestHandler):
    """Echoes the request; with `?parts`, sends the second part only after the client received the first."""

    async def get(self) -> None:
        if self.request.query == "parts":
            self.write("first ")
            await self.flush()
            await asyncio.wait_for(self.application.settings["first_part_seen"].wait(), timeout=10)
            self.write("second")
            return
        self.write({"uri": self.request.uri, "headers": dict(self.request.headers)})

    async def post(self) -> None:
        self.write({"received": len(self.request.body)})


def write_documented_settings(folder: Path, port: int, portal_port: int) -> Path:
    """Write the settings of docs/operations/install.md with addresses and paths for the test, without TLS."""
    page = (ROOT / "docs" / "operations" / "install.md").read_text()
    text = page.split("```nginx\n")[1].split("```")[0]
    for documented, here in (
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{portal_port};"),
        ("        listen 80 default_server;\n", "        listen unix:redirect;\n"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("        ssl_certificate     /etc/ssl/portal.pem;\n", ""),
        ("        ssl_certificate_key /etc/ssl/portal.key;\n", ""),
        ("/var/log/nginx/", f"{folder}/"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
        ("unix:redirect", f"unix:{folder}/redirect"),
        ("    server_tokens off;\n", f"    server_tokens off;\n{_temporary(folder)}"),
    ):
        assert documented in text
        text = text.replace(documented, here)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


def _temporary(folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)


def write_nginx_settings(folder: Path, port: int, portal_port: int) -> Path:
    """Write the nginx settings with addresses and paths for the test instead of the container."""
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    for ours, here in (
        ("server 127.0.0.1:8081;", f"server 127.0.0.1:{portal_port};"),
        ("server keycloak:8080 resolve;", "server 127.0.0.1:1;"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("/dev/stderr", f"{folder}/error.log"),
        ("/dev/stdout", f"{folder}/access.log"),
        (" /run/", f" {folder}/"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


@contextlib.asynccontextmanager
async def nginx_before_echo(
    folder: Path, write: Callable[[Path, int, int], Path] = write_nginx_settings
) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Run nginx in front of an echo server; yields its URL and the event for the first part.

    Parameters: write, writes the settings for a port of nginx and one of the echo server.
    """
    assert NGINX is not None
    folder.chmod(0o755)
    first_part_seen = asyncio.Event()
    echo = HTTPServer(
        Application([(r".*", EchoHandler)], first_part_seen=first_part_seen), max_body_size=64 * 2**20
    )
    echo_socket, echo_port = bind_unused_port()
    free_socket, port = bind_unused_port()
    free_socket.close()
    echo.add_socket(echo_socket)
    settings = write(folder, port, echo_port)
    nginx = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(settings), "-e", f"{folder}/error.log", "-g", "daemon off;"
    )
    try:
        await wait_for_port(port)
        yield f"http://127.0.0.1:{port}", first_part_seen
    finally:
        nginx.terminate()
        await nginx.wait()
        echo.stop()
        await echo.close_all_connections()


async def wait_for_port(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def test_nginx_does_not_buffer_api_calls() -> None:
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    location = text.split("location ~ ^/t/[^/]+/apis?(/|$) {")[1].split("}")[0]
    directives = {line.split("#")[0].strip() for line in location.splitlines()}
    assert {"proxy_buffering off;", "proxy_request_buffering off;"} <= directives


@needs_nginx
@pytest.mark.gen_test
async def test_nginx_passes_paths_unchanged_and_replaces_forwarding_headers_of_clients(
    tmp_path: Path,
) -> None:
    headers = {
        "Host": "portal.localhost",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.9",
    }
    path = "/t/acme/api/a%2Fb//c/%2e%2e/d?x=%20y"
    async with nginx_before_echo(tmp_path) as (url, _):
        response = await AsyncHTTPClient().fetch(url + path, headers=headers)
    echoed = json.loads(response.body)
    assert echoed["uri"] == path
    assert echoed["headers"]["Host"] == "portal.localhost"
    assert echoed["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert echoed["headers"]["X-Forwarded-Host"] == "portal.localhost"
    assert echoed["headers"]["X-Forwarded-Proto"] == "http"
    assert "Forwarded" not in echoed["headers"]


@needs_nginx
@pytest.mark.gen_test
async def test_nginx_passes_an_api_response_on_while_it_is_still_being_written(tmp_path: Path) -> None:
    parts: list[bytes] = []
    async with nginx_before_echo(tmp_path) as (url, first_part_seen):

        def receive(part: bytes) -> None:
            parts.append(part)
            first_part_seen.set()

        await AsyncHTTPClient().fetch(
            f"{url}/t/acme/api/stream?parts", headers={"Host": "portal.localhost"}, streaming_callback=receive
        )
    assert parts == [b"first ", b"second"]


@needs_nginx
@pytest.mark.gen_test
async def test_nginx_limits_bodies_for_the_portal_but_not_for_apis(tmp_path: Path) -> None:
    body = b"x" * (2 * 2**20)
    async with nginx_before_echo(tmp_path) as (url, _):
        client, headers = AsyncHTTPClient(), {"Host": "portal.localhost"}
        upload = await client.fetch(f"{url}/t/acme/api/files", method="POST", body=body, headers=headers)
        form = await client.fetch(
            f"{url}/t/acme/logout", method="POST", body=body, headers=headers, raise_error=False
        )
    assert json.loads(upload.body) == {"received": len(body)}
    assert form.code == 413


@needs_nginx
@pytest.mark.gen_test
async def test_nginx_sends_other_names_to_the_portal(tmp_path: Path) -> None:
    async with nginx_before_echo(tmp_path) as (url, _):
        response = await AsyncHTTPClient().fetch(f"{url}/", follow_redirects=False, raise_error=False)
    public_url = load_settings(DEPLOY / "portal" / "portal.yaml", environ={}).public_url
    assert response.headers["Location"] == f"{public_url}/"


@needs_nginx
@pytest.mark.gen_test
async def test_nginx_logs_no_code_whether_or_not_the_portal_responds(tmp_path: Path) -> None:
    # The host name of Keycloak maps to a closed port.
    statuses = []
    async with nginx_before_echo(tmp_path) as (url, _):
        for host in ("portal.localhost", "keycloak.localhost"):
            response = await AsyncHTTPClient().fetch(
                f"{url}/t/acme/callback?code=c0de", headers={"Host": host}, raise_error=False
            )
            statuses.append(response.code)
    assert statuses == [200, 502]
    access, errors = (tmp_path / "access.log").read_text(), (tmp_path / "error.log").read_text()
    assert access.count("/t/acme/callback") == 2
    assert "c0de" not in access + errors


@needs_nginx
@pytest.mark.gen_test
async def test_A2_nginx_logs_no_token_of_a_setup_link(tmp_path: Path) -> None:
    async with nginx_before_echo(tmp_path) as (url, _):
        for path in ("/setup/t0ken", "//Setup/t0ken", "/setup%2Ft0ken", "/setups"):
            response = await AsyncHTTPClient().fetch(f"{url}{path}", headers={"Host": "portal.localhost"})
            assert json.loads(response.body)["uri"] == path
    access, errors = (tmp_path / "access.log").read_text(), (tmp_path / "error.log").read_text()
    assert access.count('portal.localhost/setup/..." 200') == 3
    assert access.count('portal.localhost/setups" 200') == 1
    assert "t0ken" not in access + errors


@needs_nginx
@pytest.mark.gen_test
async def test_A2_the_documented_settings_pass_everything_and_log_no_code(tmp_path: Path) -> None:
    headers = {"Host": "portal.example.com", "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    async with nginx_before_echo(tmp_path, write_documented_settings) as (url, _):
        client = AsyncHTTPClient()
        for path in ("/t/acme/callback?code=c0de", "/setup/t0ken", "/t/acme/api/a%2Fb//c?x=%20y"):
            echoed = json.loads((await client.fetch(url + path, headers=headers)).body)
            assert echoed["uri"] == path
            assert echoed["headers"]["X-Forwarded-For"] == "127.0.0.1"
            assert echoed["headers"]["Host"] == "portal.example.com"
            assert "Forwarded" not in echoed["headers"]
        upload = await client.fetch(
            f"{url}/t/acme/apis/files/new", method="POST", body=b"x" * (2 * 2**20), headers=headers
        )
        assert json.loads(upload.body) == {"received": 2 * 2**20}
    logs = (tmp_path / "access.log").read_text() + (tmp_path / "error.log").read_text()
    assert "/t/acme/callback" in logs
    assert "/setup/..." in logs
    assert "c0de" not in logs
    assert "t0ken" not in logs
