"""Writes docs/interoperability.md: which providers the portal was tried with, and what works at each.

A test says which cells of the table it shows with `@pytest.mark.shows(PROVIDER, CAPABILITY, ...)`;
tests/conftest.py puts that into the JUnit report. docs/interoperability.yaml has everything else: the
providers, their versions, what a provider does not offer, and what was tried by hand.

`interoperability.py --reports DIR` writes the table from the JUnit reports in a folder, such as .cache/tests
after `make test`. `interoperability.py --check` says what the committed table or the YAML file has wrong.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "interoperability.yaml"
TABLE = ROOT / "docs" / "interoperability.md"
FOLDERS = ("tests/integration", "tests/keycloak")
PROPERTY = "shows"
CAPABILITIES = (
    "login",
    "algorithms",
    "refresh with rotation",
    "refresh after a key change",
    "RP logout",
    "back-channel logout",
    "front-channel logout",
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "mTLS",
    "none",
    "PAR",
    "DPoP",
    "form_post",
    "prompt=none",
)
WORKS = "✓"
NOT_OFFERED = "not offered"
NOT_TRIED = "not tried"
_LONGEST_TEXT = 20
"""What is longer is among the notes."""
_PASSED, _FAILED, _SKIPPED = "passed", "failed", "skipped"
_LEAD = (
    "# Providers that the portal was tried with",
    "",
    "Made by `scripts/interoperability.py` from the test reports and",
    f"[interoperability.yaml](interoperability.yaml); do not edit. {WORKS}: it works. {NOT_OFFERED}: the",
    "provider has no such thing. A number: see the notes. Methods of client authentication have the names of",
    "RFC 7591 section 2, where `none` is a public client; mTLS is RFC 8705.",
)

Cell = tuple[str, str]
"""A provider and a capability."""


class Mistake(Exception):
    """docs/interoperability.yaml, a marker or the committed table states something wrong."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A provider. `cells` are texts by capability; without one, tests show the cell or it was not tried."""

    name: str
    version: str
    date: str
    by_hand: bool
    notes: str
    cells: Mapping[str, str] = field(default_factory=dict)


Shown = Mapping[Cell, Mapping[str, str]]
"""For each cell, what each of its tests came to, by the test's name."""


def main(arguments: Sequence[str]) -> int:
    """Write or check the table and return the exit code."""
    try:
        providers = read_providers(SOURCE)
        match arguments:
            case ["--check"]:
                check(providers, collect(), TABLE.read_text() if TABLE.exists() else "")
                return 0
            case ["--reports", folder]:
                shown = read_reports(sorted(Path(folder).glob("*.xml")))
                TABLE.write_text(render(providers, shown))
                check(providers, collect(), TABLE.read_text())
                print(f"{len(providers)} providers: {TABLE}")
                return 0
    except Mistake as mistake:
        print(f"error: {mistake}")
        return 1
    print("usage: interoperability.py --reports DIR | --check")
    return 2


# --- what is said of the providers


def read_providers(source: Path) -> list[Tried]:
    """Read the providers. Raises: Mistake when one says what cannot be."""
    entries = yaml.load(source.read_text(), yaml.CSafeLoader)["providers"]
    names = [entry["name"] for entry in entries]
    mistakes = [f"{name}: two entries have this name" for name in set(names) if names.count(name) > 1]
    mistakes += [
        f"{entry['name']}: how is {entry['how']!r}, neither 'tests' nor 'by hand'"
        for entry in entries
        if entry["how"] not in {"tests", "by hand"}
    ]
    providers = [_tried(entry) for entry in entries]
    mistakes += [
        f"{provider.name}: {capability!r} is none of: {', '.join(CAPABILITIES)}"
        for provider in providers
        for capability in provider.cells
        if capability not in CAPABILITIES
    ]
    mistakes += [
        f"{provider.name}: what was tried by hand needs a date and a version"
        for provider in providers
        if provider.by_hand and not (provider.date and provider.version)
    ]
    if mistakes:
        raise Mistake("\n".join(mistakes))
    return providers


def _tried(entry: Mapping[str, Any]) -> Tried:
    return Tried(
        name=entry["name"],
        version=_version(entry["version"]),
        date=str(entry.get("date", "")),
        by_hand=entry["how"] == "by hand",
        notes=" ".join(entry.get("notes", "").split()),
        cells={name: str(text).strip() for name, text in entry.get("capabilities", {}).items()},
    )


def _version(said: Any) -> str:
    """A version: as it is said, or as the package that the tests use has it."""
    match said:
        case {"python": package}:
            return importlib.metadata.version(package)
        case {"npm": package}:
            lock = json.loads((ROOT / "package-lock.json").read_text())
            return str(lock["packages"][f"node_modules/{package}"]["version"])
        case {"file": path, "pattern": pattern}:
            found = re.search(pattern, (ROOT / path).read_text())
            if found is None:
                raise Mistake(f"{path} has nothing like {pattern}")
            return found[1]
    return str(said)


# --- what the tests show


def collect() -> dict[Cell, dict[str, str]]:
    """The cells that tests are there for, as if all of these had passed."""
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exit_code = pytest.main(["--collect-only", "-qq", *FOLDERS], plugins=[collector])
    if exit_code:
        raise Mistake(f"the tests cannot be collected:\n{output.getvalue()}")
    return collector.shown


