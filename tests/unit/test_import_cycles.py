"""The portal has no import cycles.

All import statements count: at module level, within functions, and for type checkers only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules(root: Path, package: str) -> dict[str, Path]:
    """Return the modules of a package by name."""
    found: dict[str, Path] = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else str(node.module)


def cycle(root: Path, package: str) -> list[str]:
    """Return a cycle of modules, with the first one repeated at the end; empty if there is none."""
    known = modules(root, package)
    graph = {
        name: {other for other in imported(path, known) if other in known} for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_the_portal_has_no_import_cycle() -> None:
    assert len(modules(ROOT, "portal")) > 200
    assert cycle(ROOT, "portal") == []


@pytest.mark.parametrize(
    "text",
    [
        "import portal.a\n",
        "from portal import a\n",
        "from portal.a import x\n",
        "def f():\n    from portal.a import x\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from portal.a import x\n",
    ],
)
def test_a_cycle_is_found_by_every_kind_of_import(tmp_path: Path, text: str) -> None:
    package = tmp_path / "portal"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from portal.b import y\nx = 1\n")
    (package / "b.py").write_text("import portal.c\n")
    (package / "c.py").write_text("")
    assert cycle(tmp_path, "portal") == []
    (package / "c.py").write_text(text)
    assert set(cycle(tmp_path, "portal")) == {"portal.a", "portal.b", "portal.c"}
