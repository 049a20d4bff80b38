"""Which calls make a provider unhealthy, and what is said about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from portal.errors import OutboundBusy, OutboundRefused, PortalError
from portal.oidc import provider_health
from portal.oidc.api_target import ApiTarget
from portal.oidc.errors import (
    ClientKeyMissing,
    KeysRejected,
    MetadataRejected,
    ProviderUnavailable,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.health import Health, HealthState
from portal.oidc.provider import Provider
from portal.oidc.provider_health import FORGET_SECONDS, ProviderHealth
from portal.secret import Secret
from tests.kit.samples import START, ManualClock, sample_provider
from tests.unit.oidc.party import CALLBACK, Party, acme, held
from tests.unit.outbound.wire import http_response

ACME = sample_provider()
DOWN = ProviderUnavailable("POST https://login.acme.example/token: the provider responded with 503")


@dataclass
class Scene:
    """The health of providers, and what it reports."""

    clock: ManualClock = field(default_factory=ManualClock)
    live: dict[tuple[str, str], Provider] = field(default_factory=lambda: {("acme", "default"): ACME})
    reported: list[tuple[str, int]] = field(default_factory=list)
    health: ProviderHealth = field(init=False)

    def __post_init__(self) -> None:
        self.health = ProviderHealth(
            self.clock,
            lambda tenant, id_: self.live.get((tenant, id_)),
            lambda tenant, count: self.reported.append((tenant, count)),
        )

    async def call(self, error: PortalError | None = None, provider: Provider = ACME) -> None:
        async def respond() -> str:
            if error is not None:
                raise error
            return "response"

        with contextlib.suppress(PortalError):
            assert await self.health.record(provider, respond()) == "response"
            assert error is None

    async def fail(self, *pauses: float, provider: Provider = ACME) -> None:
        """Calls that fail, each after a pause in seconds."""
        for pause in pauses:
            self.clock.advance(pause)
            await self.call(DOWN, provider)

    def state(self) -> HealthState:
        return self.health.of(ACME).state


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_provider_that_was_not_called_is_unknown(scene: Scene) -> None:
    assert scene.health.of(ACME) == Health(HealthState.UNKNOWN)
    assert not scene.health.is_unhealthy(ACME)


@pytest.mark.gen_test
async def test_a_success_is_remembered(scene: Scene) -> None:
    await scene.call()
    assert scene.health.of(ACME) == Health(HealthState.FINE, last_success=START)


@pytest.mark.gen_test
async def test_three_failures_over_thirty_seconds_are_needed(scene: Scene) -> None:
    await scene.fail(0, 10, 19.9)
    assert scene.state() is HealthState.FAILING
    await scene.fail(0.1)
    assert scene.health.of(ACME) == Health(
        HealthState.UNHEALTHY,
        last_success=None,
        failing_since=START,
        last_failure=START + 30,
        failures=4,
        reason=DOWN.detail,
    )
    few = Scene()
    await few.fail(0, 60)
    assert few.state() is HealthState.FAILING
    await few.fail(0)
    assert few.state() is HealthState.UNHEALTHY


@pytest.mark.gen_test
async def test_one_success_between_failures_begins_the_count_again(scene: Scene) -> None:
    await scene.fail(0, 20)
    await scene.call()
    await scene.fail(1, 20, 8.9)
    assert scene.state() is HealthState.FAILING
    assert scene.health.of(ACME).last_success == START + 20


@pytest.mark.gen_test
async def test_a_change_is_logged_and_reported_once(scene: Scene) -> None:
    with capture_logs() as lines:
        await scene.fail(0, 20, 20, 20, 20)
        assert scene.health.is_unhealthy(ACME)
        await scene.call()
        await scene.call()
    assert [line["event"] for line in lines] == ["provider_unhealthy", "provider_healthy"]
    assert (lines[0]["tenant"], lines[0]["provider"], lines[0]["detail"]) == ("acme", "default", DOWN.detail)
    assert lines[1]["seconds"] == 80.0
    assert scene.reported == [("acme", 1), ("acme", 0)]
    assert not scene.health.is_unhealthy(ACME)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OutboundRefused("10.0.0.1 is not a public address"), HealthState.FAILING),
        (MetadataRejected("issuer differs"), HealthState.FAILING),
        (KeysRejected("the key set cannot be read"), HealthState.FAILING),
        (TokenResponseMalformed("the response is HTML"), HealthState.FAILING),
        (TokenRequestRejected("invalid_grant", "the refresh token has expired"), HealthState.FINE),
        (ClientKeyMissing("no key"), HealthState.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PortalError) else str(value),
)
@pytest.mark.gen_test
async def test_only_what_no_sign_in_survives_is_a_failure(
    scene: Scene, error: PortalError, state: HealthState
) -> None:
    await scene.call(error)
    assert scene.state() is state


@pytest.mark.gen_test
async def test_the_portals_own_limit_of_connections_says_nothing_about_a_provider(scene: Scene) -> None:
    busy = ProviderUnavailable("all connections are in use")
    busy.__cause__ = OutboundBusy("all connections are in use")
    await scene.call(busy)
    assert scene.state() is HealthState.UNKNOWN


@pytest.mark.gen_test
async def test_a_call_without_a_response_counts_before_it_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "SLOW_SECONDS", 0.001)
    responds = asyncio.Event()
    calls = [asyncio.ensure_future(scene.health.record(ACME, responds.wait())) for _ in range(2)]
    while scene.health.of(ACME).failures < 2:
        await asyncio.sleep(0.001)
    assert scene.health.of(ACME).reason.startswith("no response within 0.00")
    await scene.fail(31)
    assert scene.state() is HealthState.UNHEALTHY
    responds.set()
    await asyncio.gather(*calls)
    assert scene.state() is HealthState.FINE


@pytest.mark.gen_test
async def test_one_call_without_a_response_is_enough_when_it_hangs_for_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "SLOW_SECONDS", 0.001)
    responds = asyncio.Event()
    call = asyncio.ensure_future(scene.health.record(ACME, responds.wait()))
    while scene.health.of(ACME).failures < 3:
        assert scene.state() is not HealthState.UNHEALTHY
        await asyncio.sleep(0.001)
    assert scene.state() is HealthState.FAILING
    scene.clock.advance(30)
    while scene.state() is not HealthState.UNHEALTHY:
        await asyncio.sleep(0.001)
    responds.set()
    await call
    assert scene.state() is HealthState.FINE


@pytest.mark.gen_test
async def test_a_hanging_call_that_is_over_is_counted_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "SLOW_SECONDS", 0.001)
    counted = [0]

    async def hang() -> None:
        while not scene.health.of(ACME).failures:
            await asyncio.sleep(0.001)
        counted.append(scene.health.of(ACME).failures)
        raise DOWN

    with pytest.raises(ProviderUnavailable):
        await scene.health.record(ACME, hang())
    found = scene.health.of(ACME)
    assert (found.failures, found.reason) == (counted[-1], DOWN.detail)
    later = asyncio.Event()  # due after the next time that the call would have been counted
    asyncio.get_running_loop().call_later(0.002, later.set)
    await later.wait()
    assert scene.health.of(ACME).failures == counted[-1]


@pytest.mark.gen_test
async def test_a_hanging_call_that_fails_after_another_has_succeeded_is_no_new_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "SLOW_SECONDS", 0.001)
    over = asyncio.Event()

    async def hang() -> None:
        await over.wait()
        raise DOWN

    hanging = asyncio.ensure_future(scene.health.record(ACME, hang()))
    while not scene.health.of(ACME).failures:
        await asyncio.sleep(0.001)
    await scene.call()
    over.set()
    with pytest.raises(ProviderUnavailable):
        await hanging
    assert scene.state() is HealthState.FINE


@pytest.mark.gen_test
async def test_unhealthy_providers_of_a_tenant_are_counted(scene: Scene) -> None:
    second = sample_provider(id="second")
    await scene.fail(0, 20, 20)
    await scene.fail(0, 20, 20, provider=second)
    await scene.call()
    assert scene.reported == [("acme", 1), ("acme", 2), ("acme", 1)]
    assert len(scene.health.unhealthy(10)) == 1
    assert scene.health.warns([ACME, second])


@pytest.mark.gen_test
async def test_failures_are_counted_from_when_the_first_call_was_sent(scene: Scene) -> None:
    async def hang() -> None:
        scene.clock.advance(25)
        raise DOWN

    with pytest.raises(ProviderUnavailable):
        await scene.health.record(ACME, hang())
    await scene.fail(2, 3)
    assert scene.health.of(ACME).failing_since == START
    assert scene.state() is HealthState.UNHEALTHY


@pytest.mark.gen_test
async def test_another_registration_under_the_same_name_is_another_provider(scene: Scene) -> None:
    await scene.fail(0, 20, 20)
    moved = sample_provider(client_id="another")
    assert scene.health.of(moved) == Health(HealthState.UNKNOWN)
    assert not scene.health.warns([moved])
    with capture_logs() as lines:
        await scene.call(provider=moved)
    assert [line["event"] for line in lines] == ["provider_health_unknown"]
    assert scene.reported[-1] == ("acme", 0)


@pytest.mark.gen_test
async def test_a_provider_that_is_not_called_any_more_or_is_gone_is_forgotten(scene: Scene) -> None:
    other = sample_provider("globex")
    scene.live["globex", "default"] = other
    await scene.fail(0, 20, 20)
    await scene.fail(0, 20, 20, provider=other)
    assert [tenant for tenant, _, _ in scene.health.unhealthy(10)] == ["acme", "globex"]
    del scene.live["globex", "default"]
    await scene.health.forget_old()
    assert [tenant for tenant, _, _ in scene.health.unhealthy(10)] == ["acme"]
    scene.clock.advance(FORGET_SECONDS - 40)
    await scene.health.forget_old()
    assert scene.health.is_unhealthy(ACME)
    scene.clock.advance(1)
    with capture_logs() as lines:
        await scene.health.forget_old()
    assert [line["event"] for line in lines] == ["provider_health_unknown"]
    assert scene.state() is HealthState.UNKNOWN
    assert scene.reported[-1] == ("acme", 0)


@pytest.mark.gen_test
async def test_what_is_known_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """THREATS D7."""
    monkeypatch.setattr(provider_health, "_MOST", 2)
    await scene.fail(0, 20, 20)
    long = ProviderUnavailable("x" * 10_000)
    for tenant in ("globex", "initech"):
        await scene.call(long, sample_provider(tenant))
    assert scene.state() is HealthState.UNKNOWN
    assert scene.health.unhealthy(10) == []
    assert len(scene.health.of(sample_provider("initech")).reason) <= 300


# --- the calls of the relying party


async def _begin(party: Party) -> None:
    await party.relying_party.begin(party.provider(par=True), redirect_uri=CALLBACK)


async def _finish(party: Party) -> None:
    await party.finish(userinfo=True)


async def _refresh(party: Party) -> None:
    await party.refresh(held())


async def _revoke(party: Party) -> None:
    assert await party.relying_party.revoke(party.provider(), Secret("rt"), hint="refresh_token")


async def _client_token(party: Party) -> None:
    target = ApiTarget("billing", audience="billing")
    await party.relying_party.client_token(party.provider(), target)


Act = Callable[[Party], Awaitable[None]]


@pytest.mark.parametrize(
    ("path", "act"),
    [
        ("/.well-known/openid-configuration", _finish),
        ("/jwks_uri", _finish),
        ("/token", _finish),
        ("/userinfo", _finish),
        ("/token", _refresh),
        ("/par", _begin),
        ("/revoke", _revoke),
        ("/token", _client_token),
    ],
)
@pytest.mark.gen_test
async def test_every_call_of_a_provider_counts(path: str, act: Act) -> None:
    scene = Scene()
    metadata = {
        "pushed_authorization_request_endpoint": "par",
        "revocation_endpoint": "revoke",
        "userinfo_endpoint": "userinfo",
    }
    async with acme(calls_of=scene.health, failing={path: http_response(503)}) as party:
        party.metadata = {name: party.wire.url(f"/{end}") for name, end in metadata.items()}
        with pytest.raises(ProviderUnavailable):
            await act(party)
        found = scene.health.of(party.provider())
        assert (found.state, found.failures) == (HealthState.FAILING, 1)
        assert path in found.reason
        assert "503" in found.reason
        party.failing = {
            "/userinfo": http_response(200, '{"sub": "user-1"}', [("Content-Type", "application/json")]),
            "/par": http_response(201, '{"request_uri": "urn:one", "expires_in": 60}'),
        }
        party.time.advance(60)
        await act(party)
        assert scene.health.of(party.provider()).state is HealthState.FINE


@pytest.mark.gen_test
async def test_what_a_cache_returns_is_no_call() -> None:
    scene = Scene()
    async with acme(calls_of=scene.health) as party:
        await party.relying_party.metadata(party.provider())
        await scene.fail(1, provider=party.provider())
        await party.relying_party.metadata(party.provider())
        assert scene.health.of(party.provider()).failures == 1
