"""The first page of the order desk in Chromium: paint, layout shift, blocking time, and bytes.

    python -m bench.first_page [--runs 5] [--slow]

Largest contentful paint (LCP), cumulative layout shift (CLS) and total blocking time (TBT: what tasks of more
than 50 ms take beyond that) come from Chromium's own trace. The portal, its providers and APIs run in this
process, on loopback, without the delay of a network; `--slow` adds that of a mobile phone (150 ms,
1.6 Mbit/s, a CPU that is four times slower), as Lighthouse does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Response, sync_playwright

from tests.browser.desk import DeskStage, open_desk
from tests.browser.visitor import Visitor

_SLOW_NETWORK = {"latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 93_750, "offline": False}
_LONG_TASK_MS = 50.0
_CATEGORIES = ("loading", "devtools.timeline", "toplevel", "blink.user_timing")


@dataclass(frozen=True, slots=True)
class Figures:
    """One load. Times in milliseconds."""

    first_paint: float
    largest_paint: float
    layout_shift: float
    blocking: float
    requests: int
    raw_bytes: int
    gzip_bytes: int


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slow", action="store_true", help="a mobile phone on a slow network")
    options = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        print("Chromium is missing; run scripts/setup.sh test")
        return 2
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        stage = DeskStage(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            _print([_measure(browser, stage, slow=options.slow) for _ in range(options.runs)])
        finally:
            browser.close()
            stage.close()
    return 0


def _measure(browser: Browser, stage: DeskStage, *, slow: bool) -> Figures:
    """Load the page once in a browser that knows the session and nothing else."""
    signed_in = Visitor(browser, stage)
    open_desk(signed_in)
    fresh = Visitor(browser, stage, storage_state=signed_in.context.storage_state())
    signed_in.close()
    page = fresh.page
    if slow:
        session = fresh.context.new_cdp_session(page)
        session.send("Network.emulateNetworkConditions", _SLOW_NETWORK)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    responses: list[Response] = []

    def keep(response: Response) -> None:
        responses.append(response)

    page.on("response", keep)
    browser.start_tracing(page=page, categories=list(_CATEGORIES))
    page.goto(stage.at("/desk/acme/"))
    page.locator("#live-state[data-on]").wait_for()
    page.wait_for_timeout(1000)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    whole = (one for one in responses if one.ok and not one.url.endswith("/events"))
    bodies = [response.body() for response in whole]
    fresh.close()
    return _figures(events, bodies)


def _figures(events: list[dict[str, Any]], bodies: list[bytes]) -> Figures:
    start, process = _navigation(events)
    own = [event for event in events if event["pid"] == process and event["ts"] >= start]

    def after(event: dict[str, Any]) -> float:
        return float(event["ts"] - start) / 1000

    first = min(after(event) for event in own if event["name"] == "firstContentfulPaint")
    largest = max(after(event) for event in own if event["name"] == "largestContentfulPaint::Candidate")
    shifts = [event["args"]["data"]["score"] for event in own if event["name"] == "LayoutShift"]
    tasks = [event["dur"] / 1000 for event in own if event["name"] == "RunTask" and "dur" in event]
    return Figures(
        first_paint=first,
        largest_paint=largest,
        layout_shift=sum(shifts),
        blocking=sum(task - _LONG_TASK_MS for task in tasks if task > _LONG_TASK_MS),
        requests=len(bodies),
        raw_bytes=sum(len(body) for body in bodies),
        gzip_bytes=sum(len(gzip.compress(body)) for body in bodies),
    )


def _navigation(events: list[dict[str, Any]]) -> tuple[float, int]:
    """When the navigation to the page began, in microseconds, and the process that shows it."""
    starts = [
        event
        for event in events
        if event["name"] == "navigationStart"
        and "/desk/" in event["args"].get("data", {}).get("documentLoaderURL", "")
    ]
    return float(starts[-1]["ts"]), int(starts[-1]["pid"])


def _print(runs: list[Figures]) -> None:
    def median(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    print(f"The first page of the order desk, median of {len(runs)} loads without a cache")
    print(f"  first contentful paint    {median('first_paint'):8.0f} ms")
    print(f"  largest contentful paint  {median('largest_paint'):8.0f} ms")
    print(f"  total blocking time       {median('blocking'):8.0f} ms")
    print(f"  cumulative layout shift   {max(run.layout_shift for run in runs):8.3f} (the largest)")
    print(f"  requests                  {median('requests'):8.0f}")
    print(f"  bodies                    {median('raw_bytes') / 1024:8.1f} KB")
    print(f"  bodies with gzip          {median('gzip_bytes') / 1024:8.1f} KB")


if __name__ == "__main__":
    sys.exit(main())
