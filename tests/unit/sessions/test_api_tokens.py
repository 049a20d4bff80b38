"""Access tokens for further APIs in the token set of a login: one request at a time, and nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from portal.errors import LoginRequired, StoreUnavailable
from portal.keys.token_codec import decode_tokens, encode_tokens
from portal.oidc.api_errors import (
    ApiLoginRequired,
    ApiTokenMismatch,
    ApiTokenRefused,
    ApiTokenTooLarge,
)
from portal.oidc.api_target import ApiTarget, ApiTokenMethod, ApiTokenRequest
from portal.oidc.errors import ClientRejected, LoginTooLarge, ProviderUnavailable, RefreshRejected
from portal.oidc.provider import Provider, ProviderMetadata, Refreshed, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions import token_storing
from portal.sessions.api_tokens import MIN_AGE, RETRY_SECONDS, ApiTokens
from portal.sessions.login_size import MAX_LOGIN_BYTES, fitting
from portal.sessions.provider_breaker import FAILURE_THRESHOLD
from portal.sessions.refresh import TokenRefresher
from portal.stores.model import Login
from tests.kit.samples import START, sample_tokens
from tests.unit.oidc.signing import signed
from tests.unit.sessions.refreshing import DEADLINE, RotatingRelyingParty, Scene, refreshing

CALLS = 100
NAMES = ("billing", "catalog", "stock")


def target(name: str, *methods: ApiTokenMethod) -> ApiTarget:
    return ApiTarget(name, audience=name, methods=methods or (ApiTokenMethod.REFRESH_AUDIENCE,))


class ApiParty(RotatingRelyingParty):
    """A provider that issues access tokens for the API that a request names, or for `answers_for`."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.running = 0
        self.answers_for: str | None = None
        self.size = 0
        self.exchange_error: Exception | None = None
        self.supports_exchange = False

    def issued(self, name: str) -> TokenSet:
        number = len(self.requests)
        token = signed({"aud": self.answers_for or name, "number": number, "filler": "x" * self.size})
        return TokenSet(token, START + 1000 + number, issued_at=START)

    async def refresh(
        self, provider: Provider, tokens: TokenSet, *, subject: str, api: ApiTokenRequest | None = None
    ) -> Refreshed:
        self.requests.append(api.target.name if api is not None else "")
        self.running += 1
        assert self.running == 1, "two token requests at a time"
        await asyncio.sleep(0)
        try:
            refreshed = await super().refresh(provider, tokens, subject=subject)
        finally:
            self.running -= 1
        if api is None:  # a response has nothing of APIs
            return replace(refreshed, tokens=replace(refreshed.tokens, api_tokens={}, api_scopes={}))
        issued = replace(self.issued(api.target.name), refresh_token=refreshed.tokens.refresh_token)
        return replace(refreshed, tokens=issued)

    async def exchange(self, provider: Provider, tokens: TokenSet, api: ApiTarget) -> TokenSet:
        self.requests.append(f"exchange {api.name} {tokens.access_token.reveal()}")
        if self.exchange_error is not None:
            raise self.exchange_error
        return self.issued(api.name)

    async def metadata(self, provider: Provider) -> ProviderMetadata:
        return ProviderMetadata("i", "a", "t", "j", token_exchange_supported=self.supports_exchange)


