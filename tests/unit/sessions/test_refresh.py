"""One token request at a time per login; a logout wins; an outage of a provider ends no login."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.errors import LoginRequired, OutboundRefused, PortalError, StoreUnavailable
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.errors import (
    LoginTooLarge,
    MetadataRejected,
    ProviderUnavailable,
    RefreshRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.provider import Provider, Refreshed, TokenSet
from portal.secret import Secret
from portal.sessions.login_size import MAX_LOGIN_BYTES
from portal.sessions.opened_tokens import OpenedTokens
from portal.sessions.provider_breaker import FAILURE_THRESHOLD
from portal.sessions.refresh import WAIT_SECONDS, TokenRefresher
from portal.sessions.refresh_lease import LeaseTimes
from portal.stores.by_url import store_for
from portal.stores.model import Login
from portal.stores.store import Store
from tests.kit.samples import (
    START,
    ManualClock,
    SampleDirectory,
    sample_login,
    sample_provider,
    sample_session,
    sample_tokens,
)

Response = Callable[[TokenSet], Awaitable[TokenSet]]


class ScriptedRelyingParty:
    """A fake provider that counts refreshes; `gate` delays the responses, `error` makes them fail."""

    def __init__(self) -> None:
        self.refreshes = 0
        self.revoked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def refresh(self, provider: Provider, tokens: TokenSet, *, subject: str) -> Refreshed:
        self.refreshes += 1
        number = self.refreshes + 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        new = replace(
            tokens,
            access_token=Secret(f"access-{number}"),
            refresh_token=Secret(f"refresh-{number}"),
            expires_at=START + 100_000,
        )
        return Refreshed(new)

    async def revoke(self, provider: Provider, token: Secret, *, hint: str) -> bool:
        self.revoked.append(token.reveal())
        return True


@dataclass
class Scene:
    store: Store
    vault: Vault
    party: ScriptedRelyingParty
    clock: ManualClock
    provider: Provider
    login: Login

    def refresher(
        self,
        *,
        wait: float = WAIT_SECONDS,
        may_refresh: Callable[[], bool] = lambda: True,
        **times: float,
    ) -> TokenRefresher:
        return TokenRefresher(
            store=self.store,
            vault=self.vault,
            relying_party=self.party,  # type: ignore[arg-type]
            directory=SampleDirectory({self.provider.id: self.provider}),
            clock=self.clock,
            times=LeaseTimes(**{"poll": 0.005, **times}),
            wait=wait,
            may_refresh=may_refresh,
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)

    async def stored(self) -> Login | None:
        _, logins = await self.store.read((), (self.login.id,), now=self.clock())
        return logins.get(self.login.id)


@asynccontextmanager
async def scene(folder: Path, **token_changes: object) -> AsyncIterator[Scene]:
    clock = ManualClock()
    store = store_for(f"sqlite:///{folder}/portal.db", clock=clock)
    await store.open()
    try:
        vault = Vault(KeyRing.load_or_create(folder / "keys.json"))
        login = sample_login()
        tokens = sample_tokens(**token_changes)
        login = replace(
            login, tokens=vault.seal_tokens(login.id, tokens), access_expires_at=tokens.expires_at
        )
        await store.add_session(sample_session())
        await store.put_login(login)
        yield Scene(store, vault, ScriptedRelyingParty(), clock, sample_provider(), login)
    finally:
        await store.close()


@pytest.mark.gen_test
async def test_a_token_that_is_valid_for_longer_than_the_margin_is_not_refreshed(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        tokens = await s.refresher().get_valid(s.login, s.provider)
        assert tokens.access_token.reveal() == "access-1"
        assert s.party.refreshes == 0


@pytest.mark.gen_test
async def test_a_token_within_the_margin_is_refreshed_and_stored_with_its_new_refresh_token(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(31)
        refresher = s.refresher()
        assert (await refresher.get_valid(s.login, s.provider)).access_token.reveal() == "access-1"
        await refresher.wait_until_idle(5)
        stored = await s.stored()
        assert stored is not None
        opened = s.vault.open_tokens(stored.id, stored.tokens)
        assert opened.refresh_token == Secret("refresh-2")
        assert stored.access_expires_at == opened.expires_at
        assert stored.lease_owner is None
        assert stored.version > s.login.version
        assert not refresher._leases._owners._active, "one entry per refresh would remain in memory"


@pytest.mark.gen_test
async def test_S5_a_hundred_callers_in_one_process_make_one_token_request(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        refresher = s.refresher()
        responses = await asyncio.gather(*(refresher.get_valid(s.login, s.provider) for _ in range(100)))
        assert {tokens.access_token.reveal() for tokens in responses} == {"access-2"}
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_S5_many_refreshers_on_one_store_make_one_token_request(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        refreshers = [s.refresher() for _ in range(8)]
        responses = await asyncio.gather(
            *(refresher.get_valid(s.login, s.provider) for refresher in refreshers for _ in range(12))
        )
        assert {tokens.access_token.reveal() for tokens in responses} == {"access-2"}
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_a_stale_login_after_a_refresh_causes_no_second_request(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        await s.refresher().get_valid(s.login, s.provider)
        tokens = await s.refresher().get_valid(s.login, s.provider)
        assert tokens.access_token.reveal() == "access-2"
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_S7_a_logout_during_a_refresh_wins_and_the_new_tokens_are_revoked(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refreshing = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        while not s.party.refreshes:
            await asyncio.sleep(0)
        await s.store.delete_login(s.login.session, s.login.tenant)
        s.party.gate.set()
        with pytest.raises(LoginRequired):
            await refreshing
        assert await s.stored() is None
        assert s.party.revoked == ["refresh-2"]


@pytest.mark.gen_test
async def test_S7_a_new_login_made_during_a_refresh_is_not_overwritten(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refreshing = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        while not s.party.refreshes:
            await asyncio.sleep(0)
        again = replace(
            s.login, subject="user-2", version=77, tokens=s.vault.seal_tokens(s.login.id, sample_tokens())
        )
        await s.store.put_login(again)
        s.party.gate.set()
        with pytest.raises(LoginRequired):
            await refreshing
        assert await s.stored() == again


@pytest.mark.gen_test
async def test_S6_a_refused_refresh_token_ends_the_login(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.error = RefreshRejected("invalid_grant")
        with pytest.raises(RefreshRejected):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_an_unexpected_error_of_a_background_refresh_is_logged(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(45)
        s.party.error = RuntimeError("a bug")
        refresher = s.refresher()
        with capture_logs() as lines:
            await refresher.get_valid(s.login, s.provider)
            await refresher.wait_until_idle(5)
        assert [(line["event"], line["exc_info"]) for line in lines] == [("refresh_broken", s.party.error)]


@pytest.mark.gen_test
async def test_a_refused_refresh_token_that_another_process_has_rotated_does_not_end_the_login(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        s.party.error = RefreshRejected("invalid_grant")
        refreshing = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        while not s.party.refreshes:
            await asyncio.sleep(0)
        current = await s.stored()
        assert current is not None
        newer = sample_tokens(access_token=Secret("access-9"), expires_at=START + 9000)
        rotated = replace(current, tokens=s.vault.seal_tokens(current.id, newer), version=current.version + 1)
        assert await s.store.swap_login(rotated, expected_version=current.version)
        s.party.gate.set()
        assert (await refreshing).access_token == Secret("access-9")


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (ProviderUnavailable("503"), 503, "The sign-in service of this organisation does not respond"),
        (
            TokenRequestRejected("invalid_client", "secret expired"),
            502,
            "The sign-in service did not accept the portal",
        ),
        (TokenResponseMalformed("no access_token"), 502, TokenResponseMalformed.title),
        (MetadataRejected("another issuer"), 502, MetadataRejected.title),
        (OutboundRefused("a private address"), 502, OutboundRefused.title),
    ],
    ids=lambda value: value.code if isinstance(value, PortalError) else "",
)
@pytest.mark.gen_test
async def test_while_the_provider_fails_a_valid_token_is_used_and_after_expiry_its_failure_is_reported(
    tmp_path: Path, error: PortalError, status: int, title: str
) -> None:
    async with scene(tmp_path) as s:
        s.party.error = error
        s.clock.advance(45)
        refresher = s.refresher()
        assert (await refresher.get_valid(s.login, s.provider)).access_token.reveal() == "access-1"
        s.clock.advance(20)
        with pytest.raises(type(error)) as failed:
            await refresher.get_valid(s.login, s.provider)
        assert (failed.value.status, failed.value.title) == (status, title)
        assert (failed.value.retry_after is not None) == (status == 503)
        stored = await s.stored()
        assert stored is not None
        assert stored.lease_owner is None
        s.party.error = None
        assert (await refresher.get_valid(stored, s.provider)).access_token.reveal() == "access-3"


@pytest.mark.gen_test
async def test_a_token_that_the_api_refused_is_refreshed_before_its_expiry(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        tokens = await s.refresher().get_valid(s.login, s.provider, refused=Secret("access-1"))
        assert tokens.access_token.reveal() == "access-2"


@pytest.mark.gen_test
async def test_a_token_that_the_api_refuses_soon_after_its_refresh_is_not_refreshed_again(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        refresher = s.refresher()
        new = await refresher.get_valid(s.login, s.provider, refused=Secret("access-1"))
        stored = await s.stored()
        assert stored is not None
        s.clock.advance(29)
        assert await refresher.get_valid(stored, s.provider, refused=new.access_token) == new
        assert s.party.refreshes == 1
        s.clock.advance(1)
        await refresher.get_valid(stored, s.provider, refused=new.access_token)
        assert s.party.refreshes == 2


@pytest.mark.gen_test
async def test_without_a_refresh_token_an_expired_login_ends(tmp_path: Path) -> None:
    async with scene(tmp_path, refresh_token=None) as s:
        s.clock.advance(45)
        assert (await s.refresher().get_valid(s.login, s.provider)).access_token.reveal() == "access-1"
        s.clock.advance(20)
        with pytest.raises(LoginRequired):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_a_caller_times_out_with_a_clear_error_when_no_process_finishes(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        await s.store.acquire_lease(s.login.id, owner="stuck", seconds=900)
        with pytest.raises(ProviderUnavailable) as waited:
            await s.refresher(wait=0.05).get_valid(s.login, s.provider)
        assert waited.value.retry_after is not None
        with pytest.raises(ProviderUnavailable, match="no process"):
            await s.refresher(max_wait=0.05).get_valid(s.login, s.provider)


@pytest.mark.gen_test
async def test_a_call_whose_token_is_valid_never_waits_for_the_refresh(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(45)
        s.party.gate.clear()
        refresher = s.refresher()
        for _ in range(5):
            async with asyncio.timeout(5):
                tokens = await refresher.get_valid(s.login, s.provider)
            assert tokens.access_token.reveal() == "access-1"
        await s.until(lambda: s.party.refreshes)
        s.party.gate.set()
        await refresher.wait_until_idle(5)
        stored = await s.stored()
        assert stored is not None
        assert (await refresher.get_valid(stored, s.provider)).access_token.reveal() == "access-2"
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_a_valid_token_is_used_while_another_process_holds_the_lease(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(45)
        await s.store.acquire_lease(s.login.id, owner="stuck", seconds=900)
        refresher = s.refresher()
        tokens = await asyncio.wait_for(refresher.get_valid(s.login, s.provider), 5)
        assert tokens.access_token.reveal() == "access-1"
        await refresher.wait_until_idle(5)


@pytest.mark.gen_test
async def test_the_result_of_a_slow_refresh_is_stored_after_every_caller_timed_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher(wait=0.02)
        for _ in range(3):
            with pytest.raises(ProviderUnavailable) as waited:
                await refresher.get_valid(s.login, s.provider)
            assert (waited.value.status, waited.value.retry_after) == (503, 5)
        s.party.gate.set()
        await refresher.wait_until_idle(5)
        stored = await s.stored()
        assert stored is not None
        assert (await refresher.get_valid(stored, s.provider)).access_token.reveal() == "access-2"
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_a_token_that_the_api_refused_is_not_used_when_the_refresh_is_slow(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.party.gate.clear()
        refresher = s.refresher(wait=0.02)
        with pytest.raises(ProviderUnavailable) as failure:
            await refresher.get_valid(s.login, s.provider, refused=Secret("access-1"))
        assert failure.value.retry_after
        s.party.gate.set()
        await refresher.wait_until_idle(5)


@pytest.mark.gen_test
async def test_a_token_that_the_api_refused_is_not_used_when_the_refresh_fails(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        refresher = s.refresher()
        s.party.error = RefreshRejected("refused", error="invalid_grant")
        for retry_after in (10, 5, 5):
            with pytest.raises(ProviderUnavailable) as failure:
                await refresher.get_valid(s.login, s.provider, refused=Secret("access-1"))
            assert failure.value.retry_after == retry_after
        assert s.party.refreshes == 1
        assert (await refresher.get_valid(s.login, s.provider)).access_token.reveal() == "access-1"


@pytest.mark.gen_test
async def test_S6_a_refusal_while_the_access_token_is_valid_ends_the_login_when_it_is_repeated(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(45)
        s.party.error = RefreshRejected("refused", error="invalid_grant")
        refresher = s.refresher()
        for _ in range(3):  # no second request at once
            assert (await refresher.get_valid(s.login, s.provider)).access_token.reveal() == "access-1"
            await refresher.wait_until_idle(5)
        assert s.party.refreshes == 1
        assert await s.stored() is not None
        s.clock.advance(6)
        await refresher.get_valid(s.login, s.provider)
        await refresher.wait_until_idle(5)
        assert s.party.refreshes == 2
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_a_refusal_that_is_not_repeated_does_not_end_the_login(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(45)
        s.party.error = RefreshRejected("refused", error="invalid_grant")
        refresher = s.refresher()
        await refresher.get_valid(s.login, s.provider)
        await refresher.wait_until_idle(5)
        s.party.error = None
        s.clock.advance(6)
        await refresher.get_valid(s.login, s.provider)
        await refresher.wait_until_idle(5)
        stored = await s.stored()
        assert stored is not None
        assert (await refresher.get_valid(stored, s.provider)).access_token.reveal() == "access-3"


@pytest.mark.gen_test
async def test_S6_a_refusal_after_the_access_token_has_expired_ends_the_login(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.error = RefreshRejected("refused", error="access_denied")
        with pytest.raises(RefreshRejected):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_a_refresh_token_in_a_malformed_response_is_stored(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        malformed = TokenResponseMalformed("no access_token")
        malformed.refresh_token = Secret("refresh-9")
        s.party.error = malformed
        with pytest.raises(TokenResponseMalformed):
            await s.refresher().get_valid(s.login, s.provider)
        stored = await s.stored()
        assert stored is not None
        opened = s.vault.open_tokens(stored.id, stored.tokens)
        assert (opened.access_token, opened.refresh_token) == (Secret("access-1"), Secret("refresh-9"))
        assert stored.lease_owner is None


@pytest.mark.gen_test
async def test_a_host_with_a_wrong_clock_refreshes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        refresher = s.refresher(may_refresh=lambda: False)
        s.clock.advance(45)
        assert (await refresher.get_valid(s.login, s.provider)).access_token.reveal() == "access-1"
        s.clock.advance(20)
        with pytest.raises(StoreUnavailable, match="clock"):
            await refresher.get_valid(s.login, s.provider)
        assert s.party.refreshes == 0


@pytest.mark.gen_test
async def test_a_failing_provider_receives_few_requests(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.error = ProviderUnavailable("503")
        refresher = s.refresher()
        for _ in range(20):
            with pytest.raises(ProviderUnavailable) as failed:
                await refresher.get_valid(s.login, s.provider)
            assert failed.value.retry_after is not None
        assert s.party.refreshes == FAILURE_THRESHOLD
        stored = await s.stored()
        assert stored is not None
        assert stored.lease_owner is None


@pytest.mark.gen_test
async def test_no_call_waits_for_a_failing_provider_while_a_request_is_running(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher(wait=0.02)
        with pytest.raises(ProviderUnavailable):
            await refresher.get_valid(s.login, s.provider)
        for _ in range(FAILURE_THRESHOLD):
            with contextlib.suppress(ProviderUnavailable), refresher._breaker.request(s.provider.key):
                raise ProviderUnavailable("others fail")
        with pytest.raises(ProviderUnavailable, match="in a row"):
            await refresher.get_valid(s.login, s.provider)
        s.party.gate.set()
        await refresher.wait_until_idle(5)
        stored = await s.stored()
        assert stored is not None
        assert (await refresher.get_valid(stored, s.provider)).access_token.reveal() == "access-2"


# --- when a token is refreshed


@pytest.mark.parametrize(
    ("lifetime", "margin"),
    [(3600.0, 30.0), (300.0, 30.0), (299.0, 29.9), (60.0, 6.0), (30.0, 3.0), (0.0, 0.0)],
)
def test_a_token_is_refreshed_30_seconds_before_its_expiry_or_in_the_last_tenth_of_its_lifetime(
    lifetime: float, margin: float
) -> None:
    tokens = sample_tokens(expires_at=START + lifetime, issued_at=START)
    assert tokens.margin == pytest.approx(margin)
    assert not tokens.usable_at(START + lifetime - margin)
    assert lifetime == 0 or tokens.usable_at(START + lifetime - margin - 0.01)
    assert tokens.valid_at(START + lifetime - 0.01)
    assert not tokens.valid_at(START + lifetime)


@pytest.mark.gen_test
async def test_a_token_with_a_lifetime_of_30_seconds_is_not_refreshed_at_every_call(tmp_path: Path) -> None:
    async with scene(tmp_path, expires_at=START + 30, issued_at=START) as s:
        refresher = s.refresher()
        for _ in range(26):
            await refresher.get_valid(s.login, s.provider)
            await refresher.wait_until_idle(5)
            s.clock.advance(1)
        assert s.party.refreshes == 0
        s.clock.advance(1.5)
        await refresher.get_valid(s.login, s.provider)
        await refresher.wait_until_idle(5)
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_a_login_touched_during_its_refresh_still_gets_the_new_tokens(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refreshing = asyncio.ensure_future(s.refresher().get_valid(s.login, s.provider))
        while not s.party.refreshes:
            await asyncio.sleep(0)
        current = await s.stored()
        assert current is not None
        touched = replace(current, expires_at=current.expires_at + 5, version=current.version + 1)
        assert await s.store.swap_login(touched, expected_version=current.version)
        s.party.gate.set()
        await refreshing
        stored = await s.stored()
        assert stored is not None
        assert stored.expires_at == touched.expires_at
        assert s.vault.open_tokens(stored.id, stored.tokens).access_token == Secret("access-2")


@pytest.mark.gen_test
async def test_a_cancelled_caller_does_not_cancel_the_refresh_of_the_others(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.clock.advance(61)
        s.party.gate.clear()
        refresher = s.refresher()
        cancelled = asyncio.ensure_future(refresher.get_valid(s.login, s.provider))
        waiting = asyncio.ensure_future(refresher.get_valid(s.login, s.provider))
        while not s.party.refreshes:
            await asyncio.sleep(0)
        cancelled.cancel()
        s.party.gate.set()
        assert (await waiting).access_token.reveal() == "access-2"
        assert s.party.refreshes == 1


@pytest.mark.gen_test
async def test_D5_a_login_that_became_too_large_to_store_ends_and_its_new_tokens_are_revoked(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        s.login = replace(s.login, claims={"groups": "g" * MAX_LOGIN_BYTES}, version=s.login.version + 1)
        assert await s.store.swap_login(s.login, expected_version=s.login.version - 1)
        s.clock.advance(61)
        with pytest.raises(RefreshRejected, match="at most 98304 are stored"):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() is None
        assert s.party.revoked == ["refresh-2"]


@pytest.mark.gen_test
async def test_D5_a_token_response_that_is_too_large_to_read_ends_the_login(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        s.party.error = LoginTooLarge("the token response has 200000 bytes")
        s.clock.advance(61)
        with pytest.raises(RefreshRejected, match="200000 bytes"):
            await s.refresher().get_valid(s.login, s.provider)
        assert await s.stored() is None


@pytest.mark.gen_test
async def test_D5_the_cache_of_decrypted_token_sets_is_limited(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        opened = OpenedTokens(s.vault, cache_bytes=1_000_000)
        logins = [replace(s.login, session=f"session-{number}") for number in range(30)]
        tokens = sample_tokens(id_token=Secret("i" * 30_000))
        sealed = [replace(one, tokens=s.vault.seal_tokens(one.id, tokens)) for one in logins]
        for login in sealed:
            assert opened.open(login) == tokens
        assert 0 < opened._opened.size <= 1_000_000
        assert opened.open(sealed[-1]) is opened.open(sealed[-1]), "decrypted once"


@pytest.mark.gen_test
async def test_D5_a_tenant_evicts_its_own_decrypted_token_sets_first(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        opened = OpenedTokens(s.vault, cache_bytes=1_000_000)
        kept = opened.open(s.login)
        tokens = sample_tokens(id_token=Secret("i" * 30_000))
        for number in range(30):
            other = replace(s.login, tenant="globex", session=f"session-{number}")
            opened.open(replace(other, tokens=s.vault.seal_tokens(other.id, tokens)))
        assert opened.open(s.login) is kept
