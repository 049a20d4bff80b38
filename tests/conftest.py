"""Fixtures that many tests share."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from tornado.ioloop import IOLoop

from portal.ops.logging import configure_logging
from tests.kit.loop_monitor import HOLD_PROPERTY, Hold, LoopMonitor
from tests.kit.world import World
from tests.kit.world import world as make_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the capabilities that a test shows to the JUnit report (see scripts/interoperability.py)."""
    for item in items:
        for mark in item.iter_markers("shows"):
            provider, *capabilities = mark.args
            item.user_properties.extend(("shows", f"{provider}: {one}") for one in capabilities)


@pytest.fixture(scope="session", autouse=True)
def _no_implicit_event_loop() -> None:
    """Keep asyncio from creating an event loop when Tornado requests the current one: it would stay open."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Reset logging after each test, so that it never writes to a closed stream."""
    level = logging.getLogger().level
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.setLevel(level)
    for handler in [one for one in root.handlers if type(one).__module__ == "portal.ops.logging"]:
        root.removeHandler(handler)


_MONITORED = frozenset({"security", "hostile", "handlers"})


@pytest.fixture(scope="session")
def longest_holds(record_testsuite_property: Callable[[str, object], None]) -> Iterator[list[Hold]]:
    """The longest hold of the event loop in the run; written to the JUnit report."""
    longest: list[Hold] = []
    yield longest
    if longest:
        record_testsuite_property(HOLD_PROPERTY, f"{longest[0].cpu:.4f} {longest[0]}")


@pytest.fixture(autouse=True)
def _fail_on_long_holds(request: pytest.FixtureRequest, longest_holds: list[Hold]) -> Iterator[None]:
    """Fail a test if a callback holds the event loop too long (docs/architecture.md rule 6)."""
    if request.path.parent.name not in _MONITORED:
        yield
        return
    with LoopMonitor().watching() as monitor:
        yield
    longest_holds[:] = sorted([*longest_holds, *monitor.holds], key=lambda hold: -hold.cpu)[:1]
    too_long = [str(hold) for hold in monitor.holds if hold.is_too_long]
    assert not too_long, "the event loop was held"


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """All log lines of the portal during the test, as JSON; printed if the test fails."""
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
