"""THREATS T4: a page can distinguish problems of the portal from those of an API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.browser import Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.raw import signed_in, stored
from tests.kit.world import World
from tests.unit.test_http_reference import ADDRESSES

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "static").glob("*.js"),
    *(ROOT / "templates").glob("*.html"),
    *(ROOT / "portal" / "demo").rglob("*.js"),
    *(ROOT / "portal" / "demo").rglob("*.html"),
    ROOT / "README.md",
]


def is_marked_problem(response: Response) -> bool:
    """Check that X-Portal-Problem is set exactly on problem+json; return whether it is set."""
    is_problem = response.headers.get("Content-Type") == "application/problem+json"
    assert response.headers.get_list("X-Portal-Problem") == (["1"] if is_problem else []), response.status
    return is_problem


@pytest.mark.gen_test
async def test_T4_every_problem_of_the_portal_is_marked_and_nothing_else(world: World) -> None:
    signed_out, user = world.browser(), await signed_in(world)
    found = set()
    for browser in (signed_out, user):
        for address in [*ADDRESSES, "/t/nobody/", "/nothing-here"]:
            if address.endswith(("/logout", "/session/events")):  # the second does not end
                continue
            path = address.replace("{tenant}", "acme").replace("{provider}", "staff").replace("…", "orders")
            for method in ("GET", "POST", "DELETE"):
                for accept in ("application/json", "text/html"):
                    response = await browser.fetch(world.at(path), method, headers={"Accept": accept})
                    if is_marked_problem(response):
                        found.add(json.loads(response.body)["code"])
    assert found >= {"login_required", "not_found", "method_not_allowed", "login_attempt_unknown"}
    assert stored(world)["logins"]


@pytest.mark.gen_test
async def test_T4_errors_of_calls_are_marked_and_those_of_the_api_are_not(world: World) -> None:
    browser = await signed_in(world)

    async def marked(path: str, **options: object) -> bool:
        return is_marked_problem(await browser.fetch(world.at(f"/t/acme/api{path}"), **options))  # type: ignore[arg-type]

    assert await marked("/orders", csrf=False)
    assert await marked("/a//b")
    assert await marked("/orders", method="HEAD") is False
    world.acme_api.faults["echo"] = EndpointFault(drop_response=True)
    assert await marked("/echo")
    theirs = await browser.fetch(world.at("/t/acme/api/hostile/problem"))
    assert (theirs.status, theirs.headers["Content-Type"]) == (401, "application/problem+json")
    assert not [name for name in theirs.headers if "portal" in name.lower()]


def samples() -> Iterator[tuple[str, str]]:
    """Every code sample in documents, pages and scripts that reads `login_url` from a response."""
    for path in TEXTS:
        text = path.read_text()
        codes = (
            [text] if path.suffix == ".js" else re.findall(r"```(?:js|ts|html)\n(.*?)```", text, re.DOTALL)
        )
        if path.suffix == ".html":
            codes = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
        yield from ((str(path.relative_to(ROOT)), code) for code in codes if "login_url" in code)


def test_T4_every_sample_that_follows_a_problem_checks_the_header_first() -> None:
    found = dict(samples())
    assert {"docs/reference/http.md", "static/explorer.js"} <= found.keys()
    for name, code in found.items():
        marked = re.search(r'headers\.get\("X-Portal-Problem"\) ?[!=]== ?"1"', code)
        assert marked, name
        assert marked.start() < code.index("login_url"), name
