"""A Prometheus server with the settings and alerts of deploy/prometheus."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from tornado.httpclient import AsyncHTTPClient

from tests.kit.monitoring_files import PROMETHEUS, program
from tests.kit.processes import free_port

_SECONDS = 120.0


class Server:
    """A running Prometheus server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._client = AsyncHTTPClient(force_instance=True)

    async def get(self, path: str, **query: str) -> Any:
        response = await self._client.fetch(f"{self._url}/{path}?{urlencode(query)}", raise_error=False)
        document = json.loads(response.body)
        assert document["status"] == "success", document
        return document["data"]

    async def rows(self, expression: str) -> list[Any]:
        found: list[Any] = (await self.get("query", query=expression))["result"]
        return found

    def close(self) -> None:
        self._client.close()


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Server]:
    """Run a server with the settings of deploy/prometheus that scrapes an address every second."""
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = free_port()
    command = [
        str(program("prometheus")),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        server = Server(port)
        try:
            async with asyncio.timeout(_SECONDS):
                while not await _is_ready(server):
                    assert process.poll() is None, (folder / "log").read_text()
                    await asyncio.sleep(0.1)
            yield server
        finally:
            server.close()
            process.terminate()


async def _is_ready(server: Server) -> bool:
    try:
        return bool(await server.rows("vector(1)"))
    except (OSError, json.JSONDecodeError):  # while it starts, it responds with a text
        return False
