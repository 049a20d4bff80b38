"""clients/js: its own tests, the file that the portal serves, and the package."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from scripts.client_js import ROOT, SERVED, minified, node

PACKAGE = ROOT / "clients" / "js"


def npm(*arguments: str, folder: Path) -> str:
    program = node()
    cli = program.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        (program, cli, *arguments), cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_name_of_no_example_lists_those_that_exist() -> None:
    script = ROOT / "scripts" / "example.sh"
    for name in ("nothing", "../docs", ""):
        done = subprocess.run(("bash", script, name), capture_output=True, encoding="utf-8")
        assert done.returncode == 1
        for existing in ("htmx", "react-vite", "vanilla"):
            assert f"make example NAME={existing}" in done.stderr


def test_the_served_file_is_made_from_the_source() -> None:
    assert SERVED.read_text() == minified(), "run python scripts/client_js.py"


def test_the_tests_of_the_package_pass() -> None:
    report = npm("test", "--silent", folder=PACKAGE)
    assert "fail 0" in report
    assert "pass 0" not in report


def test_the_package_has_the_module_and_its_types_and_nothing_else(tmp_path: Path) -> None:
    (packed,) = json.loads(npm("pack", "--json", "--pack-destination", str(tmp_path), folder=PACKAGE))
    assert {file["path"] for file in packed["files"]} == {
        "README.md",
        "package.json",
        "src/portal.d.ts",
        "src/portal.js",
    }
    assert (tmp_path / packed["filename"]).stat().st_size > 0
