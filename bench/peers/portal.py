"""The portal as a product of the comparison, with both HTTP servers and both databases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from bench.peers.product import Candidate, Lab, Product, Start, process
from bench.peers.provider import CLIENT_ID, CLIENT_SECRET
from bench.servers import ROOT
from tests.mongodb import fresh_database, running_server

_SETTINGS = """\
public_url: http://localhost:{port}
listen: 127.0.0.1:{port}
tenants: {folder}/tenants
database: {database}
keys: {folder}/keys.json
server: {server}
processes: 1
allow_private_networks: true
log: {{format: json, level: info}}
"""
_TENANT = """\
name: Bench
issuer: {issuer}
client:
  id: {client_id}
  secret: {client_secret}
scopes: [openid, profile, email]
api:
  base_url: {api}
"""
_CALL_HEADERS = {"Sec-Fetch-Site": "same-origin", "X-Portal-CSRF": "1"}
_CHECKS = (
    "origin and CSRF header, path, session and login in the database, registration, access rules, expiry"
)


def _portal(name: str, *, server: str, mongodb: bool) -> Start:
    @contextlib.contextmanager
    def start(lab: Lab, port: int) -> Iterator[Product]:
        folder = lab.make_folder("portal")
        with contextlib.ExitStack() as stack:
            database = f"sqlite:///{folder}/portal.db"
            if mongodb:
                mongo = stack.enter_context(running_server(folder / "mongodb"))
                database = stack.enter_context(fresh_database(mongo))
            config = folder / "portal.yaml"
            config.write_text(_SETTINGS.format(port=port, folder=folder, database=database, server=server))
            (folder / "tenants").mkdir()
            (folder / "tenants" / "bench.yaml").write_text(
                _TENANT.format(
                    issuer=lab.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, api=lab.api
                )
            )
            command = [sys.executable, "-m", "portal", "serve", "--config", str(config)]
            pid = stack.enter_context(process(command, folder, port, PYTHONPATH=str(ROOT)))
            url = f"http://localhost:{port}/t/bench"
            yield Product(name, f"{url}/api", f"{url}/login", pid, _CALL_HEADERS)

    return start


def _candidate(server: str, database: str) -> Candidate:
    name = f"portal, {server}, {database}"
    return Candidate(
        name,
        lambda: None,
        _portal(name, server=server, mongodb=database == "MongoDB"),
        _CHECKS,
        "one process",
    )


PORTALS = tuple(
    _candidate(server, database) for database in ("SQLite", "MongoDB") for server in ("tornado", "httptools")
)
