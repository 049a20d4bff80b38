"""What one process knows of the health of a provider, the others learn; one of them logs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from portal.errors import PortalError
from portal.oidc import shared_health
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.health import HealthState
from portal.oidc.provider import Provider
from portal.oidc.provider_health import FORGET_SECONDS, ProviderHealth
from portal.oidc.shared_health import LONGEST_NOTE, read_note, write_note
from tests.kit.samples import ManualClock, sample_provider

ACME = sample_provider()


@dataclass
class Board:
    """The notes of all processes."""

    notes: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Note:
    board: Board
    number: int

    def write(self, note: bytes) -> None:
        self.board.notes[self.number] = note

    def others(self) -> Iterable[bytes]:
        return [note for number, note in self.board.notes.items() if number != self.number]


@dataclass
class Host:
    """Some processes with one clock."""

    clock: ManualClock = field(default_factory=ManualClock)
    board: Board = field(default_factory=Board)
    processes: list[ProviderHealth] = field(init=False)

    def __post_init__(self) -> None:
        self.processes = [
            ProviderHealth(
                self.clock, lambda tenant, id_: sample_provider(tenant), others=Note(self.board, number)
            )
            for number in range(3)
        ]

    def exchange(self) -> None:
        """All look twice: once for what was said, once for the responses to it."""
        for process in self.processes * 2:
            process.exchange()

    def states(self, provider: Provider = ACME) -> list[HealthState]:
        return [process.of(provider).state for process in self.processes]

    def warnings(self) -> list[bool]:
        return [process.is_unhealthy(ACME) for process in self.processes]


@pytest.fixture
def host() -> Host:
    return Host()


async def call(process: ProviderHealth, *, fails: bool, provider: Provider = ACME) -> None:
    async def respond() -> None:
        if fails:
            raise ProviderUnavailable("the provider responded with 503")

    with contextlib.suppress(PortalError):
        await process.record(provider, respond())


async def fail(host: Host, *numbers: int, provider: Provider = ACME) -> None:
    """Three failures of each of these processes, within 40 seconds."""
    for pause in (0, 20, 20):
        host.clock.advance(pause)
        for number in numbers:
            await call(host.processes[number], fails=True, provider=provider)


@pytest.mark.gen_test
async def test_what_is_unhealthy_for_one_process_is_unhealthy_for_all(host: Host) -> None:
    await fail(host, 0)
    assert host.warnings() == [True, False, False]
    host.exchange()
    assert host.warnings() == [True, True, True]
    assert host.processes[1].warns([sample_provider("globex"), ACME])
    told = host.processes[2].of(ACME)
    assert told == host.processes[0].of(ACME)
    assert "503" in told.reason
    assert host.processes[1].unhealthy(5) == [("acme", "default", told)]
    assert host.processes[0].unhealthy(5) == [("acme", "default", told)]
    assert not host.processes[1].is_unhealthy(sample_provider("globex"))


@pytest.mark.gen_test
@pytest.mark.parametrize("succeeds", [0, 1, 2])
async def test_a_success_of_any_process_counts_for_all(host: Host, succeeds: int) -> None:
    await fail(host, 0, 1)
    host.exchange()
    host.clock.advance(1)
    await call(host.processes[succeeds], fails=False)
    host.exchange()
    assert host.warnings() == [False, False, False]
    assert HealthState.UNHEALTHY not in host.states()
    host.clock.advance(1)
    await call(host.processes[0], fails=True)
    assert host.warnings() == [False, False, False], "failures are counted again from the first"


@pytest.mark.gen_test
async def test_a_success_before_the_last_failure_of_another_process_ends_nothing(host: Host) -> None:
    await fail(host, 0)
    await call(host.processes[1], fails=False)
    host.clock.advance(1)
    await call(host.processes[0], fails=True)
    host.exchange()
    assert host.warnings() == [True, True, True]


@pytest.mark.gen_test
async def test_one_process_logs_each_change(host: Host) -> None:
    with capture_logs() as lines:
        await fail(host, 0, 1)
        host.exchange()
        await fail(host, 2)
        host.exchange()
        host.clock.advance(1)
        await call(host.processes[2], fails=False)
        host.exchange()
        host.exchange()
    assert [line["event"] for line in lines] == ["provider_unhealthy", "provider_healthy"]
    assert lines[1]["seconds"] == 81


@pytest.mark.gen_test
async def test_another_process_logs_the_recovery_when_the_one_that_logged_the_failure_has_ended(
    host: Host,
) -> None:
    with capture_logs() as lines:
        await fail(host, 0)
        host.exchange()
        await fail(host, 1)
        del host.processes[0], host.board.notes[0]
        host.exchange()
        await call(host.processes[0], fails=False)
    assert [line["event"] for line in lines] == ["provider_unhealthy", "provider_healthy"]


@pytest.mark.gen_test
async def test_what_the_others_know_no_more_is_forgotten(host: Host) -> None:
    await fail(host, 0)
    host.exchange()
    host.clock.advance(FORGET_SECONDS + 1)
    for process in host.processes:
        await process.forget_old()
    host.exchange()
    assert host.warnings() == [False, False, False]


@pytest.mark.gen_test
async def test_another_registration_under_the_same_name_is_not_warned_of(host: Host) -> None:
    await fail(host, 0)
    host.exchange()
    other = sample_provider(client_id="another")
    assert other.key == ACME.key
    assert not host.processes[1].is_unhealthy(other)
    assert host.processes[1].of(other).state is HealthState.UNKNOWN
    await call(host.processes[1], fails=False, provider=other)
    host.exchange()
    assert host.processes[2].is_unhealthy(ACME)


@pytest.mark.gen_test
async def test_a_note_has_room_for_those_that_fail_longest(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        await fail(host, 0, provider=sample_provider(f"tenant-{number}"))
    assert len(host.board.notes[0]) <= LONGEST_NOTE
    reports = read_note(host.board.notes[0])
    assert [report.tenant for report in reports] == [f"tenant-{number}" for number in range(len(reports))]
    assert write_note(reports) == host.board.notes[0]
    assert 20 < len(reports) < 100
    monkeypatch.setattr(shared_health, "LONGEST_NOTE", 1_000)
    assert len(read_note(write_note(reports))) < 10


@pytest.mark.gen_test
async def test_a_success_counts_at_once_in_its_process_and_before_the_failing_one_has_heard_of_it(
    host: Host,
) -> None:
    await fail(host, 0)
    host.exchange()
    host.clock.advance(1)
    await call(host.processes[1], fails=False)
    assert host.warnings() == [True, False, True]
    host.processes[1].exchange()
    host.processes[2].exchange()
    assert host.warnings() == [True, False, False]


@pytest.mark.gen_test
async def test_a_success_that_is_older_than_the_last_failure_ends_nothing(host: Host) -> None:
    await fail(host, 0)
    host.exchange()
    host.clock.advance(1)
    await call(host.processes[1], fails=False)
    host.processes[1].exchange()
    host.clock.advance(1)
    await call(host.processes[0], fails=True)
    host.processes[0].exchange()
    assert host.warnings()[0]


@pytest.mark.gen_test
async def test_the_last_process_that_forgets_a_provider_logs_it(host: Host) -> None:
    await fail(host, 0, 1)
    host.exchange()
    host.clock.advance(FORGET_SECONDS + 1)
    with capture_logs() as lines:
        await host.processes[0].forget_old()
        assert lines == []
        host.exchange()
        await host.processes[1].forget_old()
    assert [line["event"] for line in lines] == ["provider_health_unknown"]
