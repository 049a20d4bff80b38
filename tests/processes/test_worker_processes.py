"""Several worker processes: they stop in time, ended ones are replaced, none outlives its supervisor.

A supervisor forks, so each test runs one in a separate interpreter. All processes have ended when their
common standard output is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 15.0
_PRELUDE = """
import os, signal, sys, time
import structlog
from portal.ops import forking, processes
from portal.ops.listening import ListeningSockets

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

def say(word):
    os.write(1, f"{word}\\n".encode())  # one write call: lines of several workers are not mixed

def sleep_on():
    say(os.getpid())
    while True:
        time.sleep(60)

def ignoring_signals(start):
    start.serves()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep_on()

def stopping(start):
    start.serves()
    def leave(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop may follow a replacement at once
        say("leaves")
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
    sleep_on()

def only_first_stops(start):
    # the first worker that starts stops on SIGTERM, all others ignore it
    try:
        os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        ignoring_signals(start)
    stopping(start)

def only_once(code):
    # the first worker that starts serves; those after it end with the exit code
    def work(start):
        try:
            os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            while not os.path.exists(sys.argv[1] + ".serves"):
                time.sleep(0.01)
            say("ends")
            return code
        start.serves()
        open(sys.argv[1] + ".serves", "w").close()
        stopping(start)
    return work
"""


@contextlib.contextmanager
def supervisor(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An interpreter that runs `code`; all its processes are killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + code, *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=_SECONDS)


def pids(process: subprocess.Popen[bytes], count: int) -> set[int]:
    """The workers that have started."""
    assert process.stdout is not None
    return {int(process.stdout.readline()) for _ in range(count)}


def rest(process: subprocess.Popen[bytes]) -> str:
    """The output until all processes have ended."""
    output, _ = process.communicate(timeout=_SECONDS)
    return output.decode()


RUN = "\nprocesses._LONGEST_STOP = {seconds}\nsys.exit(processes.Supervisor({count}, {work}).run())\n"


def test_S11_a_worker_that_does_not_stop_is_killed() -> None:
    with supervisor(RUN.format(seconds=0.3, count=2, work="ignoring_signals")) as process:
        assert len(pids(process, 2)) == 2
        process.terminate()
        rest(process)
        assert process.returncode == signal.SIGKILL


def test_S11_workers_that_stop_in_time_are_not_killed() -> None:
    with supervisor(RUN.format(seconds=60, count=2, work="stopping")) as process:
        pids(process, 2)
        process.terminate()
        assert rest(process).split() == ["leaves"] * 2
        assert process.returncode == 0


def test_S11_a_worker_that_does_not_stop_is_killed_even_if_another_stops(tmp_path: Path) -> None:
    code = RUN.format(seconds=0.3, count=2, work="only_first_stops")
    with supervisor(code, str(tmp_path / "first")) as process:
        pids(process, 2)
        process.terminate()
        assert rest(process).split() == ["leaves"]
        assert process.returncode == signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is available on Linux only")
def test_S11_the_workers_of_a_killed_supervisor_stop() -> None:
    with supervisor(RUN.format(seconds=60, count=2, work="stopping")) as process:
        pids(process, 2)
        process.kill()
        assert (
            rest(process).split() == ["leaves"] * 2
        )  # they receive SIGTERM, so that they finish their requests


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is available on Linux only")
def test_S11_a_replaced_worker_stops_with_its_killed_supervisor() -> None:
    with supervisor(RUN.format(seconds=60, count=1, work="stopping")) as process:
        (first,) = pids(process, 1)
        os.kill(first, signal.SIGKILL)
        (second,) = pids(process, 1)
        assert second != first
        process.kill()
        assert rest(process).split() == ["leaves"]


@pytest.mark.parametrize("code", [1, 2, 3])
def test_S10_a_worker_that_ends_is_replaced_while_another_serves(tmp_path: Path, code: int) -> None:
    run = "\nprocesses._FIRST_PAUSE = 0.01" + RUN.format(seconds=60, count=2, work=f"only_once({code})")
    with supervisor(run, str(tmp_path / "first")) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode().strip() for _ in range(5)]
        assert sorted(lines, key=str.isdigit)[:4] == ["ends"] * 4
        assert process.poll() is None
        process.terminate()
        assert "leaves" in rest(process).split()
        assert process.returncode in {0, code}  # the last of the others may end just then


def test_S10_the_pauses_between_replacements_grow_up_to_a_limit() -> None:
    code = """
from unittest import mock
one = processes.Supervisor(1, lambda start: 0)
one._started = {1: 0.0}
with mock.patch.object(processes._log, "error") as logged:
    for life in [0.0] * 8 + [100.0]:
        one._plan(2, 3, life)
    one._started = {}
    one._failures = 9
    one._plan(2, 3, 0.0)
print(*(call.kwargs["replaced_in"] for call in logged.mock_calls))
"""
    with supervisor(code) as process:
        assert [float(word) for word in rest(process).split()] == [1, 2, 4, 8, 16, 30, 30, 30, 1, 5]


@pytest.mark.parametrize("code", [1, 2, 3])
def test_S10_a_first_start_that_fails_ends_with_its_exit_code(code: int) -> None:
    with supervisor(RUN.format(seconds=60, count=2, work=f"lambda start: {code}")) as process:
        assert rest(process) == ""
        assert process.returncode == code


def test_S10_SIGHUP_reaches_every_worker_and_stops_none() -> None:
    code = """
def reloading(start):
    start.serves()
    signal.signal(signal.SIGHUP, lambda number, frame: say("reloads"))
    sleep_on()
"""
    with supervisor(code + RUN.format(seconds=60, count=2, work="reloading")) as process:
        pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        assert [process.stdout.readline() for _ in range(2)] == [b"reloads\n"] * 2
        assert process.poll() is None


def test_S10_a_stop_closes_the_listening_sockets_of_the_supervisor() -> None:
    code = """
import socket
listening = socket.create_server(("127.0.0.1", 0))
def stopping_without_socket(start):
    listening.close()
    stopping(start)
def say_closed(number, frame, stop=processes.Supervisor._stop):
    stop(one, number, frame)
    say(listening.fileno())
one = processes.Supervisor(1, stopping_without_socket, sockets=[ListeningSockets([listening])])
one._stop = say_closed
sys.exit(one.run())
"""
    with supervisor(code) as process:
        pids(process, 1)
        process.terminate()
        assert sorted(rest(process).split()) == ["-1", "leaves"]


def test_S11_a_worker_whose_supervisor_has_died_does_not_begin() -> None:
    with supervisor("\nforking.end_with(os.getppid() + 1)\nsleep_on()\n") as process:
        assert rest(process) == ""
        assert process.returncode == 1


RELOAD = """
def renewed(start):
    # the second worker with new settings fails
    number = len(os.listdir(sys.argv[1]))
    open(f"{sys.argv[1]}/{number}", "x").close()
    if number == int(sys.argv[2]):
        say("fails")
        return 1
    stopping(start)

processes._FIRST_PAUSE = 0.01
sys.exit(processes.Supervisor(2, stopping, renew=lambda: processes.Renewed(renewed)).run())
"""


def test_S10_workers_with_new_settings_replace_all_others_even_if_one_fails(tmp_path: Path) -> None:
    with supervisor(RELOAD, str(tmp_path), "1") as process:
        former = pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        lines = [process.stdout.readline().decode().strip() for _ in range(5)]
        assert sorted(line for line in lines if not line.isdigit()) == ["fails", "leaves", "leaves"]
        assert former.isdisjoint(int(line) for line in lines if line.isdigit())
        process.terminate()
        assert rest(process).split() == ["leaves"] * 2
        assert process.returncode == 0


def test_S10_when_the_first_worker_with_new_settings_fails_the_others_stay(tmp_path: Path) -> None:
    with supervisor(RELOAD, str(tmp_path), "0") as process:
        former = pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == b"fails\n"
        dead = former.pop()
        os.kill(dead, signal.SIGKILL)
        (new,) = pids(process, 1)  # with the former settings: those would have made another file
        assert len(list(tmp_path.iterdir())) == 1
        os.kill(new, 0)
        process.terminate()
        assert rest(process).split() == ["leaves"] * 2


def test_S10_settings_that_are_read_again_replace_those_that_a_later_worker_cannot_serve(
    tmp_path: Path,
) -> None:
    """One of two workers has them by then; both it and the one with the first settings are replaced."""
    code = """
def first_only(start):
    try:
        os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        say("fails")
        return 1
    stopping(start)

def corrected(start):
    say("corrected")
    stopping(start)

works = [first_only, corrected]
def renew():
    return processes.Renewed(works.pop(0)) if works else None

processes._FIRST_PAUSE = processes._LONGEST_PAUSE = 3600.0
sys.exit(processes.Supervisor(2, stopping, renew=renew).run())
"""
    with supervisor(code, str(tmp_path / "first")) as process:
        former = pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        lines = [process.stdout.readline().decode().strip() for _ in range(3)]
        assert sorted(line for line in lines if not line.isdigit()) == ["fails", "leaves"]
        assert former.isdisjoint(int(line) for line in lines if line.isdigit())
        process.send_signal(signal.SIGHUP)
        lines = [process.stdout.readline().decode().strip() for _ in range(6)]
        words = sorted(line for line in lines if not line.isdigit())
        assert words == ["corrected", "corrected", "leaves", "leaves"]
        process.terminate()
        assert rest(process).split() == ["leaves"] * 2
        assert process.returncode == 0


def test_S10_when_corrected_settings_fail_too_the_workers_are_replaced_as_before(tmp_path: Path) -> None:
    code = """
def second_fails(start):
    number = len(os.listdir(sys.argv[1]))
    open(f"{sys.argv[1]}/{number}", "x").close()
    if number == 1:
        say("fails")
        return 1
    stopping(start)

def worse(start):
    say("worse")
    return 1

works = [second_fails, worse]
def renew():
    if not works:
        return None
    work = works.pop(0)
    return processes.Renewed(work, lambda: say(f"gives up {work.__name__}"))

processes._FIRST_PAUSE, processes._LONGEST_PAUSE = 0.5, 0.5
sys.exit(processes.Supervisor(2, stopping, renew=renew).run())
"""
    with supervisor(code, str(tmp_path)) as process:
        former = pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        lines = []
        while "fails" not in lines:
            lines.append(process.stdout.readline().decode().strip())
        process.send_signal(signal.SIGHUP)
        while lines.count("leaves") < 2 or sum(line.isdigit() for line in lines) < 2:
            lines.append(process.stdout.readline().decode().strip())
        assert former.isdisjoint(int(line) for line in lines if line.isdigit())
        assert "gives up second_fails" not in lines
        process.terminate()
        assert rest(process).split().count("leaves") == 2
        assert process.returncode == 0


def test_S10_a_worker_that_dies_while_settings_change_is_replaced_once(tmp_path: Path) -> None:
    code = """
def renewed(start):
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    start.serves()
    stopping(start)

processes._FIRST_PAUSE = 2.0
one = processes.Supervisor(2, stopping, renew=lambda: processes.Renewed(renewed))
tell = one._tell_manager
def telling():
    tell()
    if one._newcomer is not None and not os.path.exists(sys.argv[1]):
        say("died" if one._failures else "starts")
    if one._failures and not one._due and one._work is renewed and not one._outdated:
        say(f"active {len(one._active)}")
one._tell_manager = telling
sys.exit(one.run())
"""
    with supervisor(code, str(tmp_path / "serve")) as process:
        former = pids(process, 2)
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == b"starts\n"
        os.kill(min(former), signal.SIGKILL)
        lines: list[str] = []
        while "died" not in lines:
            lines.append(process.stdout.readline().decode().strip())
        (tmp_path / "serve").touch()
        while not lines[-1].startswith("active "):
            lines.append(process.stdout.readline().decode().strip())
        assert lines[-1] == "active 2"
        process.terminate()
        assert rest(process).split().count("leaves") == 2


def test_S10_a_SIGHUP_during_the_start_is_not_lost() -> None:
    code = """
forking.hold_hang_ups()
os.kill(os.getpid(), signal.SIGHUP)
def renew():
    say("reads again")
sys.exit(processes.Supervisor(1, stopping, renew=renew).run())
"""
    with supervisor(code) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode().strip() for _ in range(2)]
        assert sorted(lines, key=str.isdigit)[0] == "reads again"
        process.terminate()
        assert rest(process).split() == ["leaves"]
