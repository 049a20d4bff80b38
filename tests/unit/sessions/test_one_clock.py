"""No code that stores or compares times reads the clock of its host: it is given the database's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import portal

_PORTAL = Path(portal.__file__).parent
_MAY_READ_THE_HOSTS_CLOCK = {
    "clock.py": "`now`, which is the host's clock",
    "stores/clock_check.py": "until the database's clock was measured",
}
_MAY_BE_GIVEN_THE_HOSTS_CLOCK = {
    "app.py": "hands it to the SQLite store and to the check of clocks",
    "stores/sqlite/store.py": "whose database has the host's clock",
    "stores/by_url.py": "hands it to the SQLite store",
    "keys/client_key_ring.py": "times of the key file, which has no database",
    "keys/key_ring.py": "times of the key file, which has no database",
}


def _modules() -> Iterator[tuple[str, ast.Module]]:
    folders = ("keys", "sessions", "stores", "web")
    paths = [_PORTAL / "app.py", _PORTAL / "clock.py"]
    paths += (path for folder in folders for path in _PORTAL.glob(f"{folder}/**/*.py"))
    for path in paths:
        yield path.relative_to(_PORTAL).as_posix(), ast.parse(path.read_text())


def _reads_the_hosts_clock(tree: ast.Module) -> bool:
    """Whether it says `time.time`, `datetime.now` and the like."""
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


def test_the_clock_of_the_host_is_read_in_two_modules() -> None:
    found = {name for name, tree in _modules() if _reads_the_hosts_clock(tree)}
    assert found == set(_MAY_READ_THE_HOSTS_CLOCK)


def test_the_clock_of_the_host_is_given_to_few() -> None:
    found = {
        name
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "portal.clock" and "now" in _imported(node)
    }
    assert found == set(_MAY_BE_GIVEN_THE_HOSTS_CLOCK), "give it the clock that app.py makes of the store's"
