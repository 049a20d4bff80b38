"""A portal with providers for a real browser, in its own thread: Playwright uses the thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.kit.world import World, world

T = TypeVar("T")
_SECONDS = 60.0


class OtherSiteHandler(RequestHandler):
    """Serves all paths of a site that is not the portal. Tests change the page as they need."""

    def get(self) -> None:
        self.finish("<!doctype html><title>Another site</title><h1>Another site</h1>")


class Stage:
    """The portal, two providers and two APIs with optional hostile responses, running until `close`.

    The world must be used in its own thread only: `ask` and `run` call functions there.
    """

    def __init__(self, folder: Path, *, host: str = "localhost", **changes: Any) -> None:
        """Parameters: host, a local host name; changes, settings of the portal."""
        self._folder, self._host, self._changes = folder, host, changes
        self._ready: Future[World] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="world")
        self._thread.start()
        self._world = self._ready.result(_SECONDS)
        self.url = self._world.url
        self.sibling = f"http://localhost:{self._other_site_port}/"
        """A page at another port of the portal's host: same-site, so it gets all cookies."""
        self.other_site = f"http://127.0.0.1:{self._other_site_port}/"
        self.issuers = {
            slug: provider.issuer
            for slug, provider in (("acme", self._world.acme), ("globex", self._world.globex))
        }

    def at(self, path: str) -> str:
        return f"{self.url}{path}"

    def ask(self, question: Callable[[World], T]) -> T:
        """Call a function with the world in the world's thread, and return the result."""

        async def response() -> T:
            return question(self._world)

        return asyncio.run_coroutine_threadsafe(response(), self._loop).result(_SECONDS)

    def run(self, task: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """As `ask`, for a coroutine function."""
        return asyncio.run_coroutine_threadsafe(task(self._world), self._loop).result(_SECONDS)

    def issued(self) -> list[str]:
        """All codes and tokens that the providers have issued."""
        return self.ask(lambda world: [*world.acme.state.issued, *world.globex.state.issued])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive(), "the world did not stop"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        other_site = HTTPServer(Application([(".*", OtherSiteHandler)], log_function=lambda handler: None))
        sockets = bind_sockets(0, address="127.0.0.1")
        self._other_site_port = sockets[0].getsockname()[1]
        other_site.add_sockets(sockets)
        try:
            async with world(self._folder, hostile=True, host=self._host, **self._changes) as made:
                self._ready.set_result(made)
                await self._stop.wait()
                await made.parts.disconnect()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            other_site.stop()
            await other_site.close_all_connections()
