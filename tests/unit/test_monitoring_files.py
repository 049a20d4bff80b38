"""The reference of metrics, alerts, runbooks and the dashboard fit what the code declares."""

from __future__ import annotations

import itertools
import re
import runpy

from portal.ops.metrics import Metrics
from tests.kit.monitoring_files import ROOT, alerts, dashboard, metrics_in, queries

_RUNBOOK = "docs/operations.md#"


def script() -> dict[str, object]:
    return runpy.run_path(str(ROOT / "scripts" / "metrics_reference.py"))


def test_the_tables_of_the_reference_are_current() -> None:
    made = script()
    page = made["PAGE"].read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert made["rendered"](page) == page, "run: python scripts/metrics_reference.py"  # type: ignore[operator]


def test_the_reference_has_every_metric_once_and_its_type_is_that_of_the_scrape() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    metrics = Metrics()
    described = {one.name: one.type for one in metrics.descriptions()}
    assert [name for name in described if page.count(f"| `{name}` |") != 1] == []
    exposed = re.findall(r"^# TYPE (\S+) (\S+)$", metrics.render().decode(), re.MULTILINE)
    assert exposed
    assert [pair for pair in exposed if described.get(pair[0]) != pair[1]] == []


def test_names_follow_the_conventions_of_prometheus() -> None:
    for one in Metrics().descriptions():
        assert re.fullmatch(r"portal_[a-z]+(_[a-z]+)*", one.name)
        assert (one.type == "counter") == one.name.endswith("_total"), one.name
        assert one.type != "histogram" or one.name.endswith("_seconds"), one.name
        assert one.text.endswith("."), one.name


def test_alerts_and_panels_use_metrics_that_exist() -> None:
    known = {"up"}
    for one in Metrics().descriptions():
        known |= (
            {one.name}
            if one.type != "histogram"
            else {f"{one.name}_{end}" for end in ("bucket", "sum", "count")}
        )
    expressions = [rule["expr"] for rule in alerts()] + [expression for _, expression in queries()]
    assert expressions
    assert {name for each in expressions for name in metrics_in(each)} <= known


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    section = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("\n## Alerts\n")[2]
    headings = re.findall(r"^### (\S+)$", section.partition("\n## ")[0], re.MULTILINE)
    named = {rule["alert"]: rule["annotations"]["runbook"] for rule in alerts()}
    assert named == {heading: f"{_RUNBOOK}{heading.lower()}" for heading in headings}


def test_each_alert_says_how_bad_it_is_in_the_words_of_its_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in alerts():
        assert rule["annotations"]["summary"]
        assert f"### {rule['alert']}\n\n*{rule['labels']['severity']}.* " in page, rule["alert"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    for panel in panels:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)
