"""Mutation testing: changes the code in small ways and says which changes no check notices.

    scripts/mutants.py [--paths PATH…] [--tests PATH…] [--sample NUMBER] [--seconds NUMBER]

Without --paths and --tests: what [tool.mutmut] of pyproject.toml names. mutmut makes the changes in a copy of
the project, and mypy judges them first. All tests are then run once, to learn which functions each of them
reaches, and for each change those that reach its function, the quickest first, in a process of its own. A
change that no test notices is printed as a diff. Verdicts stay in .cache/mutants, so that a run can be
continued: a change is tried again when its function is another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mutmut import __main__ as engine
from mutmut.configuration import config, reset_config
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import filter_mutants_with_type_checker
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths
from mutmut.utils.format_utils import mangled_name_from_mutant_name

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "mutants"
VERDICTS = WORK / "verdicts.json"
REFUSED, NOTICED, SURVIVED, UNREACHED = "refused by mypy", "noticed", "survived", "reached by no test"
SECONDS_OF_TESTS = 8.0
"""Tests of one change: the quickest that together take so long without it."""


def main() -> int:
    """Try the changes; the exit code is 1 when one survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", nargs="*", default=[], help="files or folders whose code is changed")
    parser.add_argument("--tests", nargs="*", default=[], help="files or folders of the tests that are run")
    parser.add_argument("--sample", type=int, default=0, help="try only so many changes, chosen at random")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    chosen = parser.parse_args()
    deadline = time.monotonic() + chosen.seconds
    changed = [path if path.endswith(".py") else f"{path.rstrip('/')}/*" for path in chosen.paths]
    copy_project({"only_mutate": changed, "pytest_add_cli_args_test_selection": chosen.tests})
    os.chdir(WORK)
    reset_config()
    changes, refused = make_changes()
    verdicts: dict[str, str] = json.loads(VERDICTS.read_text("utf-8")) if VERDICTS.exists() else {}
    verdicts |= {changes[name]: REFUSED for name in refused if name in changes}
    untried = [name for name, identity in changes.items() if identity not in verdicts]
    random.shuffle(untried)
    judge = Judge(untried[: chosen.sample or None], changes, verdicts, deadline)
    os.chdir("mutants")
    settings = config()
    if untried and pytest.main(
        [*settings.pytest_add_cli_args, *settings.pytest_add_cli_args_test_selection], plugins=[judge]
    ):
        return 2
    os.chdir(WORK)
    left = [name for name, identity in changes.items() if verdicts.get(identity) in {SURVIVED, UNREACHED}]
    for name in left:
        print(f"# {name}: {verdicts[changes[name]]}\n{get_diff_for_mutant(name)}\n")
    numbers = Counter(verdicts.get(identity, "not tried") for identity in changes.values())
    print(
        f"{len(changes)} changes: " + ", ".join(f"{count} {what}" for what, count in sorted(numbers.items()))
    )
    return 1 if left else 0


