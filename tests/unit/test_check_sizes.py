"""The check of file sizes reports a file that is too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_sizes.py"


def test_a_file_that_passes_the_limit_is_named(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "portal" / "web").mkdir(parents=True)
    copied = tmp_path / "scripts" / "check_sizes.py"
    copied.write_text(SCRIPT.read_text())
    (tmp_path / "portal" / "short.py").write_text("x = 1\n" * 400)
    assert subprocess.run([sys.executable, str(copied)], check=False).returncode == 0
    (tmp_path / "portal" / "web" / "long.py").write_text("x = 1\n" * 401)
    ended = subprocess.run([sys.executable, str(copied)], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout.startswith("portal/web/long.py: 401 lines")
