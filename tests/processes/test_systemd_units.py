"""systemd accepts the units, and rates the service as hardened."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSED = 2.0
"""systemd rates services from 0 (sandboxed) to 10 (everything is allowed)."""

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on copies of the units, whose program is one that exists."""
    assert ANALYZE is not None
    for path in UNITS.iterdir():
        content = path.read_text().replace("/opt/portal/%i/bin/portal", sys.executable)
        (folder / path.name).write_text(content)
    if text is not None:
        (folder / "portal@.service").write_text((folder / "portal@.service").read_text() + text)
    return subprocess.run(
        [ANALYZE, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def verified(folder: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    names = ("portal@blue.service", "portal@green.service", "portal.socket", "portal-metrics.socket")
    return analyze(folder, "verify", *(f"./{name}" for name in names), text=text)


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    done = verified(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_find_a_misspelt_key(tmp_path: Path) -> None:
    done = verified(tmp_path, "\n[Service]\nProtectHoome=true\n")
    assert "ProtectHoome" in done.stderr


def test_the_service_is_hardened(tmp_path: Path) -> None:
    done = analyze(tmp_path, "security", "--offline=true", "./portal@.service")
    match = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert match is not None, done.stdout + done.stderr
    assert float(match[1]) <= MOST_EXPOSED
