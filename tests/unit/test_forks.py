"""Worker processes are forks of one that has imported every module: what modules hold, all of them share."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import portal

RANDOM = {"Random", "SystemRandom", "urandom", "uuid4", "randbits", "getrandbits"}
RANDOM |= {"token_bytes", "token_hex", "token_urlsafe"}


def _calls(node: ast.AST) -> set[str]:
    called = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in called}


@pytest.mark.reads_source
def test_no_module_has_random_values_that_all_workers_would_share() -> None:
    shared = []
    for path in sorted(Path(portal.__file__).parent.rglob("*.py")):
        for statement in ast.parse(path.read_text("utf-8")).body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and _calls(statement) & RANDOM:
                shared.append(f"{path.name}: line {statement.lineno}")
    assert not shared, "make it when the portal is built, which every worker does for itself"
