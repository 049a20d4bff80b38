"""The ledger of the run, and its table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.ledger import Ledger

_LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture(scope="session")
def ledger(
    pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[Ledger]:
    """Where every case of the run is counted; its numbers go into the JUnit report, too."""
    made = pytestconfig.stash.setdefault(_LEDGER, Ledger())
    yield made
    for subject, tally in made.rows():
        record_testsuite_property(f"single faults: {subject}", tally.numbers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the ledger holds."""
    ledger = config.stash.get(_LEDGER, None)
    if ledger is None or not ledger.tallies:
        return
    terminalreporter.section("hostile provider")
    for line in ledger.lines():
        terminalreporter.write_line(line)
