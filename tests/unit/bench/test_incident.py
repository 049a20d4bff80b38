"""The page of figures of a rehearsed incident, and what makes it fail."""

from __future__ import annotations

from pathlib import Path

from bench.incident import ALERT, Plan, Run, Timeline, report, write


def made() -> Run:
    """A run in which the provider died at 100 s and came back at 400 s."""
    run = Run(Plan(300.0, around=60.0, token=60.0, how="hangs"))
    run.times = Timeline(died=100.0, revived=400.0, warned=165.5, pending=166.0, warning_gone=430.0)
    run.expiring.refused = [120.0, 420.0]
    run.expiring.passed_after = 429.5
    for phase in ("before", "during", "after"):
        run.others.results[phase]["200"] = 1_000
        run.others.milliseconds[phase] = [float(number) for number in range(1, 101)]
    run.expiring.results["during"]["503 provider_unavailable"] = 7
    return run


def test_times_are_relative_to_the_failure_and_the_return_of_the_provider() -> None:
    lines = report(made()).splitlines()
    for line in (
        "| first call refused (503 `provider_unavailable`) | 20.0 |",
        "| warning on the sign-in page | 65.5 |",
        f"| condition of the alert {ALERT} true | 66.0 |",
        "| alert fires (1 minute later) | not seen |",
        "| first call with a refreshed token | 29.5 |",
        "| last call refused | 20.0 |",
        "| other tenants | passed | 1,000 of 1,000 | 1,000 of 1,000 | 1,000 of 1,000 |",
        "| other tenants | p50, ms | 51.0 | 51.0 | 51.0 |",
        "| other tenants | p99, ms | 100.0 | 100.0 | 100.0 |",
        "| the tenant, with tokens that expire | `503 provider_unavailable` | 0 | 7 | 0 |",
    ):
        assert line in lines, line


def test_only_calls_that_must_pass_make_it_fail() -> None:
    assert not made().failed()
    others, valid = made(), made()
    others.others.results["during"]["503 tenant_busy"] = 1
    valid.valid.results["after"]["401 login_required"] = 1
    assert others.failed()
    assert valid.failed()


def test_the_figures_of_the_page_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "incident.md"
    page.write_text("a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nb\n")
    write(page, "new")
    assert page.read_text() == "a\n<!-- figures: begin -->\nnew\n<!-- figures: end -->\nb\n"
