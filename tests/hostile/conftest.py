"""The ledger of the run, and its table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.fault_report import FaultReport

_REPORT = pytest.StashKey[FaultReport]()


@pytest.fixture(scope="session")
def report(
    pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[FaultReport]:
    """Where every case of the run is counted; its numbers go into the JUnit report, too."""
    made = pytestconfig.stash.setdefault(_REPORT, FaultReport())
    yield made
    for subject, tally in made.rows():
        record_testsuite_property(f"single faults: {subject}", tally.numbers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the ledger holds."""
    report = config.stash.get(_REPORT, None)
    if report is None or not report.tallies:
        return
    terminalreporter.section("hostile provider")
    for line in report.lines():
        terminalreporter.write_line(line)
