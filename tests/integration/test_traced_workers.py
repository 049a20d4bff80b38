"""Traces of `portal serve` with several workers, and what a missing collector changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from portal.config.trace_settings import TraceSettings
from tests.kit.processes import free_port, world_outside
from tests.kit.raw import api_head, ask, connected, signed_in, until
from tests.kit.span_receiver import span_receiver

CALL = "GET /t/{tenant}/api/{path}"
CALLS = 24


@pytest.mark.gen_test(timeout=180)
async def test_each_worker_sends_its_own_spans_once(tmp_path: Path) -> None:
    async with span_receiver() as receiver:
        traces = TraceSettings(receiver.endpoint, service_name="workers")
        async with world_outside(
            tmp_path, processes=3, changes=lambda settings: replace(settings, traces=traces)
        ) as (world, process):
            browser = await signed_in(world)
            workers = set(process.workers)
            assert len(workers) == 3
            ids = Counter[str]()

            async def call(expected: int) -> None:
                async with connected(world) as connection:
                    await connection.send(api_head(world, browser, "/t/acme/api/events"))
                    head = await connection.read_response(to_head=True)
                    assert head is not None
                    assert head.status == 200
                    ids[str(head.header("X-Request-Id"))] += 1
                    await until(lambda: len(ids) == expected, "a call is missing", seconds=60)

            def seen() -> set[object]:
                return {one["process.pid"] for one in receiver.resources}

            while len(seen()) < 2:  # until a second worker accepts connections
                expected = len(ids) + CALLS
                await asyncio.gather(*(call(expected) for _ in range(CALLS)))
                await until(lambda: len(receiver.named(CALL)) >= len(ids), "spans are missing", seconds=60)
            await process.stop()  # which sends what is left
            spans = receiver.named(CALL)
            assert Counter(span.attributes["portal.request_id"] for span in spans) == ids
            assert len({span.id for span in receiver.spans}) == len(receiver.spans)
            assert len({span.trace for span in spans}) == len(ids)
            assert seen() <= workers
            assert "spans_not_sent" not in process.log


@pytest.mark.gen_test(timeout=180)
async def test_a_portal_serves_and_stops_without_its_collector(tmp_path: Path) -> None:
    traces = TraceSettings(f"http://127.0.0.1:{free_port()}/v1/traces")
    async with world_outside(tmp_path, changes=lambda settings: replace(settings, traces=traces)) as (
        world,
        process,
    ):
        browser = await signed_in(world)
        response = await ask(world, api_head(world, browser, "/t/acme/api/orders"))
        assert response is not None
        assert response.status == 200
        await process.stop()
        events = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
        assert [one["event"] for one in events if one["event"] in ("spans_not_sent", "stopped")][-2:]
        lost = [one for one in events if one["event"] == "spans_not_sent"]
        assert lost
        assert sum(one["spans"] for one in lost) > 5
        assert "Traceback" not in process.log