class _Collector:
    def __init__(self) -> None:
        self.shown: dict[Cell, dict[str, str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            test = item.nodeid.partition("[")[0]
            for name, value in item.user_properties:
                if name == PROPERTY:
                    self.shown.setdefault(_cell(str(value)), {})[test] = _PASSED


def read_reports(reports: Iterable[Path]) -> dict[Cell, dict[str, str]]:
    """Read JUnit reports as pytest writes them. A test is as good as the worst of its cases."""
    shown: dict[Cell, dict[str, str]] = {}
    for report in reports:
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            file = case.get("classname", "").replace(".", "/") + ".py"
            test = f"{file}::{case.get('name', '').partition('[')[0]}"
            for found in case.findall("./properties/property"):
                if found.get("name") == PROPERTY:
                    tests = shown.setdefault(_cell(found.get("value", "")), {})
                    tests[test] = max(tests.get(test, _PASSED), _result(case), key=_badness)
    return shown


def _cell(value: str) -> Cell:
    provider, _, capability = value.partition(": ")
    return provider, capability


def _result(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return _FAILED
    return _SKIPPED if case.find("skipped") is not None else _PASSED


def _badness(result: str) -> int:
    return (_PASSED, _SKIPPED, _FAILED).index(result)


# --- the table


def check(providers: Sequence[Tried], shown: Shown, committed: str) -> None:
    """Hold the YAML file and the table to the tests that are there. Raises: Mistake that names each cell."""
    mistakes = [*_wrong_markers(providers, shown), *_wrong_cells(providers, shown)]
    if not mistakes and committed != render(providers, shown):
        wanted, found = render(providers, shown).splitlines(), committed.splitlines()
        differing = [line for line in found if line not in wanted] + [
            f"missing: {line}" for line in wanted if line not in found
        ]
        mistakes += [
            f"docs/{TABLE.name} is not of docs/{SOURCE.name} and the tests; "
            "run the tests, then scripts/interoperability.py --reports .cache/tests",
            *differing[:20],
        ]
    if mistakes:
        raise Mistake("\n".join(mistakes))


def _wrong_markers(providers: Sequence[Tried], shown: Shown) -> Iterable[str]:
    known = {provider.name for provider in providers if not provider.by_hand}
    for (name, capability), tests in shown.items():
        if name not in known:
            yield f"{', '.join(tests)}: docs/{SOURCE.name} has no provider {name!r} with tests"
        if capability not in CAPABILITIES:
            yield f"{', '.join(tests)}: {capability!r} is none of: {', '.join(CAPABILITIES)}"


def _wrong_cells(providers: Sequence[Tried], shown: Shown) -> Iterable[str]:
    for provider in (one for one in providers if not one.by_hand):
        for capability in CAPABILITIES:
            text = provider.cells.get(capability)
            has_tests = bool(shown.get((provider.name, capability)))
            if text == NOT_OFFERED and has_tests:
                yield f'{provider.name}: tests show "{capability}", which is said not to be offered'
            elif text == WORKS or (text != NOT_OFFERED and not has_tests):
                yield f'{provider.name}: no test shows "{capability}"'


def render(providers: Sequence[Tried], shown: Shown) -> str:
    """The document."""
    notes: list[str] = []
    head = ["", *(provider.name for provider in providers)]
    version = ["version", *(provider.version for provider in providers)]
    how = ["tried", *(f"by hand, {one.date}" if one.by_hand else "by the tests" for one in providers)]
    rows = [
        [_code(capability)]
        + [
            _noted(text_of(provider, capability, shown), provider, capability, notes)
            for provider in providers
        ]
        for capability in CAPABILITIES
    ]
    table = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in (head, version, how, *rows)]
    table.insert(1, "|---" * len(head) + "|")
    lines = [*_LEAD, "", *table, "", "## Notes", "", *notes]
    lines += ["", *(f"- **{one.name}**: {one.notes}" for one in providers if one.notes)]
    return "\n".join([*lines, *_tests(providers, shown), ""])


def text_of(provider: Tried, capability: str, shown: Shown) -> str:
    """What a cell says."""
    text = provider.cells.get(capability, NOT_TRIED if provider.by_hand else WORKS)
    if provider.by_hand or text == NOT_OFFERED:
        return text
    results = list(shown.get((provider.name, capability), {}).values())
    worst = max(results, key=_badness, default="not run")
    return text if worst == _PASSED else worst.upper()


def _noted(text: str, provider: Tried, capability: str, notes: list[str]) -> str:
    """The text of a cell; a sentence is put among the notes."""
    if len(text) <= _LONGEST_TEXT or capability == "algorithms":
        return text
    notes.append(f"{len(notes) + 1}. {provider.name}, {capability}: {text}")
    return f"[{len(notes)}](#notes)"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _tests(providers: Sequence[Tried], shown: Shown) -> Iterable[str]:
    yield from ("", "## The tests", "", "| provider | capability | tests |", "|---|---|---|")
    for provider in providers:
        for capability in CAPABILITIES:
            tests = sorted(shown.get((provider.name, capability), {}))
            names = "<br>".join(_linked(test) for test in tests)
            if names:
                yield f"| {provider.name} | {_code(capability)} | {names} |"


def _linked(test: str) -> str:
    file, _, name = test.partition("::")
    return f"`{file.removeprefix('tests/')}` {name}"


def _code(capability: str) -> str:
    """A capability that is a value of a protocol is written as code."""
    return f"`{capability}`" if re.search(r"[_=]|^none$", capability) else capability


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
