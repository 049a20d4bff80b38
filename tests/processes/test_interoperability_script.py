"""The table of providers is current. The script asks pytest which tests there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_table_matches_the_tests_and_the_entries() -> None:
    command = [sys.executable, "scripts/interoperability.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
