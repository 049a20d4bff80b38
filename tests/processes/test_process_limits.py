"""Limits of a process: its open files, and the ports that it may listen at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_PRIVILEGED_PORT = 97
_RAISED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 900))
from portal.ops.descriptors import connection_limit, raise_descriptor_limit
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], connection_limit(None))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RAISED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["900", "322"]


@pytest.mark.skipif(
    not _UNPRIVILEGED.exists() or int(_UNPRIVILEGED.read_text()) <= _PRIVILEGED_PORT,
    reason="on this machine every user may listen at any port",
)
def test_a_privileged_port_without_the_capability_is_explained() -> None:
    code = (
        "import ctypes, os, sys\n"
        "if sys.argv[1:] == ['again']:\n"
        "    from portal.ops.sockets import listening_sockets\n"
        f"    listening_sockets('127.0.0.1:{_PRIVILEGED_PORT}', choose='choose another')\n"
        "ctypes.CDLL(None).prctl(24, 10, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE\n"
        "os.execv(sys.executable, [sys.executable, '-c', os.environ['CODE'], 'again'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CODE": code},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        f"portal.errors.StartupError: The address 127.0.0.1:{_PRIVILEGED_PORT} needs a privilege: "
        "its port is below 1024. Grant the portal CAP_NET_BIND_SERVICE, or choose another."
    )
