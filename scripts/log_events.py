"""Writes docs/reference/log.md: every event of the log, from the code and from docs/log-events.yaml.

    python scripts/log_events.py

The code says which events there are, with which levels and fields; the file has a sentence for each.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_pages import ROOT, begin_of, replace_generated, write_page

SENTENCES = ROOT / "docs" / "log-events.yaml"
PAGE = ROOT / "docs" / "reference" / "log.md"
BEGIN = begin_of("log_events.py")
_LEVELS = ("debug", "info", "warning", "error")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(slots=True)
class Event:
    """What the code says of an event."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


def main() -> int:
    """Write the table into the page."""
    found = logged_events((ROOT / "portal").rglob("*.py"))
    missing = found.keys() - sentences().keys()
    if missing:
        print(f"docs/log-events.yaml has no sentence for: {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    write_page(PAGE, rendered(PAGE.read_text(encoding="utf-8"), found, sentences()))
    return 0


def sentences() -> dict[str, str]:
    """The sentence of each event."""
    read: dict[str, str] = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    return read


def rendered(page: str, found: Mapping[str, Event], meanings: Mapping[str, str]) -> str:
    """Return the page with the current table. Parameters: page, its current text."""
    return replace_generated(page, BEGIN, ["", *_table(found, meanings)])


def _table(found: Mapping[str, Event], meanings: Mapping[str, str]) -> Iterator[str]:
    yield "| event | level | fields | meaning |"
    yield "|---|---|---|---|"
    for name, event in sorted(found.items()):
        levels = ", ".join(level for level in reversed(_LEVELS) if level in event.levels)
        fields = ", ".join(f"`{one}`" for one in sorted(event.fields))
        yield f"| `{name}` | {levels} | {fields} | {' '.join(meanings[name].split())} |"


def logged_events(files: Iterable[Path]) -> dict[str, Event]:
    """The events that these files log; those of the demo's own servers are left out.

    Raises: ValueError when the name of an event cannot be found.
    """
    found: dict[str, Event] = {}
    for path in sorted(files):
        if "demo" in path.parts:
            continue
        for name, level, fields in events_of(path.read_text(encoding="utf-8"), path.name):
            event = found.setdefault(name, Event())
            event.levels.add(level)
            event.fields |= fields
            event.files.add(path.name)
    found["request"] = Event(  # portal/ops/access_log.py writes its lines without structlog
        {"info"}, {"method", "path", "status", "ms", "client", "request_id", "received", "sent"}
    )
    return found


def events_of(source: str, file: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yield name, level and fields of each line that a module logs with `_log`, or with `_…_log`.

    Raises: ValueError.
    """
    module = ast.parse(source)
    for function, call in _logging_calls(module):
        level = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        fields = {one.arg for one in call.keywords if one.arg is not None} - {"exc_info"}
        if any(one.arg == "exc_info" for one in call.keywords):
            fields |= {"error", "frames"}
        names = list(_names(call.args[0], function, module))
        if not names or not all(_NAME.fullmatch(name) for name in names):
            raise ValueError(f"{file}: line {call.lineno}: the name of the event cannot be found")
        for name in names:
            yield name, level, fields


def _logging_calls(module: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Each call with the function that contains it."""

    def visit(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and _is_logging(child.func):
                yield function, child
            inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            yield from visit(child, inner)

    yield from visit(module, module)


def _is_logging(called: ast.expr) -> bool:
    if not (isinstance(called, ast.Attribute) and called.attr in _LEVELS):
        return False
    logger = called.value
    name = logger.id if isinstance(logger, ast.Name) else getattr(logger, "attr", "")
    return name.startswith("_") and name.endswith("_log")


def _names(value: ast.expr, function: ast.AST, module: ast.Module) -> Iterator[str]:
    """The values that the name of an event can have: a text, a choice of texts, or a variable."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _names(value.body, function, module)
        yield from _names(value.orelse, function, module)
    elif isinstance(value, ast.Name):
        assigned = [
            one.value
            for one in ast.walk(function)
            if isinstance(one, ast.Assign)
            and any(isinstance(to, ast.Name) and to.id == value.id for to in one.targets)
        ]
        if assigned:
            for one in assigned:
                yield from _names(one, function, module)
        else:
            yield from _first_of_pairs(module)


def _first_of_pairs(module: ast.Module) -> Iterator[str]:
    """Names in pairs of an event and its detail, which another function of the module makes."""
    for node in ast.walk(module):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
            name = node.elts[0].value
            if isinstance(name, str) and _NAME.fullmatch(name):
                yield name


if __name__ == "__main__":
    sys.exit(main())
