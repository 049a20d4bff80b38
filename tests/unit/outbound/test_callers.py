"""Every call of the outbound client names its tenant: without one, tenants would share connections."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PORTAL = Path(__file__).resolve().parents[3] / "portal"
CALLS = {"fetch", "open_stream"}


def calls_of_the_client() -> list[tuple[str, ast.Call]]:
    """Calls of `….http.fetch`, `http.open_stream` etc., except in the demo, which uses Tornado's client."""
    found = []
    for path in sorted(PORTAL.rglob("*.py")):
        text = path.read_text()
        if "demo" in path.parts or not any(f".{name}(" in text for name in CALLS):
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in CALLS
            ):
                owner = ast.unparse(node.func.value)
                if owner.endswith("http"):
                    found.append((f"{path.name}:{node.lineno}", node))
    return found


@pytest.mark.reads_source
def test_every_call_of_the_client_names_its_tenant() -> None:
    calls = calls_of_the_client()
    assert len(calls) >= 2
    assert [
        place for place, call in calls if "tenant" not in {keyword.arg for keyword in call.keywords}
    ] == []
