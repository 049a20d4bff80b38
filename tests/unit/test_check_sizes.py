"""The check of file sizes reports a file that is too long."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_sizes.py"


def test_a_file_that_passes_the_limit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "portal" / "web").mkdir(parents=True)
    copied = tmp_path / "scripts" / "check_sizes.py"
    copied.write_text(SCRIPT.read_text())
    check = runpy.run_path(str(copied))["main"]
    (tmp_path / "portal" / "short.py").write_text("x = 1\n" * 400)
    assert check() == 0
    (tmp_path / "portal" / "web" / "long.py").write_text("x = 1\n" * 401)
    capsys.readouterr()
    assert check() == 1
    assert capsys.readouterr().out.startswith("portal/web/long.py: 401 lines")
