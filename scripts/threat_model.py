"""Writes docs/threat-model.md: the threat catalogue, and the tests that show what holds against each threat.

A test belongs to a threat when it names its id. The most specific place counts, the first of:

* the function's name, `def test_S5_…`;
* the function's docstring, "THREATS S5";
* the comment above its section of the file, `# --- S5: …`;
* the module's docstring, "THREATS S5 and S10".

Code names threats as "THREATS S5", too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "threats.yaml"
PAGE = ROOT / "docs" / "threat-model.md"
_ID = r"[A-Z][0-9]{1,2}[a-z]?"
_IN_NAME = re.compile(rf"test_({_ID})_")
_IN_TEXT = re.compile(rf"THREATS ({_ID}(?:(?:, | and |, and ){_ID})*)")
_SECTION = re.compile(r"\s*# --- (.*)")
_IN_SECTION = re.compile(rf"(?:^|; )({_ID}(?:(?:, | and ){_ID})*)(?=:|$)")
_INTRODUCTION = """\
Made by `scripts/threat_model.py` from [threats.yaml](threats.yaml) and the tests; do not edit.

What an attacker may try, what must hold, and the tests that show it. P0 must hold before anything in that
area is called done. An id such as S5 stands in the names and docstrings of tests, and as `THREATS S5` in the
code. How a test names a threat: [CONTRIBUTING.md](../CONTRIBUTING.md#tests-of-threats)."""


class Mistake(Exception):
    """The catalogue and what refers to it do not fit together."""


@dataclass(frozen=True, slots=True)
class Threat:
    """One row. `planned`: what it waits for, when that is not built yet."""

    id: str
    attack: str
    holds: str
    priority: str
    planned: str | None


@dataclass(frozen=True, slots=True)
class Area:
    """Threats that belong together."""

    title: str
    threats: tuple[Threat, ...]


@dataclass(frozen=True, slots=True)
class References:
    """Who names each threat, by its id: tests as (file, function), and paths of the portal's modules."""

    tests: Mapping[str, Sequence[tuple[str, str]]]
    modules: Mapping[str, Sequence[str]]


def main() -> int:
    """Write the page; return the exit code."""
    try:
        page = render(read_areas(), find_references())
    except Mistake as mistake:
        print(f"error: {mistake}")
        return 2
    PAGE.write_text(page)
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


# --- the catalogue


def read_areas(source: Path = SOURCE) -> list[Area]:
    """Read the catalogue. Raises: Mistake when an id is used twice."""
    document = yaml.load(source.read_text(), yaml.CSafeLoader)
    areas = [
        Area(
            area["title"],
            tuple(
                Threat(row["id"], row["attack"], row["holds"], row["priority"], row.get("planned"))
                for row in area["threats"]
            ),
        )
        for area in document["areas"]
    ]
    ids = [threat.id for area in areas for threat in area.threats]
    if repeated := sorted({one for one in ids if ids.count(one) > 1}):
        raise Mistake(f"several threats have the id {', '.join(repeated)}")
    return areas


# --- who names a threat


def find_references(root: Path = ROOT) -> References:
    """Read the tests and the code of a project's folder."""
    tests: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, ids in tests_of(path.read_text()):
            for one in ids:
                tests.setdefault(one, []).append((path.relative_to(root / "tests").as_posix(), name))
    modules: dict[str, list[str]] = {}
    for path in sorted((root / "portal").rglob("*.py")):
        for one in dict.fromkeys(ids_in_text(path.read_text())):
            modules.setdefault(one, []).append(path.relative_to(root).as_posix())
    return References(tests, modules)


def tests_of(source: str) -> Iterator[tuple[str, list[str]]]:
    """Test functions of a module, in order, each with the ids of the threats that it belongs to."""
    module = ast.parse(source)
    of_module = ids_in_text(ast.get_docstring(module) or "")
    sections = {
        number: ids_in_section(match[1])
        for number, line in enumerate(source.splitlines(), 1)
        if (match := _SECTION.match(line))
    }
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            above = [number for number in sections if number < node.lineno]
            in_name = _IN_NAME.match(node.name)
            yield (
                node.name,
                ([in_name[1]] if in_name else [])
                or ids_in_text(ast.get_docstring(node) or "")
                or (sections[max(above)] if above else [])
                or of_module,
            )


def ids_in_text(text: str) -> list[str]:
    """The ids after the word THREATS, each once."""
    named = [one for match in _IN_TEXT.finditer(text) for one in re.findall(_ID, match[1])]
    return list(dict.fromkeys(named))


def ids_in_section(title: str) -> list[str]:
    """The ids that the title of a section begins with: "S1: other sites; S12: frames"."""
    return [one for match in _IN_SECTION.finditer(title) for one in re.findall(_ID, match[1])]


# --- the page


def render(areas: Iterable[Area], references: References) -> str:
    """The page. Raises: Mistake when a reference leads nowhere, or a threat is wrongly said to be planned."""
    threats = {threat.id: threat for area in areas for threat in area.threats}
    unknown = sorted((references.tests.keys() | references.modules.keys()) - threats.keys())
    if unknown:
        where = [*references.tests.get(unknown[0], ()), *references.modules.get(unknown[0], ())][0]
        raise Mistake(f"there is no threat {', '.join(unknown)} in docs/threats.yaml; {where} names it")
    if early := sorted(one for one in references.tests if threats[one].planned):
        raise Mistake(f"{', '.join(early)} have tests: remove `planned` in docs/threats.yaml")
    untested = [one.id for one in threats.values() if not one.planned and one.id not in references.tests]
    planned = [one.id for one in threats.values() if one.planned]
    lines = ["# Threat model", "", _INTRODUCTION, ""]
    lines += [f"- Threats with tests: {len(threats) - len(untested) - len(planned)} of {len(threats)}."]
    lines += [f"- Without a test: {', '.join(untested) or 'none'}."]
    lines += [f"- Not built yet: {', '.join(planned) or 'none'}."]
    for area in areas:
        lines += ["", f"## {area.title}"]
        for threat in area.threats:
            lines += ["", *_section(threat, references)]
    return "\n".join([*lines, ""])


def _section(threat: Threat, references: References) -> Iterator[str]:
    yield f"### {threat.id} ({threat.priority})"
    yield ""
    yield f"**Attack.** {threat.attack}"
    yield ""
    yield f"**What must hold.** {threat.holds}"
    yield ""
    if threat.planned:
        yield f"Not built yet: {threat.planned}."
        return
    if modules := references.modules.get(threat.id):
        yield f"**Code.** {', '.join(f'`{module}`' for module in modules)}"
        yield ""
    tests = references.tests.get(threat.id, ())
    if not tests:
        yield "**Tests.** No test names this threat."
        return
    yield f"**Tests.** {len(tests)}:"
    yield ""
    for file in dict.fromkeys(file for file, _ in tests):
        names = [_sentence(name) for one, name in tests if one == file]
        yield f"- `{file}`: {'; '.join(names)}"


def _sentence(name: str) -> str:
    return re.sub(rf"^test_(?:{_ID}_)?", "", name).replace("_", " ")


if __name__ == "__main__":
    sys.exit(main())
