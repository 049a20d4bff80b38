"""The fault report of the run, printed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.fault_report import FaultReport

_REPORT = pytest.StashKey[FaultReport]()


@pytest.fixture(scope="session")
def report(
    pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[FaultReport]:
    """Count every case of the run; the numbers are also written to the JUnit report."""
    made = pytestconfig.stash.setdefault(_REPORT, FaultReport())
    yield made
    for subject, tally in made.rows():
        record_testsuite_property(f"single faults: {subject}", tally.numbers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the fault report."""
    report = config.stash.get(_REPORT, None)
    if report is None or not report.tallies:
        return
    terminalreporter.section("hostile provider")
    for line in report.lines():
        terminalreporter.write_line(line)
