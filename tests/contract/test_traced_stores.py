"""Each database's operations are spans of the request that causes them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.kit.raw import api_head, ask, signed_in
from tests.kit.span_receiver import traced_world


@pytest.mark.gen_test(timeout=60)
async def test_operations_are_spans_of_their_request(
    tmp_path: Path, log_lines: io.StringIO, database_url: str
) -> None:
    async with traced_world(tmp_path, database=database_url) as traced:
        browser = await signed_in(traced.world)
        await traced.world.expire_access_token(browser, "acme")
        response = await ask(traced.world, api_head(traced.world, browser, "/t/acme/api/orders"))
        assert response is not None
        assert response.status == 200
        received = await traced.flush()
        for request, operations in (
            ("GET /t/{tenant}/login", {"store add_attempt"}),
            ("GET /t/{tenant}/callback", {"store take_attempt"}),
            ("GET /t/{tenant}/api/{path}", {"store read"}),
            ("refresh", {"store swap_login"}),
        ):
            assert operations <= set(received.below(received.one(request))), request
        for span in received.spans:
            if span.name.startswith("store "):
                assert (span.kind, span.failed) == ("client", False)
                assert span.attributes == {"db.operation.name": span.name.removeprefix("store ")}