def copy_project(options: dict[str, list[str]]) -> None:
    """Bring the copy up to date, with these options of mutmut: it writes into the folder that it runs in."""
    settings = WORK / "pyproject.toml"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source, target = ROOT / name, WORK / name
        current = target.exists() and target.stat().st_mtime >= source.stat().st_mtime
        if name != settings.name and source.is_file() and not current:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    text = (ROOT / settings.name).read_text(encoding="utf-8")
    for key, value in options.items():
        if value:
            text = re.sub(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
    if not settings.exists() or settings.read_text(encoding="utf-8") != text:
        shutil.rmtree(WORK / "mutants", ignore_errors=True)
        settings.write_text(text, encoding="utf-8")


def make_changes() -> tuple[dict[str, str], set[str]]:
    """Make every change; return the digest of each by its name, and the names of those that mypy refuses."""
    print("making the changes", flush=True)
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    engine.create_mutants(os.cpu_count() or 1)
    names = [name for _, name, _ in engine.collect_source_file_mutation_data(mutant_names=[])[0]]
    functions = state().current_function_hashes
    digests = {
        name: hashlib.sha256(
            f"{name} {functions.get(mangled_name_from_mutant_name(name))}".encode()
        ).hexdigest()
        for name in names
    }
    print(f"{len(names)} changes; mypy reads them", flush=True)
    return digests, set(filter_mutants_with_type_checker())


class Judge:
    """A plugin of pytest: runs the collected tests for each change instead of once."""

    def __init__(
        self, names: list[str], changes: dict[str, str], verdicts: dict[str, str], deadline: float
    ) -> None:
        """For changes by these names; verdicts is added to, and written after each."""
        self._names, self._changes, self._verdicts, self._deadline = names, changes, verdicts, deadline
        self._failed = False
        self._seconds: dict[str, float] = {}
        self._reached: dict[str, list[pytest.Item]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember that a test failed."""
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every change, several at a time, because many of them end in waiting."""
        self._learn(session)
        running: dict[int, tuple[str, float]] = {}
        left = iter(self._names)
        done = 0
        while True:
            while len(running) < 2 * (os.cpu_count() or 1) and time.monotonic() < self._deadline:
                if (name := next(left, None)) is None:
                    break
                tests = self._tests_of(name)
                if not tests:
                    self._verdicts[self._changes[name]] = UNREACHED
                    continue
                limit = 5 + 5 * sum(self._seconds[test.nodeid] for test in tests)
                running[self._fork(name, tests)] = (name, time.monotonic() + limit)
            if not running:
                return True
            time.sleep(0.01)
            for pid, (name, limit) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if not ended and time.monotonic() < limit:
                    continue
                _kill_group(pid)
                if not ended:
                    os.waitpid(pid, 0)
                del running[pid]
                self._verdicts[self._changes[name]] = SURVIVED if ended and status == 0 else NOTICED
                VERDICTS.write_text(json.dumps(self._verdicts), "utf-8")
                done += 1
                if done % 100 == 0:
                    print(f"{done} of {len(self._names)} tried", flush=True)

    def _learn(self, session: pytest.Session) -> None:
        """Run every test once, in another process, to learn its time and the functions that it reaches."""
        print(f"\n{len(session.items)} tests are run once without a change", flush=True)
        files = sorted({item.path for item in session.items})
        answers = []
        for part in range(os.cpu_count() or 1):
            answers.append(WORK / f"reached-{part}.json")
            chosen = set(files[part :: os.cpu_count() or 1])
            if os.fork() == 0:
                self._run_once([item for item in session.items if item.path in chosen], answers[-1])
        for _ in answers:
            os.wait()
        tests = {item.nodeid: item for item in session.items}
        for answer in answers:
            for test, (seconds, functions) in json.loads(answer.read_text("utf-8")).items():
                self._seconds[test] = seconds
                for function in functions:
                    self._reached.setdefault(function, []).append(tests[test])

    def _run_once(self, items: list[pytest.Item], answer: Path) -> None:
        """Run tests in this process and write what they took and reached to a file; then end the process."""
        reached: dict[str, tuple[float, list[str]]] = {}
        set_mutant_under_test("stats")
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._failed, started = False, time.monotonic()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                print(f"left out, because it fails without a change: {item.nodeid}", flush=True)
            else:
                reached[item.nodeid] = (time.monotonic() - started, sorted(state()._stats))
            state()._stats.clear()
        answer.write_text(json.dumps(reached), "utf-8")
        os._exit(0)

    def _tests_of(self, name: str) -> list[pytest.Item]:
        """The quickest tests that reach the function of a change."""
        found: list[pytest.Item] = []
        seconds = 0.0
        reaching = self._reached.get(mangled_name_from_mutant_name(name), [])
        for test in sorted(reaching, key=lambda item: self._seconds[item.nodeid]):
            seconds += self._seconds[test.nodeid]
            if found and seconds > SECONDS_OF_TESTS:
                break
            found.append(test)
        return found

    def _fork(self, name: str, tests: list[pytest.Item]) -> int:
        """Run the tests with this change, in a process of its own that exits with 1 at the first failure."""
        if pid := os.fork():
            return pid
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        set_mutant_under_test(name)
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            test.config.hook.pytest_runtest_protocol(item=test, nextitem=following)
            if self._failed:
                os._exit(1)
        os._exit(0)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing of it is left


if __name__ == "__main__":
    sys.exit(main())
