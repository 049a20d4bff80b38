"""Writes the tables of docs/reference/metrics.md from what the code declares.

    python scripts/metrics_reference.py

Names, labels and sentences are those of portal/ops/metrics.py and of the modules that it uses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from portal.ops.metrics import Metrics

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_pages import ROOT, begin_of, members, replace_generated, write_page

PAGE = ROOT / "docs" / "reference" / "metrics.md"
BEGIN = begin_of("metrics_reference.py")
_LIMITS = ROOT / "portal" / "ops" / "limit_metrics.py"
_GROUPS = (
    ("API calls", ("portal_api_", "portal_calls_")),
    ("Forward authentication", ("portal_forward_auth_",)),
    ("Logins and sessions", ("portal_login", "portal_refresh", "portal_session", "portal_user_")),
    ("Providers", ("portal_provider_", "portal_client_")),
    ("Tenants and keys", ("portal_tenant", "portal_vault_")),
    ("WebSockets", ("portal_socket",)),
    ("Database", ("portal_store_",)),
    ("Events", ("portal_events_",)),
    ("Processes and limits", ("portal_",)),
)


def main() -> int:
    """Write the tables into the page."""
    write_page(PAGE, rendered(PAGE.read_text(encoding="utf-8")))
    return 0


def rendered(page: str) -> str:
    """Return the page with the current tables. Parameters: page, its current text."""
    return replace_generated(page, BEGIN, _tables())


def _tables() -> Iterator[str]:
    left = Metrics().descriptions()
    for title, prefixes in _GROUPS:
        yield from ("", f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|")
        for one in [metric for metric in left if metric.name.startswith(prefixes)]:
            left.remove(one)
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.name}` | {one.type} | {labels} | {one.text} |"
    yield from ("", "## Limits", "", "| `limit` | what was reached |", "|---|---|")
    for value, sentence in members(_LIMITS.read_text(encoding="utf-8"), "Limit"):
        yield f"| `{value}` | {sentence} |"


if __name__ == "__main__":
    sys.exit(main())
