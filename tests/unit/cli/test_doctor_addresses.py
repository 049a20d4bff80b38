"""`portal doctor` says who listens at the addresses of the portal."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.cli.doctor.addresses import address_results
from portal.config.settings import Settings
from tests.kit.world import world


@pytest.fixture
def free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def taken() -> Iterator[str]:
    """An address where a program listens that says nothing and hangs up."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


async def found(listen: str, metrics_listen: str | None = None) -> list[tuple[str, str, str]]:
    settings = Settings(listen=listen, metrics_listen=metrics_listen)
    return [(one.check, one.status, one.seen) async for one in address_results(settings)]


@pytest.mark.gen_test
async def test_free_addresses_are_good(free: str) -> None:
    port = free.rpartition(":")[2]
    assert await found(free) == [("listen", "pass", f"{free} is free")]
    assert await found("unix:/run/portal.sock") == []
    for listen in (f"0.0.0.0:{port}", f"localhost:{port}", f"[::]:{port}"):
        assert [status for _, status, _ in await found(listen)] == ["pass"]


@pytest.mark.gen_test
async def test_an_address_of_another_machine_is_a_problem() -> None:
    assert [status for _, status, _ in await found("192.0.2.1:8080")] == ["fail"]


@pytest.mark.gen_test(timeout=60)
async def test_another_program_at_an_address_is_a_problem(
    free: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.cli.doctor.addresses._SECONDS", 0.3)
    results = await found(free, taken)
    assert [(check, status) for check, status, _ in results] == [
        ("listen", "pass"),
        ("metrics_listen", "fail"),
    ]
    assert results[1][2].startswith(f"another program listens at {taken}")


@pytest.mark.gen_test(timeout=60)
async def test_a_portal_that_listens_is_good(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        listen = made.settings.listen
        assert await found(listen) == [("listen", "pass", f"a portal listens at {listen}")]
