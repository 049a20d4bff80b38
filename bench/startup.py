"""Start-up time to /readyz with 2 and with 1,000 tenant files, and memory of an idle process.

python -m bench.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.servers import ROOT, free_port, wait_until_it_responds

_TENANT = """\
name: Organisation {number}
issuer: https://login{number}.example/realms/main
client:
  id: portal-{number}
  secret: secret-{number}
scopes: [openid, profile, email, offline_access]
audience: https://api{number}.example
api:
  base_url: https://api{number}.example/v1
email_domains: [org{number}.example]
"""


def start(count: int) -> tuple[float, int]:
    """Return the seconds until /readyz responds, and KiB of resident memory one second later."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tenants").mkdir()
        for number in range(count):
            (folder / "tenants" / f"org{number}.yaml").write_text(_TENANT.format(number=number))
        port = free_port()
        (folder / "portal.yaml").write_text(
            f"public_url: http://localhost:{port}\nlisten: 127.0.0.1:{port}\ntenants: {folder}/tenants\n"
            f"database: sqlite:///{folder}/portal.db\nkeys: {folder}/keys.json\n"
        )
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "serve", "--config", str(folder / "portal.yaml")],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_it_responds(f"http://127.0.0.1:{port}/readyz", process)
            took = time.perf_counter() - begun
            time.sleep(1)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
            process.wait(30)
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return took, int(memory.split()[1])


def python_alone() -> float:
    """Return the seconds to start the interpreter and import Tornado: the baseline of the run."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tornado.web"], check=True)
    return time.perf_counter() - begun


def main() -> int:
    baseline = statistics.median(python_alone() for _ in range(5))
    print(f"interpreter with Tornado: {baseline:.2f} s")
    met = True
    for count, limit in ((2, 1.0), (1000, 3.0)):
        runs = [start(count) for _ in range(5)]
        took = statistics.median(run[0] for run in runs)
        memory = statistics.median(run[1] for run in runs) / 1024
        met = met and took <= limit
        print(
            f"{count:5} tenants: ready after {took:.2f} s ({took / baseline:.1f} × the interpreter alone; "
            f"required: ≤ {limit:.0f} s), {memory:.0f} MiB"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
