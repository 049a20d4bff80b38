"""Fixtures that many tests share."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import structlog
from tornado.ioloop import IOLoop

from portal.ops.logging import configure_logging
from portal.web.assets import load_templates
from tests.kit.loop_monitor import HOLD_PROPERTY, LoopMonitor
from tests.kit.world import World
from tests.kit.world import world as make_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test shows of a provider goes into the JUnit report (see scripts/interoperability.py)."""
    for item in items:
        for mark in item.iter_markers("shows"):
            provider, *capabilities = mark.args
            item.user_properties.extend(("shows", f"{provider}: {one}") for one in capabilities)


@pytest.fixture(scope="session", autouse=True)
def _no_loop_of_nobody() -> None:
    """asyncio makes no event loop of its own when Tornado asks for the current one: nobody would close it."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _templates_are_compiled_once() -> Iterator[None]:
    """All portals of a test process share the templates: to compile them takes 40 ms of CPU time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.app.load_templates", functools.cache(load_templates))
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_certificate_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The system trusts one authority, also for processes that tests start: reading all takes 50 ms."""
    end = "-----END CERTIFICATE-----\n"
    bundle = tmp_path_factory.mktemp("authorities") / "one.pem"
    bundle.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(end)[0] + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield


@pytest.fixture
def io_loop(io_loop: IOLoop) -> Iterator[IOLoop]:
    """The loop of pytest-tornado, which ends as that of `asyncio.run` does: nothing is left open in it."""
    yield io_loop
    io_loop.run_sync(_end_what_is_left, timeout=30)


async def _end_what_is_left() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=5)
    await asyncio.get_running_loop().shutdown_asyncgens()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """No test leaves logging pointed at a stream that was closed with it."""
    level = logging.getLogger().level
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.setLevel(level)
    for handler in [one for one in root.handlers if type(one).__module__ == "portal.ops.logging"]:
        root.removeHandler(handler)


_MONITORED = frozenset({"security", "hostile", "handlers"})


@pytest.fixture(autouse=True)
def _loop_is_never_held(request: pytest.FixtureRequest) -> Iterator[None]:
    """No callback of the portal may hold the event loop for long (docs/architecture.md rule 6).

    The longest hold goes into the JUnit report, where scripts/run_tests.py finds it.
    """
    if request.path.parent.name not in _MONITORED:
        yield
        return
    with LoopMonitor().watching() as monitor:
        yield
    if monitor.holds:
        longest = max(monitor.holds, key=lambda hold: hold.cpu)
        request.node.user_properties.append((HOLD_PROPERTY, f"{longest.cpu:.4f} {longest}"))
    too_long = [str(hold) for hold in monitor.holds if hold.is_too_long]
    assert not too_long, "the event loop was held"


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Everything the portal logs during the test, as JSON lines; shown when the test fails."""
    lines = io.StringIO()
    configure_logging(style="json", level="debug", stream=lines)
    yield lines
    print(lines.getvalue())


@pytest.fixture
def world(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[World]:
    """The portal with its development providers and sample APIs, on SQLite."""
    manager = make_world(tmp_path, hostile=True)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)
