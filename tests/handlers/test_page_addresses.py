"""Choosing a language on a page that is the response to a POST leads to a page that GET shows."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from portal.routes import routes
from portal.web.base import PageHandler
from tests.kit.browser import Browser, Response
from tests.kit.console import ConsoleWorld
from tests.kit.draft_pages import textarea

VALUES = {"tenant": "globex", "provider": "default", "number": "1", "token": "none", "name": "globex.example"}


def posted_addresses() -> list[str]:
    """An address of each route that answers POST with a page."""
    found = []
    for rule in routes():
        handler: type[Any] = rule.target
        posts = isinstance(rule, URLSpec) and getattr(handler, "post", None) is not RequestHandler.post
        if posts and issubclass(handler, PageHandler) and isinstance(rule, URLSpec):
            pattern = rule.regex.pattern.removesuffix("$").replace("test-[0-9a-f]{16}", "test-" + "0" * 16)
            path = re.sub(
                r"\(\?P<([a-z]+)>(?:[^()]|\([^()]*\))*\)", lambda one: VALUES.get(one[1], "x"), pattern
            )
            found.append(path.replace("\\", ""))
    return found


async def refused(browser: Browser, url: str) -> Response:
    """The page for a form of another site, or for a form without any field."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    return await browser.fetch(url, "POST", headers=headers, body="", site="cross-site", csrf=False)


def test_the_addresses_are_those_of_all_areas() -> None:
    addresses = posted_addresses()
    assert {"/logout", "/t/globex/logout", "/account/end", "/language", "/t/globex/initiate-login"} <= {
        *addresses
    }
    assert not [path for path in addresses if re.search(r"[()?\[\]]", path)]
    assert len([path for path in addresses if path.startswith("/admin/")]) > 15


@pytest.mark.gen_test
async def test_a_language_chosen_on_any_page_that_answers_a_post_leads_to_a_page(
    console: ConsoleWorld,
) -> None:
    browser = console.operator
    drafted = await console.get(browser, "/admin/t/globex/draft/yaml")
    changed = textarea(drafted).replace("name: Globex", "name: Globex Ltd")
    await browser.submit(drafted.form("/draft/yaml"), {"content": changed})
    for path in posted_addresses():
        page = await refused(browser, console.at(path))
        if 'action="/language"' not in page.text:
            assert page.status in {303, 404} or "Content-Type" not in page.headers, (path, page.status)
            continue
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "text/html",
            "Referer": console.at(path),
        }
        chosen = await browser.fetch(
            console.at("/language"),
            "POST",
            headers=headers,
            body=urlencode({"language": "de"}),
            site="same-origin",
        )
        shown = await browser.open(console.at(chosen.headers["Location"]))
        expected = 404 if "/none" in path or "/x/" in f"{path}/" else 200  # there are no such links
        assert shown.status == expected, (path, chosen.headers["Location"], shown.status)
        assert shown.headers["Content-Language"] == "de", path
        assert urlsplit(shown.url).netloc == urlsplit(console.at("/")).netloc, path


@pytest.mark.gen_test
async def test_the_nearest_page_above_is_chosen(console: ConsoleWorld) -> None:
    for path, expected in (
        ("/logout", "/"),
        ("/t/globex/logout", "/t/globex/"),
        ("/t/globex/callback/default", "/t/globex/"),
        ("/t/globex/initiate-login", "/t/globex/"),
        ("/account/end-others", "/account/end-others"),
        ("/admin/t/globex/sessions/end-all", "/admin/t/globex/sessions/end-all"),
        ("/t/globex/developer", "/t/globex/developer"),
        ("/nowhere", "/nowhere"),
    ):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Referer": console.at(path)}
        chosen = await console.user.fetch(
            console.at("/language"), "POST", headers=headers, body="language=de", site="same-origin"
        )
        assert chosen.headers["Location"] == expected, path
