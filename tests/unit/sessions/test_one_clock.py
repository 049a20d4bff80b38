"""Code that stores or compares times uses the clock of the database, not of the host."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import portal

_PORTAL = Path(portal.__file__).parent
_MAY_READ_HOST_CLOCK = {
    "clock.py": "`now`, which is the host's clock",
    "stores/clock_check.py": "used until the database's clock has been measured",
}
_MAY_IMPORT_HOST_CLOCK = {
    "app.py": "passes it to the SQLite store and to the clock check",
    "stores/sqlite/store.py": "an SQLite database uses the clock of the host",
    "stores/by_url.py": "passes it to the SQLite store",
    "keys/client_key_ring.py": "timestamps in the key file, which has no database",
    "keys/key_ring.py": "timestamps in the key file, which has no database",
}


def _modules() -> Iterator[tuple[str, ast.Module]]:
    folders = ("keys", "sessions", "stores", "web")
    paths = [_PORTAL / "app.py", _PORTAL / "clock.py"]
    paths += (path for folder in folders for path in _PORTAL.glob(f"{folder}/**/*.py"))
    for path in paths:
        yield path.relative_to(_PORTAL).as_posix(), ast.parse(path.read_text())


def _reads_host_clock(tree: ast.Module) -> bool:
    """Whether a module uses `time.time`, `datetime.now` or a similar function."""
    names = {
        ("time", "time"),
        ("time", "time_ns"),
        ("datetime", "now"),
        ("datetime", "utcnow"),
        ("date", "today"),
    }
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr, node.attr) in names
        for node in ast.walk(tree)
    ) or any(
        isinstance(node, ast.ImportFrom) and node.module == "time" and {"time", "time_ns"} & _imported(node)
        for node in ast.walk(tree)
    )


def _imported(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


@pytest.mark.reads_source
def test_only_two_modules_read_the_clock_of_the_host() -> None:
    found = {name for name, tree in _modules() if _reads_host_clock(tree)}
    assert found == set(_MAY_READ_HOST_CLOCK)


@pytest.mark.reads_source
def test_only_listed_modules_import_the_clock_of_the_host() -> None:
    found = {
        name
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "portal.clock" and "now" in _imported(node)
    }
    assert found == set(_MAY_IMPORT_HOST_CLOCK), "pass it the clock of the store that app.py makes"
