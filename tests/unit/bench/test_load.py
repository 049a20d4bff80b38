"""The output of wrk, and figures from /proc."""

from __future__ import annotations

import os
import time

import pytest

from bench.load import Load, LoadFailed, cpu_seconds, open_descriptors, parse_wrk, resident_bytes

PRINTED = """\
Running 2s test @ http://127.0.0.1:8080/200
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     7.57ms   26.64ms 181.62ms   93.90%
    Req/Sec    38.50k    14.20k   55.56k    66.67%
  70361 requests in 2.02s, 23.82MB read
Requests/sec:  34893.60
"""


def test_calls_and_seconds_are_read() -> None:
    assert parse_wrk(PRINTED) == Load(70361, 2.02)


@pytest.mark.parametrize(("text", "seconds"), [("900.50ms", 0.9005), ("1.50m", 90.0)])
def test_wrk_chooses_the_unit_of_time(text: str, seconds: float) -> None:
    assert parse_wrk(PRINTED.replace("2.02s", text)).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "line",
    [
        "  Non-2xx or 3xx responses: 3\n",
        "  Socket errors: connect 0, read 5, write 0, timeout 0\n",
    ],
)
def test_a_failed_call_spoils_the_measurement(line: str) -> None:
    with pytest.raises(LoadFailed, match=line.strip()):
        parse_wrk(PRINTED + line)


@pytest.mark.parametrize("text", ["", PRINTED.replace("70361", "0")])
def test_no_call_is_no_measurement(text: str) -> None:
    with pytest.raises(LoadFailed):
        parse_wrk(text)


def test_cpu_time_grows_with_work_and_not_with_waiting() -> None:
    me = os.getpid()
    before, begun = cpu_seconds(me), time.process_time()
    while time.process_time() < begun + 0.05:
        pass
    assert cpu_seconds(me) - before == pytest.approx(time.process_time() - begun, abs=0.02)


def test_descriptors_and_memory_of_a_process_are_counted() -> None:
    me = os.getpid()
    before = open_descriptors(me)
    pipe = os.pipe()
    try:
        assert open_descriptors(me) == before + 2
    finally:
        for descriptor in pipe:
            os.close(descriptor)
    assert resident_bytes(me) > 1_000_000
