"""Regenerates the screenshots in docs/images from `portal demo`.

`scripts/setup.sh test` installs the requirements; then run
`.venv/bin/python scripts/screenshots.py [--port 8080]`.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
START_SECONDS = 30.0
LARGEST_BYTES = 300_000
ACCOUNTS = (("globex", "gina", "globex-gina"), ("acme", "alice", "acme-alice"))


@dataclass(frozen=True, slots=True)
class Picture:
    """One file of docs/images: a window of this size in CSS pixels, showing a tenant's developer page after
    a call.
    """

    name: str
    width: int
    height: int
    scheme: str
    scale: float = 1.5
    """Pixels of the picture for each CSS pixel."""


PICTURES = (
    Picture("home.png", 1280, 860, "light"),
    Picture("home-dark.png", 1280, 860, "dark"),
)


def main() -> int:
    """Make every picture; the exit code is 1 when one is too large."""
    parser = argparse.ArgumentParser(description="Regenerate the screenshots in docs/images.")
    parser.add_argument("--port", type=int, default=8080, help="a free port for the demo (default: 8080)")
    url = f"http://localhost:{parser.parse_args().port}"
    chromium = shutil.which("chromium")
    if chromium is None:
        print("error: Chromium is missing; run scripts/setup.sh test")
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    too_large = False
    with demo(url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in PICTURES:
            path = IMAGES / picture.name
            take(browser, url, picture, path)
            size = path.stat().st_size
            too_large = too_large or size > LARGEST_BYTES
            print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")
        browser.close()
    if too_large:
        print(f"error: a picture is larger than {LARGEST_BYTES / 1000:.0f} kB")
    return int(too_large)


@contextlib.contextmanager
def demo(url: str) -> Iterator[None]:
    """Run `portal demo` at the address while the block runs."""
    listen = f"127.0.0.1:{url.rpartition(':')[2]}"
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "demo", "--listen", listen],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not responses(f"{url}/readyz"):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise SystemExit(f"error: the demo did not start\n{output.read()}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def responses(url: str) -> bool:
    """Whether the address responds with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def take(browser: Browser, url: str, picture: Picture, path: Path) -> None:
    """Sign in to both organisations, open the switcher of the order desk, and take the picture."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        device_scale_factor=picture.scale,
        color_scheme=picture.scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    for tenant, user, password in ACCOUNTS:
        sign_in(page, f"{url}/t/{tenant}/login", user, password)
    expect(page).to_have_url(f"{url}/desk/acme/")
    expect(page.locator("#order-list")).not_to_have_attribute("aria-busy", "true")
    page.locator("#switcher").click()
    expect(page.locator("#organisations")).to_be_visible()
    page.mouse.move(0, 0)
    page.screenshot(path=path)
    context.close()


def sign_in(page: Page, login: str, user: str, password: str) -> None:
    """Sign in, starting at the portal's login address, through the provider's pages."""
    page.goto(login)
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    if page.get_by_role("button", name="Allow", exact=True).count():
        page.get_by_role("button", name="Allow", exact=True).click()


if __name__ == "__main__":
    sys.exit(main())
