"""`scripts/run_tests.py` runs the few tests that failed once more, and names those that pass then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "run_tests.py"
FAILS_ONCE = """
from pathlib import Path

import pytest

def test_that_fails_once():
    seen = Path(__file__).with_name("seen")
    is_first = not seen.exists()
    seen.touch()
    assert not is_first

class TestOfAClass:
    @pytest.mark.parametrize("value", ["a b", "x::y/z", "ü"])
    def test_that_fails_once(self, value):
        seen = Path(__file__).with_name(value.replace("/", "-"))
        is_first = not seen.exists()
        seen.touch()
        assert not is_first
"""
PASSES = "def test_that_passes(): pass\n"


def run(tmp_path: Path, tests: str) -> tuple[int, str]:
    """Run the script on a project with these unit tests; return its exit code and output."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_some.py").write_text(tests)
    shutil.copy(SCRIPT.parent.parent / "pyproject.toml", tmp_path)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "scripts/run_tests.py", "unit"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return ended.returncode, ended.stdout


def test_a_test_that_passes_by_itself_is_named_and_is_no_failure(tmp_path: Path) -> None:
    exit_code, output = run(tmp_path, PASSES + FAILS_ONCE)
    assert exit_code == 0, output
    assert "ok, 4 unstable" in output
    assert sorted(line for line in output.splitlines() if line.startswith("Unstable")) == [
        f"Unstable (failed beside others, passed alone): tests.unit.test_some{name}"
        for name in (
            ".TestOfAClass::test_that_fails_once[\\xfc]",
            ".TestOfAClass::test_that_fails_once[a b]",
            ".TestOfAClass::test_that_fails_once[x::y/z]",
            "::test_that_fails_once",
        )
    ]
    assert output.endswith("\n5 passed, 0 failed, 0 skipped\n")


@pytest.mark.parametrize("count", [1, 6])
def test_tests_that_fail_again_or_are_many_are_failures(tmp_path: Path, count: int) -> None:
    fails = "".join(f"def test_{number}(): assert False\n" for number in range(count))
    exit_code, output = run(tmp_path, PASSES + fails)
    assert exit_code == 1
    assert "Unstable" not in output
    assert ("that failed, alone" in output) == (count == 1)
    assert output.endswith(f"\nFailed: unit tests\n1 passed, {count} failed, 0 skipped\n")
