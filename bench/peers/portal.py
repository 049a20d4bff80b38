"""The portal as a product of the comparison, with both HTTP servers and both databases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench.peers.product import Candidate, Product, process
from bench.peers.provider import CLIENT_ID, CLIENT_SECRET
from bench.peers.shared_servers import SharedServers
from bench.servers import ROOT, free_port
from bench.unlimited import unlimited
from tests.mongodb import fresh_database, running_server

_SETTINGS = """\
public_url: http://localhost:{port}
listen: 127.0.0.1:{port}
metrics_listen: {metrics_listen}
tenants: {folder}/tenants
database: {database}
keys: {folder}/keys.json
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


@contextlib.contextmanager
def running_portal(
    servers: SharedServers,
    port: int,
    name: str,
    *,
    server: str | None = None,
    mongodb: bool = False,
    root: Path = ROOT,
    profile: Path | None = None,
    more_settings: str = "",
    measured: bool = True,
) -> Iterator[Product]:
    """Run a portal in one process.

    Parameters: server, the setting of this name, by default the portal's own default; root, the folder of the
    source to run; profile, a file for the statistics of cProfile, written at the end; more_settings, lines
    of portal.yaml; measured, whether it serves metrics, and so measures calls.
    """
    folder = servers.make_folder("portal")
    with contextlib.ExitStack() as stack:
        database = f"sqlite:///{folder}/portal.db"
        if mongodb:
            mongo = stack.enter_context(running_server(folder / "mongodb"))
            database = stack.enter_context(fresh_database(mongo))
        metrics_listen = f"127.0.0.1:{free_port()}" if measured else "null"
        settings = _SETTINGS.format(
            port=port, folder=folder, database=database, metrics_listen=metrics_listen
        )
        config = folder / "portal.yaml"
        config.write_text(
            settings + unlimited(root) + more_settings + (f"server: {server}\n" if server else "")
        )
        (folder / "tenants").mkdir()
        tenant = _TENANT.format(
            issuer=servers.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, api=servers.api
        )
        (folder / "tenants" / "bench.yaml").write_text(tenant)
        command = [sys.executable]
        if profile is not None:
            command += ["-m", "cProfile", "-o", str(profile)]
        command += ["-m", "portal", "serve", "--config", str(config)]
        pid = stack.enter_context(process(command, folder, port, PYTHONPATH=str(root)))
        url = f"http://localhost:{port}/t/bench"
        metrics = f"http://{metrics_listen}/metrics" if measured else None
        yield Product(name, f"{url}/api", f"{url}/login", pid, metrics, _CALL_HEADERS)


def candidate(server: str, database: str) -> Candidate:
    """The portal with one of its HTTP servers (the setting `server`) on SQLite or MongoDB."""

    def start(servers: SharedServers, port: int, name: str) -> AbstractContextManager[Product]:
        return running_portal(servers, port, name, server=server, mongodb=database == "MongoDB")

    return Candidate(f"portal {server} {database}", lambda: None, start)


SERVERS = ("tornado", "httptools")
DATABASES = ("SQLite", "MongoDB")
PORTALS = tuple(candidate(server, database) for database in DATABASES for server in SERVERS)
