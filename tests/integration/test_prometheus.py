"""A Prometheus server scrapes the portal, evaluates the alerts, and answers the queries of the dashboard."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration.test_metrics import orders, scraped
from tests.kit.monitoring_files import program, queries
from tests.kit.prometheus import prometheus
from tests.kit.world import World

_SECONDS = 120.0
_EMPTY = {"Failed operations", "Time until credentials expire", "Unhealthy providers"}
"""Panels about what does not happen in this test."""


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
