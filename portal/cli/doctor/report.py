"""The report of `portal doctor`: a line for what is good in each area, and each problem with its remedy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from portal.cli.doctor.model import Result
from portal.display_text import display_text
from portal.tenancy.checks.live.model import Status

_LONGEST = 600
_AREA_WIDTH = 10
_NAMED = {Status.FAIL: "problem", Status.WARN: "warning", Status.SKIPPED: "not checked", Status.PASS: "good"}
_MARKS = {Status.FAIL: "✗", Status.WARN: "!", Status.SKIPPED: "-", Status.PASS: "✓"}
COLORS: Mapping[str, str] = {"✗": "red", "!": "yellow", "✓": "green"}
"""Of the first character of a line."""


def json_report(results: Sequence[Result]) -> str:
    """The results as one JSON object, in ASCII."""
    counts = Counter(result.status for result in results)
    return json.dumps(
        {
            "ok": not counts[Status.FAIL],
            "counts": {status.value: counts[status] for status in Status},
            "results": [asdict(result) for result in results],
        },
        indent=2,
    )


def report_lines(results: Sequence[Result]) -> Iterator[str]:
    """The results as lines for people; what strangers wrote cannot control the terminal."""
    for area, group in groupby(results, key=lambda result: result.area):
        yield from _area_lines(display_text(area), [*group])
    counts = Counter(result.status for result in results)
    yield ""
    yield ", ".join(_count(counts[status], _NAMED[status]) for status in _NAMED)


def _area_lines(area: str, results: Sequence[Result]) -> Iterator[str]:
    bad = [result for result in results if result.status in (Status.FAIL, Status.WARN)]
    open_ = [result for result in results if result.status is Status.SKIPPED]
    good = [result for result in results if result.status is Status.PASS]
    if good or not (bad or open_):
        texts = "; ".join(_shown(result.seen) for result in good) if len(good) <= 2 else ""
        names = ", ".join(dict.fromkeys(result.check for result in good))
        yield f"{_MARKS[Status.PASS]} {area:<{_AREA_WIDTH}} {texts or display_text(names, 160)}"
    for result in (*bad, *_gathered(open_)):
        yield f"{_MARKS[result.status]} {area:<{_AREA_WIDTH}} {result.check}: {_shown(result.seen)}"
        if result.advice:
            yield f"  {'':<{_AREA_WIDTH}} → {_shown(result.advice)}"


def _gathered(results: Sequence[Result]) -> Iterator[Result]:
    """Checks that were not possible for the same reason, as one."""
    for (seen, advice), group in groupby(results, key=lambda result: (result.seen, result.advice)):
        first, *more = group
        names = ", ".join([first.check, *(result.check for result in more)])
        yield Result(first.area, names, first.status, seen, advice)


def _shown(text: str) -> str:
    return display_text(text, _LONGEST)


def _count(number: int, what: str) -> str:
    plural = "" if number == 1 or what in ("not checked", "good") else "s"
    return f"{number} {what}{plural}"
