"""Writes the tables of docs/reference/metrics.md from what the code declares.

    python scripts/metrics_reference.py

Names, labels and sentences are those of portal/ops/metrics.py and of the modules that it uses.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from portal.ops.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "metrics.md"
BEGIN = "<!-- made by scripts/metrics_reference.py -->"
_LIMITS = ROOT / "portal" / "ops" / "limit_metrics.py"
_GROUPS = (
    ("API calls", ("portal_api_", "portal_calls_")),
    ("Logins and sessions", ("portal_login", "portal_refresh", "portal_session", "portal_user_")),
    ("Providers", ("portal_provider_", "portal_client_")),
    ("Tenants and keys", ("portal_tenant", "portal_vault_")),
    ("WebSockets", ("portal_socket",)),
    ("Database", ("portal_store_",)),
    ("Processes and limits", ("portal_",)),
)


def main() -> int:
    """Write the tables into the page."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def rendered(page: str) -> str:
    """Return the page with the current tables. Parameters: page, its current text."""
    return page.partition(BEGIN)[0] + "\n".join([BEGIN, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    left = Metrics().descriptions()
    for title, prefixes in _GROUPS:
        yield from ("", f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|")
        for one in [metric for metric in left if metric.name.startswith(prefixes)]:
            left.remove(one)
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.name}` | {one.type} | {labels} | {one.text} |"
    yield from ("", "## Limits", "", "| `limit` | what was reached |", "|---|---|")
    for value, sentence in limits(_LIMITS.read_text(encoding="utf-8")):
        yield f"| `{value}` | {sentence} |"


def limits(source: str) -> list[tuple[str, str]]:
    """The values of `Limit` and their docstrings. Raises: ValueError for one without a docstring."""
    [found] = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Limit"
    ]
    pairs = []
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        sentence = (
            following.value.value
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            else None
        )
        if sentence is None:
            raise ValueError(f"Limit: {node.value.value} has no docstring")
        pairs.append((str(node.value.value), " ".join(str(sentence).split())))
    return pairs


if __name__ == "__main__":
    sys.exit(main())
