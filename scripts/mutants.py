"""Mutation testing: changes the code in small ways and says which changes no test notices.

    scripts/mutants.py [--paths PATH…] [--tests PATH…] [--sample NUMBER] [--seconds NUMBER]

Without --paths: what [tool.mutmut] of pyproject.toml names. Tests that never reach a changed function are not
run for it; tests that failed before any change are an error. The survivors are printed as diffs. Results stay
in .cache/mutants until paths or tests are others: what was tried is tried again when its function changes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "mutants"
SURVIVED, UNREACHED = 0, 33
"""Exit codes in the files of mutmut 3; None is what was not tried, and all others were noticed."""


def main() -> int:
    """Run mutmut in a copy of the project; the exit code is 1 when a change survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", nargs="*", default=[], help="files or folders whose code is changed")
    parser.add_argument("--tests", nargs="*", default=[], help="files or folders of the tests that are run")
    parser.add_argument("--sample", type=int, default=0, help="try only so many changes, chosen at random")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    chosen = parser.parse_args()
    patterns = [path if path.endswith(".py") else f"{path.rstrip('/')}/*" for path in chosen.paths]
    copy_project({"only_mutate": patterns, "pytest_add_cli_args_test_selection": chosen.tests})
    prepared = mutmut(
        "run", "none", capture=True
    )  # it makes all changes, runs the tests once, and finds no "none"
    if "Filtered for specific mutants" not in prepared:
        print(prepared)
        return 2
    untried = [name for name, code in verdicts().items() if code is None]
    if chosen.sample:
        untried = random.sample(untried, min(chosen.sample, len(untried)))
    if untried:
        mutmut("run", *untried, seconds=chosen.seconds)
    return report()


def copy_project(options: dict[str, list[str]]) -> None:
    """Bring the copy up to date: mutmut writes into the folder that it runs in."""
    settings = WORK / "pyproject.toml"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source, target = ROOT / name, WORK / name
        if (
            name != settings.name
            and source.is_file()
            and (not target.exists() or target.stat().st_mtime < source.stat().st_mtime)
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for key, value in options.items():
        if value:
            text = re.sub(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
    if not settings.exists() or settings.read_text(encoding="utf-8") != text:
        shutil.rmtree(WORK / "mutants", ignore_errors=True)
        settings.write_text(text, encoding="utf-8")


def mutmut(*arguments: str, seconds: float | None = None, capture: bool = False) -> str:
    """Run mutmut in the copy, at most so long; return its output if it is to be captured."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if capture else {}
    with subprocess.Popen(
        command, cwd=WORK, env=environment, start_new_session=True, text=True, **output
    ) as process:
        try:
            return process.communicate(timeout=seconds)[0] or ""
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(process.pid, signal.SIGKILL)
            return ""


def verdicts() -> dict[str, int | None]:
    """What became of every change: exit codes of the tests by name."""
    found: dict[str, int | None] = {}
    for file in sorted((WORK / "mutants" / "portal").rglob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def report() -> int:
    """Print the survivors and the numbers; return 1 when there are survivors."""
    results = verdicts()
    survivors = [name for name, code in results.items() if code in {SURVIVED, UNREACHED}]
    for name in survivors:
        print(mutmut("show", name, capture=True))
    numbers = Counter(
        {None: "not tried", SURVIVED: "survived", UNREACHED: "reached by no test"}.get(code, "noticed")
        for code in results.values()
    )
    print(
        f"{len(results)} changes: " + ", ".join(f"{count} {what}" for what, count in sorted(numbers.items()))
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
