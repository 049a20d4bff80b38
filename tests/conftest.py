"""Fixtures that many tests share."""

from __future__ import annotations

import asyncio
import functools
import gc
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import structlog
import uvloop
from tornado.ioloop import IOLoop

from portal.ops.logging import configure_logging
from portal.web.assets import load_templates
from portal.web.languages import load_languages
from tests.kit.console import ConsoleWorld, console_world
from tests.kit.loop_monitor import HOLD_PROPERTY, LoopMonitor
from tests.kit.world import World
from tests.kit.world import world as make_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the capabilities that a test shows to the JUnit report (see scripts/interoperability.py)."""
    for item in items:
        for mark in item.iter_markers("shows"):
            provider, *capabilities = mark.args
            item.user_properties.extend(("shows", f"{provider}: {one}") for one in capabilities)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the tests themselves out of garbage collections: each would take 0.1 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_implicit_event_loop() -> None:
    """Keep asyncio from creating an event loop when Tornado requests the current one: it would stay open."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _templates_are_compiled_once() -> Iterator[None]:
    """All portals of a test process share the templates: to compile them takes 40 ms of CPU time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.app.load_templates", functools.cache(load_templates))
        patch.setattr("portal.app.load_languages", functools.cache(load_languages))
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
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """The event loop of a test, which ends as that of `asyncio.run` does: nothing is left open in it.

    The parameter "uvloop" chooses that of uvloop; see `ON_BOTH_LOOPS` of tests/kit/loops.py.
    """
    make = uvloop.new_event_loop if getattr(request, "param", "") == "uvloop" else asyncio.new_event_loop
    loop = IOLoop(make_current=True, asyncio_loop=make())
    yield loop
    loop.run_sync(_end_what_is_left, timeout=30)
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


async def _end_what_is_left() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=5)
    await asyncio.get_running_loop().shutdown_asyncgens()


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


@pytest.fixture(autouse=True)
def _fail_on_long_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test if a callback holds the event loop too long (docs/architecture.md rule 6).

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


@pytest.fixture
def console(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[ConsoleWorld]:
    """A portal with a console, on SQLite."""
    manager = console_world(tmp_path)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)
