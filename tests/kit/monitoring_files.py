"""The files of deploy/prometheus and deploy/grafana, and the programs that read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "portal.json"
_PROGRAMS = ROOT / ".cache" / "prometheus" / "usr" / "bin"


def program(name: str) -> Path:
    """The path of prometheus or promtool; skips the test where they cannot be had."""
    found = _PROGRAMS / name
    if not found.exists():
        pytest.skip(f"{name} is not there: scripts/setup.sh unpacks it from Debian's package prometheus")
    return found


def alerts() -> list[dict[str, Any]]:
    """The rules of alerts.yml."""
    document = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> Iterator[tuple[str, str]]:
    """The title of each panel, and each of its queries as Grafana sends it."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$tenant", ".*")
            assert "$" not in expression
            yield panel["title"], expression


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics in a query."""
    return set(re.findall(r"\b(?:portal_[a-z_]+|up)\b", re.sub(r'"[^"]*"', "", expression)))
