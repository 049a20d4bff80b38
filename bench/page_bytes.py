"""Bytes over the wire for the first page of the demo's order desk, without a browser's cache.

    python -m bench.page_bytes

It loads the page as a signed-in user and what its links and modules name, and counts heads and bodies as they
are sent. Exit code 1: more than 40 KB.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from portal.demo.front_ends import ORDER_DESK
from tests.kit.browser import Browser, Response
from tests.kit.world import World, world

MOST_BYTES = 40_000
_CODINGS = "gzip, deflate, br, zstd"
_OF_PAGES = re.compile(r'<(?:script|link)\b[^>]*?\b(?:src|href)="([^"]+)"')
_OF_MODULES = re.compile(r'\b(?:from|import)\s*"([^"]+)"')


async def loaded(browser: Browser, url: str) -> dict[str, int]:
    """Load a page and all that it names; return the bytes of each response by its path."""
    found: dict[str, int] = {}
    waiting = [url]
    while waiting:
        url = waiting.pop(0)
        path = urlsplit(url).path
        if path in found:
            continue
        headers = {"Accept": "text/html" if not found else "*/*", "Accept-Encoding": _CODINGS}
        response = await browser.fetch(url, headers=headers)
        if response.status != 200:
            raise SystemExit(f"{path} has the status {response.status}")
        found[path] = len(response.body) + _head(response)
        names = _OF_PAGES if path.endswith("/") else _OF_MODULES
        waiting += [urljoin(url, name) for name in names.findall(_text(response))]
    return found


def _head(response: Response) -> int:
    return len("HTTP/1.1 200 OK\r\n\r\n") + sum(
        len(f"{name}: {value}\r\n") for name, value in response.headers.get_all()
    )


def _text(response: Response) -> str:
    coded = response.headers.get("Content-Encoding") == "gzip"
    return (gzip.decompress(response.body) if coded else response.body).decode("utf-8", "replace")


async def measure(made: World) -> dict[str, int]:
    """The files of the page, and the calls that it makes when it begins."""
    browser = made.browser()
    page = await made.sign_in(browser, "acme")
    found = await loaded(browser, page.url)
    for path in ("/session", "/t/acme/api/orders"):
        response = await browser.fetch(made.at(path))
        found[path] = len(response.body) + _head(response)
    return found


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), front_ends={"desk": ORDER_DESK}) as made:
            found = await measure(made)
    for path, size in found.items():
        print(f"{size:7,}  {path}")
    total = sum(found.values())
    print(f"{total:7,}  of {MOST_BYTES:,}")
    return int(total > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
