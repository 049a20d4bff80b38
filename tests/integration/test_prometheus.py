"""A Prometheus server scrapes the portal, evaluates the alerts, and answers the queries of the dashboard."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from tornado.httpclient import AsyncHTTPClient

from tests.integration.test_metrics import orders, scraped
from tests.kit.monitoring_files import PROMETHEUS, program, queries
from tests.kit.processes import free_port
from tests.kit.world import World

_SECONDS = 120.0
_EMPTY = {"Failed operations", "Time until credentials expire"}
"""Panels about what does not happen in this test."""


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
    except OSError:
        return False


async def _traffic(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for _ in range(3):
        assert await orders(world, browser) == 200
    await world.expire_access_token(browser, "acme")
    assert await orders(world, browser) == 200
    refused = re.sub(r"code=[^&]*", "code=another", await world.stop_before_callback(browser, "acme"))
    assert (await browser.step(refused, site="cross-site")).status == 502
    browser.close()
    world.browsers.remove(browser)


@pytest.mark.gen_test(timeout=400)
async def test_the_dashboard_shows_what_the_portal_counts_and_no_alert_fires(tmp_path: Path) -> None:
    program("prometheus")
    async with scraped(tmp_path / "portal", processes=2) as (world, _, scraper):
        async with prometheus(tmp_path / "prometheus", scraper.address) as server:
            missing = {pair for pair in queries() if pair[0] not in _EMPTY}
            async with asyncio.timeout(_SECONDS):
                while missing:
                    await _traffic(world)
                    missing = {pair for pair in missing if not await server.rows(pair[1])}
            for _, expression in queries():
                await server.rows(expression)
            calls = await server.rows('sum(portal_api_calls_total{tenant="acme",status="2xx"})')
            assert float(calls[0]["value"][1]) >= 4
            rules = (await server.get("rules"))["groups"][0]["rules"]
            assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
