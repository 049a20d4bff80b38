"""A provider fails for more than 30 seconds of real time, and two processes serve the portal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.integration.test_metrics import orders, scraped
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as FaultyResponse

_SECONDS = 240.0


@pytest.mark.gen_test(timeout=600)
async def test_every_process_reports_what_one_of_them_has_seen(tmp_path: Path) -> None:
    async with scraped(tmp_path, processes=2) as (world, served, scraper):
        browser, other = world.browser(), world.browser()
        await world.quick_sign_in(browser, "acme")
        await world.quick_sign_in(other, "acme")
        await world.expire_access_token(browser, "acme")
        world.acme.faults.endpoints["token"] = EndpointFault(response=FaultyResponse(503))
        async with asyncio.timeout(_SECONDS):
            while await scraper.value("portal_unhealthy_providers", tenant="acme") != 1:
                assert await orders(world, browser) == 503
                assert await orders(world, other) == 200
                await asyncio.sleep(0.2)
        for _ in range(10):  # each on a connection of its own, to either process
            url = f"http://{scraper.address}/readyz?verbose"
            response = await AsyncHTTPClient().fetch(url, headers={"Connection": "close"})
            found = json.loads(response.body)
            assert found["status"] == "ready"
            assert found["unhealthy_providers"] == {"acme": 1}
        world.acme.faults.endpoints.clear()
        async with asyncio.timeout(_SECONDS):
            while await orders(world, browser) != 200:
                await asyncio.sleep(0.2)
        unhealthy = [line for line in served.log.splitlines() if '"provider_unhealthy"' in line]
        assert 1 <= len(unhealthy) <= 2, unhealthy  # once in each process that saw it
