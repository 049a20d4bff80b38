"""What scripts that write a reference page share: its generated part, and the members of enums."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def begin_of(script: str) -> str:
    """The line after which a page is generated. Parameters: script, the name of its file."""
    return f"<!-- made by scripts/{script} -->"


def replace_generated(page: str, begin: str, lines: Iterable[str]) -> str:
    """Return a page with other lines after `begin`. Parameters: page, its current text."""
    return page.partition(begin)[0] + "\n".join([begin, *lines]) + "\n"


def write_page(path: Path, text: str) -> None:
    """Write a page, and say so."""
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


def members(source: str, name: str) -> list[tuple[str, str]]:
    """The values of an enum and their docstrings, in order.

    Raises ValueError for a member without a docstring. Parameters: source, of its module.
    """
    [found] = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    result = []
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        value = str(node.value.value)
        sentence = (
            following.value.value
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            else None
        )
        if sentence is None:
            raise ValueError(f"{name}: {value} has no docstring")
        result.append((value, " ".join(str(sentence).split())))
    return result
