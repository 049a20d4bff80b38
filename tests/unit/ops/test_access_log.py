"""The access log: one line per request, in the same format as other log lines."""

from __future__ import annotations

import asyncio
import io
import json

from portal.ops.access_log import AccessLog
from portal.ops.logging import configure_logging

REQUEST = {
    "method": "GET",
    "path": '/t/acme/"\n\u2028é',
    "status": 200,
    "milliseconds": 1.5,
    "client": "192.0.2.1",
    "request_id": "0123456789abcdef",
}


def _written(*, style: str, level: str = "info", count: int = 1) -> str:
    stream = io.StringIO()
    configure_logging(style=style, level=level, stream=stream)

    async def write() -> None:
        log = AccessLog(style=style, level=level)
        for _ in range(count):
            log.write(**REQUEST)  # type: ignore[arg-type]
        await asyncio.sleep(0)

    asyncio.run(write())
    return stream.getvalue()


def test_a_json_line_is_one_json_object_for_any_path() -> None:
    written = _written(style="json")
    assert written.count("\n") == 1
    line = json.loads(written)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": REQUEST["path"],
        "status": 200,
        "ms": 1.5,
        "client": "192.0.2.1",
        "request_id": "0123456789abcdef",
    }


def test_a_console_line_stays_one_line() -> None:
    written = _written(style="console")
    assert written.count("\n") == 1
    assert "GET /t/acme/" in written
    assert "200" in written


def test_the_lines_of_one_iteration_of_the_event_loop_are_written_together() -> None:
    written = _written(style="json", count=3)
    assert [json.loads(line)["status"] for line in written.splitlines()] == [200, 200, 200]


def test_above_level_info_no_request_is_written() -> None:
    assert _written(style="json", level="warning") == ""
