"""THREATS D5: no request waits for disk I/O.

An audit hook (PEP 578) records every file that the portal opens in the event loop thread while users sign in,
call APIs and sign out.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from portal.keys import key_file
from portal.keys.client_key_ring import rotate_client_keys
from tests.kit import loop_monitor
from tests.kit.world import World

_EXCEPTED = {"portal.web.assets"}
"""Static files are small and in the page cache of the system after the first request."""
_found: list[str] | None = None
_thread = 0


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if _found is None or event not in {"open", "os.listdir", "os.scandir"}:
        return
    if threading.get_ident() != _thread:
        return
    frame: FrameType | None = sys._getframe(1)
    modules: list[str] = []
    while frame is not None and (name := str(frame.f_globals.get("__name__"))) != loop_monitor.__name__:
        modules.append(name)
        frame = frame.f_back
    own = [name for name in modules if name.startswith(loop_monitor.PROJECT_PREFIXES)]
    of_portal = own and own[-1].startswith("portal.") and not own[-1].startswith("portal.demo.")
    if of_portal and _EXCEPTED.isdisjoint(own):
        _found.append(f"{event} {arguments[0]!r} in {own[0]}")


@contextlib.contextmanager
def files_opened() -> Iterator[list[str]]:
    """Record the files and folders that the portal opens in this thread while the block runs."""
    global _found, _thread
    if _thread == 0:
        sys.addaudithook(_record)
    _found, _thread = [], threading.get_ident()
    try:
        yield _found
    finally:
        _found = None


@pytest.mark.gen_test
async def test_D5_no_request_opens_a_file_in_the_thread_of_the_event_loop(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    rotate_client_keys(world.settings.keys)
    with files_opened() as found:
        await world.quick_sign_in(browser, "globex")
        for path in (
            "/t/acme/",
            "/t/acme/api/orders",
            "/session",
            "/account",
            "/search?q=acme",
            "/readyz",
            "/.well-known/jwks.json",
            "/t/acme/jwks.json",
        ):
            await browser.fetch(world.at(path))
        await world.expire_access_token(browser, "acme")
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        await browser.step(world.at("/logout"), "POST", "", site="same-origin")
    assert not found, found


@pytest.mark.gen_test
async def test_D5_the_audit_hook_records_only_files_that_the_portal_opens_in_this_thread(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_text('{"keys": []}')
    with files_opened() as found:
        path.read_bytes()
        await asyncio.to_thread(key_file.read, path)
        asyncio.get_running_loop().call_soon(key_file.read, path)
        await asyncio.sleep(0)
    assert {*found} == {f"open {str(path)!r} in portal.keys.key_file"}
