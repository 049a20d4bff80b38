"""The owner of a lease is gone when its process has ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from portal.sessions.lease_owners import LeaseOwners

_ROOT = Path(__file__).resolve().parents[2]
_BEGIN = """
import sys
from portal.sessions.lease_owners import LeaseOwners
print(LeaseOwners().begin(), flush=True)
sys.stdin.read()
"""


def test_a_lease_owner_is_gone_when_its_process_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BEGIN], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert LeaseOwners().is_local(owner)
        assert not LeaseOwners().is_gone(owner)
        process.communicate(timeout=60)
    assert LeaseOwners().is_gone(owner)
