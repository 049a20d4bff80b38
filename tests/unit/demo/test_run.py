"""`portal demo` with arguments that prevent its start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from portal.cli.main import main


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
    assert "--listen" in errors


def test_a_data_folder_that_cannot_be_created_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--data", str(tmp_path / "file" / "x"), "--listen", "127.0.0.1:0"]) == 3
    assert "--data" in capsys.readouterr().err
