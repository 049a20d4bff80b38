"""`portal tenant check --live` in a process of its own: it ends within ten seconds whatever hangs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HANGING_LOOKUPS = """\
import socket, time
right = socket.getaddrinfo
def hang(host, *rest, **more):
    if str(host).endswith(".example"):
        time.sleep(60)
    return right(host, *rest, **more)
socket.getaddrinfo = hang
"""


def test_silent_servers_and_hanging_name_lookups_take_ten_seconds_at_most(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANGING_LOOKUPS)  # Python imports it first
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody responds
        port = silent.getsockname()[1]
        for slug, issuer in (
            ("lookup", "https://login.acme.example"),
            ("tls", f"https://localhost:{port}"),
            ("http", f"http://localhost:{port}"),
        ):
            file = f"name: {slug}\nissuer: {issuer}\nclient: {{id: portal, auth: none}}\n"
            (tmp_path / f"{slug}.yaml").write_text(f"{file}api: {{base_url: 'http://localhost:{port}'}}\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "PORTAL_TENANTS": str(tmp_path),
            "PORTAL_KEYS": str(tmp_path / "keys.json"),
            "PORTAL_ALLOW_PRIVATE_NETWORKS": "true",
        }
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "portal", "tenant", "check", "--live", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        seconds = time.monotonic() - begun
    assert done.returncode == 1, done.stderr
    failed = {(one["tenant"], one["check"]) for one in json.loads(done.stdout) if one["status"] == "fail"}
    assert failed == {
        *(("lookup", "dns"), ("tls", "tls"), ("http", "discovery")),
        *((slug, "api") for slug in ("lookup", "tls", "http")),
    }
    assert seconds < 10
