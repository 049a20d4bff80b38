"""Metrics of several processes: each serves the sum of all."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SUM = """
import os
from portal.ops.metrics import Metrics, forget_process, shared_metrics

with shared_metrics(2):
    for started in (200.0, 100.0):
        child = os.fork()
        if child == 0:
            Metrics().start_time.set(started)
            os._exit(0)
        os.waitpid(child, 0)
    own = Metrics()
    own.start_time.set(300.0)
    own.expiries.set([("acme", "default", 1800000000.0)])
    print(own.render().decode())
    own.expiries.set([])
    forget_process(child)
    print(own.render().decode())
"""

_ENDED = """
import asyncio
import os
from portal.ops.metrics import Metrics, forget_process, shared_metrics

with shared_metrics(2):
    own = Metrics()
    for number in range(20):
        child = os.fork()
        if child == 0:
            metrics = Metrics()
            metrics.calls_cut.inc()
            metrics.tenants.follow(["acme"])
            metrics.calls.ended("acme", 200, by_api=True, took=0.3, waited=0.2)
            asyncio.run(metrics.flush())
            os._exit(0)
        os.waitpid(child, 0)
        if number == 7:  # killed while it created the file
            with open(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], f"counter_{child}.db"), "w"):
                pass
        forget_process(child)
    print(len(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])))
    print(own.render().decode())
"""


def test_ended_processes_leave_one_file_and_their_counters() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENDED], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert "portal_calls_cut_total 19.0" in lines
    calls = 'portal_api_calls_total{responder="api",status="2xx",tenant="acme"}'
    assert f"{calls} 20.0" in lines
    name = "portal_api_upstream_duration_seconds"
    assert f'{name}_bucket{{le="0.1",tenant="acme"}} 0.0' not in lines
    assert f'{name}_bucket{{le="0.25",tenant="acme"}} 20.0' in lines
    assert f'{name}_count{{tenant="acme"}} 20.0' in lines
    files = [line for line in lines if line.isdecimal()]
    assert int(files[0]) <= 8


_UNHEALTHY = """
import os
from portal.ops.metrics import Metrics, forget_process, shared_metrics

def report(counts):
    metrics = Metrics()
    metrics.tenants.follow(["acme", "globex"])
    for tenant, count in counts.items():
        metrics.providers.set_unhealthy(tenant, count)
    return metrics

with shared_metrics(2):
    child = os.fork()
    if child == 0:
        report({"acme": 2, "globex": 1})
        os._exit(0)
    os.waitpid(child, 0)
    own = report({"acme": 1})
    print(own.unhealthy_providers())
    forget_process(child)
    print(own.unhealthy_providers())
"""


def test_unhealthy_providers_are_the_largest_number_of_the_living_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNHEALTHY], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["{'acme': 2, 'globex': 1}", "{'acme': 1}"]


_WHILE_ENDING = """
import asyncio
import os
import sys
import threading
from portal.ops.metrics import Metrics, forget_process, shared_metrics

NAME = b'portal_api_calls_total{responder="api",status="2xx",tenant="acme"} '

def count(metrics):
    found = [line for line in metrics.render().splitlines() if line.startswith(NAME)]
    return float(found[0].rpartition(b" ")[2]) if found else 0.0

with shared_metrics(2):
    own = Metrics()
    pids = []
    for number in range(60):
        child = os.fork()
        if child == 0:
            metrics = Metrics()
            metrics.tenants.follow(["acme"])
            for _ in range(100):
                metrics.calls.ended("acme", 200, by_api=True, took=0.0, waited=0.0)
            asyncio.run(metrics.flush())
            os._exit(0)
        os.waitpid(child, 0)
        pids.append(child)
    scraper = os.fork()
    if scraper == 0:
        before = 0.0
        while before >= 0:
            now = count(own)
            if now < before:
                os._exit(7)
            before = now
            if not os.path.exists(sys.argv[1]):
                os._exit(0 if now == 6000 else 8)
    for pid in pids:
        forget_process(pid)
    os.unlink(sys.argv[1])
    print("exit", os.waitstatus_to_exitcode(os.waitpid(scraper, 0)[1]))
"""


def test_a_counter_does_not_go_backwards_while_ended_processes_are_added_up(tmp_path: Path) -> None:
    running = tmp_path / "running"
    running.touch()
    command = [sys.executable, "-c", _WHILE_ENDING, str(running)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["exit", "0"], done


def test_metrics_of_several_processes_are_combined_and_an_ended_process_is_removed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SUM], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("portal_start_time_seconds")]
    assert [float(line.split()[1]) for line in lines] == [100.0, 200.0]
    name = "portal_client_secret_expiry_timestamp_seconds"
    times = [line for line in done.stdout.splitlines() if line.startswith(name)]
    assert times == [f'{name}{{provider="default",tenant="acme"}} 1.8e+09'], "no value stays behind"


@pytest.mark.parametrize("processes", [1, 2])
def test_metrics_are_served_at_a_separate_address(tmp_path: Path, processes: int) -> None:
    ports = _free_ports(2)
    (tmp_path / "tenants").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PORTAL_")}
    environment |= {
        "PORTAL_LISTEN": f"127.0.0.1:{ports[0]}",
        "PORTAL_METRICS_LISTEN": f"127.0.0.1:{ports[1]}",
        "PORTAL_PUBLIC_URL": f"http://localhost:{ports[0]}",
        "PORTAL_TENANTS": str(tmp_path / "tenants"),
        "PORTAL_DATABASE": f"sqlite:///{tmp_path}/portal.db",
        "PORTAL_KEYS": str(tmp_path / "keys.json"),
        "PORTAL_PROCESSES": str(processes),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "portal", "serve"]
    log = tmp_path / "log"
    with (
        log.open("wb") as lines,
        subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=lines) as served,
    ):
        try:
            text = _eventually(f"http://127.0.0.1:{ports[1]}/metrics")
            assert b"\nportal_start_time_seconds " in text
            assert re.search(rb"\nportal_tasks [1-9]", text)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=30)
        finally:
            served.send_signal(signal.SIGTERM)
    assert served.returncode == 0, log.read_text()[-4000:]
    assert not list(tmp_path.glob("portal-metrics-*"))


def _eventually(url: str) -> bytes:
    give_up = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return bytes(response.read())
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
