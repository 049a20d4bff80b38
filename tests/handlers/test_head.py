"""HEAD on every page: the header fields of GET, no body, no effect (RFC 9110 9.3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from portal.routes import routes
from portal.web.admin.base import AdminHandler
from portal.web.base import PageHandler
from tests.kit.raw import stored
from tests.kit.world import World

_VALUES = {"tenant": "acme", "provider": "default", "version": "0" * 16, "file": "logo.svg", "token": "none"}
_VARY = {"X-Request-Id", "Set-Cookie", "Date", "Content-Length"}
"""These differ from one response to the next; the last one by the XSRF token, whose length varies."""
_NO_HEAD = {"login", "callback", "finish-login", "initiate-login"}
"""Addresses whose GET has an effect: they are no pages."""


def pages() -> Iterator[str]:
    """An address of every route with pages."""
    for rule in routes():
        if not isinstance(rule, URLSpec) or not issubclass(rule.target, PageHandler):
            continue
        if rule.target.get is RequestHandler.get or issubclass(rule.target, AdminHandler):
            continue
        path = re.sub(
            r"\(\?P<([a-z]+)>(?:[^()]|\([^)]*\))*\)", lambda one: _VALUES[one[1]], rule.regex.pattern
        )
        yield path.removesuffix("$").replace("\\", "").replace("test-[0-9a-f]{16}", f"test-{'0' * 16}")


PAGES = sorted(set(pages()))


def test_every_page_is_found() -> None:
    assert {"/", "/account", "/t/acme/", "/t/acme/signed-out", "/t/acme/login", "/setup/none"} <= set(PAGES)


@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.gen_test
async def test_every_page_has_the_header_fields_of_get_and_no_effect(world: World, signed_in: bool) -> None:
    browser = world.browser()
    if signed_in:
        await world.quick_sign_in(browser, "acme")
    await browser.open(world.at("/"))
    for path in PAGES:
        before = _rows(world)
        head = await browser.step(world.at(path), "HEAD")
        assert _rows(world) == before, path
        assert head.body == b"", path
        if path.split("/")[-1] in _NO_HEAD or "/callback/" in path:
            assert head.status == 405, path
            continue
        get = await browser.step(world.at(path))
        assert (head.status, _fields(head)) == (get.status, _fields(get)), path


def _rows(world: World) -> dict[str, list[tuple[object, ...]]]:
    """What is stored, except what background tasks note at any time."""
    return {table: rows for table, rows in stored(world).items() if table != "meta"}


def _fields(response: object) -> list[tuple[str, str]]:
    headers = getattr(response, "headers")  # noqa: B009
    return sorted((name, value) for name, value in headers.get_all() if name not in _VARY)


@pytest.mark.gen_test
async def test_a_head_request_begins_no_login_and_uses_no_response(world: World) -> None:
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    assert (await browser.step(callback, "HEAD", site="cross-site")).status == 405
    assert (await browser.step(callback, site="cross-site")).status == 303
