"""Listening sockets: at every address of a name or none, with a clear message when it is not possible."""

from __future__ import annotations

import contextlib
import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.errors import StartupError
from portal.ops.listening import ListeningSockets
from portal.ops.sockets import listening_sockets


@contextlib.contextmanager
def listening(listen: str) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(one) for one in listening_sockets(listen, choose="choose another")]


def refusal(listen: str) -> StartupError:
    with pytest.raises(StartupError) as refused, listening(listen):
        pytest.fail("it listens")
    assert refused.value.exit_code == 3
    return refused.value


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` has two addresses, also on machines without IPv6."""
    resolve = socket.getaddrinfo

    def resolve_twice(host: str, *rest: int) -> list[object]:
        assert host == "localhost"
        return [found for address in ("127.0.0.1", "127.0.0.2") for found in resolve(address, *rest)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_twice)


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def test_a_port_in_use_is_reported_with_the_remedy() -> None:
    with listening("127.0.0.1:0") as (other,):
        error = refusal(f"127.0.0.1:{port_of(other)}")
        assert error.message == f"The address 127.0.0.1:{port_of(other)} is in use."
        assert error.remedy == "Stop what listens there, or choose another."


@pytest.mark.usefixtures("two_addresses")
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_a_name_uses_all_of_its_addresses_or_none(address: str) -> None:
    with listening("localhost:0") as both:
        assert [one.getsockname()[0] for one in both] == ["127.0.0.1", "127.0.0.2"]
        (port,) = {port_of(one) for one in both}
    with socket.create_server((address, port)):
        error = refusal(f"localhost:{port}")
        assert error.message == f"The address localhost:{port} ({address}) is in use."
    with listening(f"localhost:{port}") as again:
        assert [port_of(one) for one in again] == [port, port]


def test_an_address_of_another_machine_and_an_invalid_name_are_refused() -> None:
    assert (
        refusal("192.0.2.1:8080").message == "The address 192.0.2.1:8080 is not an address of this machine."
    )
    assert refusal("192.0.2.1:8080").remedy == "Choose another."
    assert refusal("no..name:8080").message == (
        "The address no..name:8080 cannot be used: this is not a host name."
    )


# --- paths


def connect_to(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_file_is_accessible_to_the_group(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}"):
        connect_to(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_path_in_a_missing_folder_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    error = refusal(f"unix:{tmp_path}/{folder}/portal.sock")
    assert error.message == (
        f"The address unix:{tmp_path}/{folder}/portal.sock cannot be used: there is no folder "
        f"{tmp_path}/{folder}."
    )
    assert error.remedy == "Make the folder, or choose another."


def test_a_path_in_use_by_a_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}"):
        error = refusal(f"unix:{path}")
        assert error.message == f"The address unix:{path} is in use."
        assert error.remedy == "Stop what listens there, or choose another."
        connect_to(path)


def test_a_path_of_a_server_with_a_full_queue_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as waiting:
        server.bind(str(path))
        server.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        assert refusal(f"unix:{path}").message == f"The address unix:{path} is in use."
        assert path.is_socket()


def test_a_socket_file_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    with pytest.raises(ConnectionRefusedError):
        connect_to(path)
    with listening(f"unix:{path}"):
        connect_to(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_a_file_that_is_not_a_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "portal.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    error = refusal(f"unix:{path}")
    assert re.search(r"cannot be used: the file exists and is not a socket\.$", error.message)
    assert path.is_symlink() or path.exists()


# --- beside another portal


def accepted(one: socket.socket) -> int:
    count = 0
    while True:
        try:
            one.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def connect_often(port: int, stack: contextlib.ExitStack, times: int = 40) -> int:
    for _ in range(times):
        stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    return times


@pytest.mark.skipif(sys.platform != "linux", reason="other systems share addresses in other ways")
def test_a_socket_beside_another_gets_connections_when_it_listens_and_all_when_the_other_stops() -> None:
    with contextlib.ExitStack() as stack:
        old = ListeningSockets.open("127.0.0.1:0", choose="-")
        stack.callback(old.close)
        port = port_of(old.sockets[0])
        new = ListeningSockets.open(f"127.0.0.1:{port}", choose="-", beside=True)
        stack.callback(new.close)
        assert connect_often(port, stack) == accepted(old.sockets[0])

        new.begin()
        new.begin()  # each worker calls it
        count = connect_often(port, stack)
        assert accepted(old.sockets[0]) + accepted(new.sockets[0]) == count

        old.refuse()
        assert connect_often(port, stack) == accepted(new.sockets[0])
        old.close()
        assert connect_often(port, stack) == accepted(new.sockets[0])

        third = ListeningSockets.open(f"127.0.0.1:{port}", choose="-", beside=True)
        stack.callback(third.close)
        third.begin()
        new.refuse()
        assert connect_often(port, stack) == accepted(third.sockets[0])


def test_an_address_is_shared_only_on_purpose() -> None:
    with listening("127.0.0.1:0") as (other,):
        port = port_of(other)
        ListeningSockets.open(f"127.0.0.1:{port}", choose="-", beside=True).close()
        assert refusal(f"127.0.0.1:{port}").message == f"The address 127.0.0.1:{port} is in use."
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        with pytest.raises(StartupError, match="is in use"):
            ListeningSockets.open(f"127.0.0.1:{port_of(stranger)}", choose="-", beside=True)


def test_a_socket_file_is_replaced_when_the_other_portal_serves(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}") as (old,):
        new = ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
        connect_to(path)
        assert accepted(old) == 1
        new.begin()
        new.begin()
        connect_to(path)
        assert (accepted(old), accepted(new.sockets[0])) == (0, 1)
        new.close()
        assert [one.name for one in tmp_path.iterdir()] == ["portal.sock"]


def test_a_socket_file_is_that_of_the_former_portal_again_if_the_new_one_stops_first(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}") as (old,):
        new = ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
        new.begin()
        newest = ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
        newest.begin()
        newest.begin()
        connect_to(path)
        assert accepted(newest.sockets[0]) == 1
        for one, its_former in ((newest, new.sockets[0]), (new, old)):
            one.refuse()
            accepted(its_former)  # what asked whether it listens
            connect_to(path)
            assert accepted(its_former) == 1
            one.close()
        assert [one.name for one in tmp_path.iterdir()] == ["portal.sock"]


def test_a_socket_file_stays_when_the_former_portal_has_ended_or_another_has_taken_it(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}") as (old,):
        new = ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
        new.begin()
        newest = ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
        newest.begin()
        new.refuse()
        connect_to(path)
        assert (accepted(old), accepted(newest.sockets[0])) == (0, 1)
        new.close()
    newest.refuse()
    newest.close()
    assert [one.name for one in tmp_path.iterdir()] == ["portal.sock"]
    with listening(f"unix:{path}"):
        connect_to(path)


def test_a_portal_that_takes_over_and_cannot_start_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    with listening(f"unix:{path}") as (old,):
        ListeningSockets.open(f"unix:{path}", choose="-", beside=True).close()
        assert [one.name for one in tmp_path.iterdir()] == ["portal.sock"]
        connect_to(path)
        assert accepted(old) == 1


def test_only_a_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "portal.sock"
    path.write_text("mine")
    with pytest.raises(StartupError, match="exists and is not a socket"):
        ListeningSockets.open(f"unix:{path}", choose="-", beside=True)
    assert path.read_text() == "mine"


def test_a_socket_that_another_process_keeps_open_still_accepts_after_a_stop() -> None:
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        passed = ListeningSockets.open("-", choose="-", passed=[kept.dup()])
        passed.refuse()
        passed.close()
        connect_often(port_of(kept), stack, 5)
        kept.setblocking(False)
        assert accepted(kept) == 5
