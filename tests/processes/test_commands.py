"""Commands in processes of their own: what they import, how fast they are, how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

VERSION = version("tenant-portal")
ROOT = Path(__file__).resolve().parents[2]


def portal(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "portal", *arguments]


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(portal("--version"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"portal {VERSION}\n")


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--version"], {"pydantic", "yaml", "rich", "tornado", "cryptography", "portal.config.settings"}),
        (["tenant", "schema"], {"tornado", "motor", "cryptography", "rich", "httptools", "watchfiles"}),
        (["tenant", "check", "tenants"], {"tornado", "motor", "cryptography", "rich", "httptools"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], heavy: set[str]) -> None:
    code = (
        "import sys; from portal.cli.main import main; main(sys.argv[1:]); "
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_portal_without_traces_imports_nothing_of_opentelemetry(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from portal.app import build; from portal.config.settings import Settings; "
        "folder = pathlib.Path(sys.argv[1]); (folder / 'tenants').mkdir(); "
        "database = f'sqlite:///{folder}/portal.db'; "
        "built = build(Settings(tenants=folder / 'tenants', database=database, keys=folder / 'keys.json')); "
        "assert built.portal.traces is None; "
        "print(sorted({'opentelemetry', 'google.protobuf', 'requests'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stderr.splitlines()[-1], done.returncode) == ("[]", 0)


def test_ctrl_c_ends_a_command_quietly() -> None:
    code = (
        "import signal, sys, time, unittest.mock, portal.cli.main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background job
        "def serve(settings, **options):\n  print('ready', flush=True)\n  time.sleep(60)\n"
        "with unittest.mock.patch('portal.serving.serve', serve):\n"
        "  sys.exit(portal.cli.main.main(['serve']))\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_help_appears_quickly() -> None:
    began = os.times().children_user
    subprocess.run(portal("--help"), cwd=ROOT, capture_output=True, check=True)
    assert os.times().children_user - began < 0.5


def test_the_last_line_of_an_invitation_is_the_setup_link(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    environ |= {"PORTAL_DATABASE": f"sqlite:///{tmp_path}/portal.db", "PORTAL_TENANTS": str(tmp_path)}
    done = subprocess.run(
        portal("tenant", "invite", "initech", "--name", "Bill"),
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"http://localhost:8080/setup/[A-Za-z0-9_-]{43}", last)
    assert "/setup/" not in done.stderr
    assert "URLs use the default http://localhost:8080" in done.stderr
