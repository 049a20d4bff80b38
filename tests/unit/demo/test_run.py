"""`portal demo` with arguments that prevent its start."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from portal.cli.main import main
from portal.demo.command import demo_command


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "8080", "127.0.0.1:99999", "unix:/tmp/x", "127.0.0.1:"])
def test_the_demo_listens_on_this_machine_only(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--listen", listen]) == 2
    assert listen in capsys.readouterr().err


def test_a_portal_port_in_use_is_reported_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["demo", "--listen", f"127.0.0.1:{port}"]) == 3
    errors = capsys.readouterr().err
    assert f"The address 127.0.0.1:{port} is in use." in errors
    assert "demo --listen 127.0.0.1:9080" in errors


@pytest.mark.parametrize("url", ["ftp://portal.example", "http://portal.example", "https://a.example/x", "x"])
def test_a_public_url_is_one_that_the_settings_accept(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--public-url", url]) == 2
    assert "--public-url: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "by_make", "command"),
    [
        ("portal", False, "portal demo --data DIR"),
        ("/opt/portal/bin/portal", False, "portal demo --data DIR"),
        (".venv/bin/portal", False, ".venv/bin/portal demo --data DIR"),
        ("/code/portal/__main__.py", False, "python -m portal demo --data DIR"),
        (".venv/bin/portal", True, "make demo DATA=DIR"),
    ],
)
def test_messages_name_the_command_that_the_user_has(
    program: str, by_make: bool, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "demo"])
    monkeypatch.setenv("PATH", "/usr/bin:/opt/portal/bin")
    monkeypatch.setenv("DEMO_STARTED_BY", "make" if by_make else "")
    assert demo_command("--data", "DIR") == command


def test_a_data_folder_that_cannot_be_created_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--data", str(tmp_path / "file" / "x"), "--listen", "127.0.0.1:0"]) == 3
    assert "--data" in capsys.readouterr().err
