"""The line of a file that a problem is about, and no secret of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.cli.source_lines import source_lines
from portal.errors import Problem

SECRET = "hunter2"


def shown(folder: Path, content: str, line: int, column: int) -> list[str]:
    file = folder / "acme.yaml"
    file.write_text(content, encoding="utf-8")
    return source_lines(Problem(f"{file}:{line}:{column}", "is wrong"))


def test_the_line_is_shown_with_a_caret_below_the_column(tmp_path: Path) -> None:
    assert shown(tmp_path, "name: Acme\nprompt: login\n", 2, 9) == ["prompt: login", "        ^"]


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (f"client:\n  secret: {SECRET}\n", 2, 11),
        (f"client: {{id: a, secret: {SECRET}\n", 1, 9),
        (f"client: {{id: a, 'secret' : {SECRET}\n", 1, 9),
        (f"client:\n  client_secret_value: {SECRET}\n", 2, 3),
        (f"client:\n  secret:\n    {SECRET}\n", 3, 5),
        (f"client:\n  secret: |\n    {SECRET}: more\n", 3, 5),
        (f"client:\n  signing_key:\n    - {SECRET}: more\n", 3, 7),
        (f"client:\n  signing_key:\n\n    a:\n      - {SECRET}: more\n", 5, 9),
        (f"  {SECRET}\n", 1, 3),
        (f"tls: {{ca: {SECRET}}}\n", 1, 6),
    ],
)
def test_no_secret_is_shown(tmp_path: Path, content: str, line: int, column: int) -> None:
    assert SECRET not in "".join(shown(tmp_path, content, line, column))


@pytest.mark.parametrize("place", ["acme.yaml", "acme.yaml:1:1", "PORTAL_LISTEN", "x:99999999:1"])
def test_nothing_is_shown_without_a_line(place: str) -> None:
    assert source_lines(Problem(place, "is wrong")) == []


@pytest.mark.parametrize(("line", "column"), [(0, 1), (3, 1), (1, 90), (2, 3)])
def test_nothing_is_shown_outside_the_file(tmp_path: Path, line: int, column: int) -> None:
    assert shown(tmp_path, "name: Acme\n", line, column) == []


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    assert shown(tmp_path, "name: \u202eAcme\n", 1, 1)[0] == "name: \\u202eAcme"