class ApiScene:
    """One process: a refresher, and the access tokens of APIs that it gets."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        if not isinstance(scene.party, ApiParty):
            scene.party = ApiParty()
        self.party: ApiParty = scene.party
        self.refresher: TokenRefresher = scene.refresher()
        party = cast(RelyingParty, self.party)
        self.tokens = ApiTokens(tokens=self.refresher, relying_party=party, clock=scene.clock)

    async def get(self, api: ApiTarget, **options: Secret) -> TokenSet:
        login = await self.scene.stored() or self.scene.login
        return await self.tokens.get(login, self.scene.provider, api, **options)

    async def held(self) -> TokenSet:
        login = await self.scene.stored()
        assert login is not None
        return self.scene.vault.open_tokens(login.id, login.tokens)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_storing, "MAX_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "OLDEST_PAUSE", 0.05)
    monkeypatch.setattr(token_storing, "WAIT_SECONDS", 0.1)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.gen_test(timeout=60)
async def test_a_hundred_calls_of_three_apis_make_one_request_each(tmp_path: Path, processes: int) -> None:
    async with refreshing(tmp_path) as scene:
        scenes = [ApiScene(scene) for _ in range(processes)]
        calls = [
            scenes[number % processes].tokens.get(scene.login, scene.provider, target(name))
            for name in NAMES
            for number in range(CALLS)
        ]
        found = await asyncio.gather(*calls)
        assert sorted(scenes[0].party.requests) == list(NAMES)
        assert len({one.access_token for one in found}) == len(NAMES)
        assert not scenes[0].party.reused
        assert len((await scenes[0].held()).api_tokens) == len(NAMES)


@pytest.mark.gen_test
async def test_the_login_and_its_apis_are_refreshed_one_after_the_other(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        scene.clock.advance(61)
        own, api = await asyncio.gather(
            one.refresher.get_valid(scene.login, scene.provider), one.get(target("billing"))
        )
        assert own.access_token != Secret("access-1")
        assert sorted(one.party.requests) == ["", "billing"]
        held = await one.held()
        assert held.access_token == own.access_token
        assert [kept.access_token for kept in held.api_tokens.values()] == [api.access_token]


@pytest.mark.gen_test
async def test_a_refresh_of_the_login_keeps_the_tokens_of_its_apis(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        api = await one.get(target("billing"))
        scene.clock.advance(61)
        login = await scene.stored()
        assert login is not None
        await one.refresher.get_valid(login, scene.provider)
        assert await one.get(target("billing")) == api
        assert one.party.requests == ["billing", ""]


@pytest.mark.gen_test
async def test_another_process_that_refreshed_only_an_api_has_not_refreshed_the_login(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one, other = ApiScene(scene), ApiScene(scene)
        scene.clock.advance(61)
        await one.get(target("billing"))
        # with the login as it was before: the token set has changed since, the access token has not
        tokens = await other.refresher.get_valid(scene.login, scene.provider)
        assert tokens.access_token == Secret("access-3")


@pytest.mark.gen_test
async def test_a_rotated_refresh_token_of_an_api_is_kept_while_the_database_is_away(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        scene.store.fail("swap_login")
        api = await one.get(target("billing"))
        assert await scene.stored_refresh_token() == "refresh-1"
        assert await one.get(target("billing")) == api
        with pytest.raises(StoreUnavailable):
            await one.get(target("catalog"))
        scene.store.recover()
        await scene.wait_until_stored("refresh-2")
        assert (one.party.requests, one.party.revoked) == (["billing"], [])
        assert (await one.held()).api_tokens.keys() == {target("billing").key}


@pytest.mark.gen_test
async def test_a_logout_during_the_request_wins(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.gate.clear()
        getting = asyncio.ensure_future(one.get(target("billing")))
        await scene.until(lambda: one.party.requests)
        await scene.working.delete_login(scene.login.session, scene.login.tenant)
        one.party.gate.set()
        with pytest.raises(LoginRequired):
            await getting
        assert await scene.stored() is None
        await one.refresher.wait_until_idle(DEADLINE)
        assert one.party.revoked == ["refresh-2"]


@pytest.mark.gen_test
async def test_a_token_for_another_api_is_not_stored_but_the_refresh_token_is(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.answers_for = "login"
        with pytest.raises(ApiTokenMismatch):
            await one.get(target("billing"))
        held = await one.held()
        assert not held.api_tokens
        assert held.refresh_token == Secret("refresh-2")
        assert held.access_token == Secret("access-1")
        with pytest.raises(ApiTokenMismatch):
            await one.get(target("billing"))
        assert one.party.requests == ["billing"]
        scene.clock.advance(RETRY_SECONDS)
        one.party.answers_for = None
        assert (await one.get(target("billing"))).access_token
        assert one.party.requests == ["billing"] * 2


@pytest.mark.gen_test
async def test_a_refused_token_is_replaced_when_it_is_old_enough(tmp_path: Path) -> None:
    async with refreshing(tmp_path, expires_at=START + 100_000) as scene:
        one = ApiScene(scene)
        first = await one.get(target("billing"))
        assert await one.get(target("billing"), refused=first.access_token) == first
        scene.clock.advance(MIN_AGE)
        assert await one.get(target("billing"), refused=Secret("another")) == first
        second = await one.get(target("billing"), refused=first.access_token)
        assert second.access_token != first.access_token
        assert one.party.requests == ["billing"] * 2


@pytest.mark.gen_test
async def test_an_exchange_uses_a_valid_access_token(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        scene.clock.advance(61)
        await one.get(target("billing", ApiTokenMethod.EXCHANGE))
        assert one.party.requests == ["", "exchange billing access-2"]
        assert (await one.held()).refresh_token == Secret("refresh-2")


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.gen_test
async def test_methods_are_tried_in_turn(tmp_path: Path, supported: bool) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.error = ApiTokenRefused("billing", "invalid_target", "")
        one.party.supports_exchange = supported
        methods = (ApiTokenMethod.REFRESH_AUDIENCE, ApiTokenMethod.EXCHANGE, ApiTokenMethod.LOGIN)
        if supported:
            assert await one.get(target("billing", *methods))
        else:
            with pytest.raises(ApiLoginRequired) as raised:
                await one.get(target("billing", *methods))
            assert "api=billing" in raised.value.url_back_to("acme", "/t/acme/")
        assert len(one.party.requests) == 1 + supported
        assert await scene.stored() is not None


@pytest.mark.gen_test
async def test_a_login_without_refresh_token_needs_another_login_where_one_helps(tmp_path: Path) -> None:
    async with refreshing(tmp_path, refresh_token=None) as scene:
        one = ApiScene(scene)
        with pytest.raises(ApiTokenRefused, match="has no refresh token"):
            await one.get(target("billing"))
        with pytest.raises(ApiLoginRequired):
            await one.get(target("catalog", ApiTokenMethod.REFRESH_AUDIENCE, ApiTokenMethod.LOGIN))
        assert not one.party.requests


@pytest.mark.gen_test
async def test_the_id_token_of_a_refresh_for_one_api_withdraws_no_claims(tmp_path: Path) -> None:
    """It was requested with the scopes of the API, which need not have those of the login."""
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.claims = {"sub": scene.login.subject}
        await one.get(target("billing"))
        stored, held = await scene.stored(), await one.held()
        assert stored is not None
        assert stored.claims == scene.login.claims
        assert held.id_token == scene.vault.open_tokens(scene.login.id, scene.login.tokens).id_token
        assert held.refresh_token == Secret("refresh-2")


@pytest.mark.gen_test
async def test_failures_of_one_api_pause_only_its_own_requests(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.error = ClientRejected("invalid_client", "")
        for _ in range(FAILURE_THRESHOLD):
            with pytest.raises(ClientRejected):
                await one.get(target("billing"))
        with pytest.raises(ProviderUnavailable):
            await one.get(target("billing"))
        assert one.party.requests == ["billing"] * FAILURE_THRESHOLD
        one.party.error = None
        scene.clock.advance(61)
        assert await one.refresher.get_valid(scene.login, scene.provider)
        assert await one.get(target("stock"))


@pytest.mark.gen_test
async def test_a_response_for_an_api_that_cannot_be_read_ends_the_login_at_once(tmp_path: Path) -> None:
    """The refresh token in it replaces that of the login, and is unknown."""
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.error = LoginTooLarge("the token response has 140000 bytes, at most 131072 are read")
        one.party.error.unread = True
        with pytest.raises(RefreshRejected, match="the token response has 140000 bytes"):
            await one.get(target("billing"))
        assert await scene.stored() is None


@pytest.mark.gen_test
async def test_an_added_token_is_stored_under_the_lease_of_the_login(tmp_path: Path) -> None:
    """A refresh in another process must not lose its refresh token because a token of an API was added."""
    async with refreshing(tmp_path) as scene:
        one, other = ApiScene(scene), ApiScene(scene)
        scene.clock.advance(61)
        one.party.gate.clear()
        refreshed = asyncio.ensure_future(one.refresher.get_valid(scene.login, scene.provider))
        await scene.until(lambda: one.party.requests)
        issued = TokenSet(signed({"aud": "billing"}), START + 1000, issued_at=START)
        adding = asyncio.ensure_future(
            other.tokens.add(scene.login, scene.provider, target("billing"), issued)
        )
        await asyncio.sleep(0.05)
        assert not adding.done()
        one.party.gate.set()
        await asyncio.gather(refreshed, adding)
        held = await one.held()
        assert held.refresh_token == Secret("refresh-2")
        assert held.api_tokens.keys() == {target("billing").key}


@pytest.mark.gen_test
async def test_a_token_that_makes_the_login_too_large_is_left_out(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.size = 45_000  # a JWT of 60 KB
        await one.get(target("billing"))
        with pytest.raises(ApiTokenTooLarge):
            await one.get(target("catalog"))
        held = await one.held()
        assert held.api_tokens.keys() == {target("billing").key}
        assert held.refresh_token == Secret("refresh-3")


@pytest.mark.gen_test
async def test_a_response_that_is_too_large_keeps_the_login_and_its_refresh_token(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        one.party.error = LoginTooLarge("access_token has 70000 characters")
        one.party.error.refresh_token = Secret("refresh-2")
        with pytest.raises(ApiTokenTooLarge):
            await one.get(target("billing"))
        assert await scene.stored_refresh_token() == "refresh-2"


@pytest.mark.gen_test
async def test_expired_tokens_of_apis_are_dropped(tmp_path: Path) -> None:
    async with refreshing(tmp_path) as scene:
        one = ApiScene(scene)
        login = await _with_expired(scene, "stock")
        await one.tokens.get(login, scene.provider, target("billing"))
        assert (await one.held()).api_tokens.keys() == {target("billing").key}


async def _with_expired(scene: Scene, name: str) -> Login:
    expired = TokenSet(Secret("old"), START - 1, issued_at=START - 100)
    tokens = sample_tokens(api_tokens={target(name).key: expired})
    login = replace(
        scene.login,
        tokens=scene.vault.seal_tokens(scene.login.id, tokens),
        version=scene.login.version + 1,
    )
    assert await scene.working.swap_login(login, expected_version=scene.login.version)
    return login


# --- the size and the format of the token set


def test_tokens_of_apis_give_way_when_the_login_grows() -> None:
    large = TokenSet(Secret("a" * 30_000), START)
    tokens = sample_tokens(api_tokens={"a": large, "b": large, "c": large})
    assert fitting({}, tokens) == tokens
    grown = replace(tokens, id_token=Secret("i" * 30_000))
    assert not fitting({}, grown).api_tokens
    assert fitting({}, grown, added="c").api_tokens.keys() == {"a", "b"}
    with pytest.raises(LoginTooLarge):
        fitting({}, replace(tokens, id_token=Secret("i" * MAX_LOGIN_BYTES)))


def test_a_token_set_with_tokens_of_apis_is_decoded_as_it_was_encoded() -> None:
    tokens = sample_tokens(api_tokens={"a" * 32: TokenSet(Secret("b"), START, scope=("c",), issued_at=1.0)})
    assert decode_tokens(encode_tokens(tokens)) == tokens


def test_a_token_set_without_tokens_of_apis_is_stored_as_before() -> None:
    assert "api_tokens" not in encode_tokens(sample_tokens())


# --- scopes that a step-up has added


class NarrowParty(ApiParty):
    """Refuses to exchange for the scope `write`."""

    async def exchange(self, provider: Provider, tokens: TokenSet, api: ApiTarget) -> TokenSet:
        issued = await super().exchange(provider, tokens, api)
        if "write" in api.scopes:
            raise ApiTokenRefused(api.name, "invalid_scope", "not this one")
        return replace(issued, scope=api.scopes)


def with_scopes(*scopes: str, method: ApiTokenMethod = ApiTokenMethod.EXCHANGE) -> ApiTarget:
    return replace(target("billing", method), scopes=scopes, step_up_scopes=("write",))


@pytest.mark.gen_test
async def test_an_added_scope_that_is_refused_does_not_keep_the_api_from_being_called(tmp_path: Path) -> None:
    api = with_scopes("read")
    changes = {"scope": ("read", "write"), "api_scopes": {api.key: ("write",)}}
    async with refreshing(tmp_path, **changes) as scene:
        scene.party = NarrowParty()
        one = ApiScene(scene)
        for _ in range(3):
            assert (await one.get(api)).scope == ("read",)
        assert len(one.party.requests) == 2, "each call does not ask again"
        scene.clock.advance(RETRY_SECONDS + 1)
        await one.get(api)
        assert len(one.party.requests) == 3


@pytest.mark.parametrize(
    ("scopes", "method", "granted", "expected"),
    [
        (("read",), ApiTokenMethod.EXCHANGE, ("read", "write"), ("read", "write")),
        (("read",), ApiTokenMethod.EXCHANGE, ("read",), ("read",)),
        (("read", "write"), ApiTokenMethod.EXCHANGE, ("read", "write"), ("read", "write")),
        ((), ApiTokenMethod.REFRESH_AUDIENCE, ("read", "write"), ()),
        ((), ApiTokenMethod.LOGIN, ("read", "write"), ("write",)),
    ],
)
@pytest.mark.gen_test
async def test_only_scopes_that_the_login_has_are_added_where_scopes_are_sent(
    tmp_path: Path,
    scopes: tuple[str, ...],
    method: ApiTokenMethod,
    granted: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    """RFC 6749 6."""
    api = with_scopes(*scopes, method=method)
    async with refreshing(tmp_path) as scene:
        tokens = replace(sample_tokens(), scope=granted, api_scopes={api.key: ("write",)})
        assert ApiScene(scene).tokens.wanted(tokens, api).scopes == expected
        of_another = replace(tokens, api_scopes={target("stock").key: ("write",)})
        assert ApiScene(scene).tokens.wanted(of_another, api) is api
        no_longer_listed = replace(api, step_up_scopes=("delete",))
        assert ApiScene(scene).tokens.wanted(tokens, no_longer_listed) is no_longer_listed


@pytest.mark.gen_test
async def test_added_scopes_survive_a_refresh(tmp_path: Path) -> None:
    async with refreshing(tmp_path, api_scopes={"key": ("write",)}) as scene:
        one = ApiScene(scene)
        scene.clock.advance(61)
        await one.refresher.get_valid(scene.login, scene.provider)
        assert (await one.held()).api_scopes == {"key": ("write",)}
