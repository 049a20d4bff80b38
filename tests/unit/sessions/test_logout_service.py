"""A logout contacts only the provider of the login."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.oidc.errors import ProviderUnavailable
from portal.oidc.provider import Provider, TokenSet
from portal.secret import Secret
from portal.sessions import logout, token_revocation
from portal.sessions.logout import LogoutService
from tests.kit.samples import START, SampleDirectory, sample_provider, sample_session
from tests.unit.sessions.refreshing import DEADLINE, Scene, refreshing

SIGNED_OUT = "https://portal.example/t/acme/signed-out"


@dataclass
class RecordingRelyingParty:
    """A fake provider with a logout page that records the requests."""

    revoked: list[tuple[str, str]] = field(default_factory=list)
    """Tokens with their token_type_hint."""
    id_tokens: list[Secret | None] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    refused: set[str] = field(default_factory=set)
    """Tokens that cannot be revoked."""
    at_once: int = 0
    most_at_once: int = 0

    async def revoke(self, provider: Provider, token: Secret, *, hint: str) -> bool:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await self.gate.wait()
        await asyncio.sleep(0)
        self.at_once -= 1
        if token.reveal() in self.refused:
            raise ProviderUnavailable("busy")
        self.revoked.append((token.reveal(), hint))
        return True

    async def logout_url(
        self, provider: Provider, *, id_token: Secret | None, post_logout_redirect_uri: str, state: str
    ) -> str:
        await self.gate.wait()
        self.id_tokens.append(id_token)
        self.states.append(state)
        return f"{provider.issuer}logout"


@asynccontextmanager
async def logging_out(
    folder: Path, provider: Provider, **token_changes: object
) -> AsyncIterator[tuple[LogoutService, RecordingRelyingParty, Scene]]:
    """A login at `sample_provider()`; `provider` is the current registration of the tenant."""
    async with refreshing(folder, **token_changes) as scene:
        party = RecordingRelyingParty()
        party.gate.set()
        scene.party = party  # type: ignore[assignment]
        service = LogoutService(
            store=scene.working,
            vault=scene.vault,
            relying_party=party,  # type: ignore[arg-type]
            directory=SampleDirectory({provider.id: provider}),
            tokens=scene.refresher(),
            clock=scene.clock,
        )
        yield service, party, scene


async def end(service: LogoutService) -> str | None:
    return await service.end_login(
        sample_session(), "acme", signed_out_url=lambda tenant: SIGNED_OUT, binding="b" * 43
    )


@pytest.mark.gen_test
async def test_a_logout_revokes_the_refresh_token_and_redirects_to_the_provider(tmp_path: Path) -> None:
    provider = sample_provider()
    async with logging_out(tmp_path, provider) as (service, party, scene):
        assert await end(service) == f"{provider.issuer}logout"
        assert party.revoked == [("refresh-1", "refresh_token")]
        assert party.id_tokens == [Secret("identity-1")]
        assert await scene.stored() is None


@pytest.mark.gen_test
async def test_of_two_sign_outs_at_the_same_time_one_is_reported(tmp_path: Path) -> None:
    ended: list[str] = []
    async with logging_out(tmp_path, sample_provider()) as (service, _, _):
        for _ in range(2):
            await service.end_login(
                sample_session(),
                "acme",
                signed_out_url=lambda tenant: SIGNED_OUT,
                binding="b" * 43,
                ended=lambda login: ended.append(login.tenant),
            )
    assert ended == ["acme"]


@pytest.mark.gen_test
async def test_without_a_refresh_token_a_logout_revokes_the_access_token(tmp_path: Path) -> None:
    async with logging_out(tmp_path, sample_provider(), refresh_token=None) as (service, party, _):
        await end(service)
        assert party.revoked == [("access-1", "access_token")]


def tokens_of_apis(count: int) -> dict[str, TokenSet]:
    """Access tokens for APIs; the first was got with the refresh token, the others by logins of their own."""
    return {
        f"key-{number}": TokenSet(Secret(f"api-{number}"), START + 60, issued_at=START, own_grant=number > 0)
        for number in range(count)
    }


@pytest.mark.gen_test
async def test_a_logout_revokes_the_tokens_of_apis_that_have_a_grant_of_their_own(tmp_path: Path) -> None:
    async with logging_out(tmp_path, sample_provider(), api_tokens=tokens_of_apis(7)) as (service, party, _):
        await end(service)
        assert party.revoked[0] == ("refresh-1", "refresh_token")
        assert sorted(party.revoked[1:]) == [(f"api-{number}", "access_token") for number in range(1, 7)]
        assert party.most_at_once <= 4


@pytest.mark.gen_test
async def test_a_token_that_cannot_be_revoked_keeps_no_other_from_it(tmp_path: Path) -> None:
    async with logging_out(tmp_path, sample_provider(), api_tokens=tokens_of_apis(4)) as (service, party, _):
        party.refused = {"refresh-1", "api-2"}
        with capture_logs() as lines:
            await end(service)
        assert [token for token, _ in party.revoked] == ["api-1", "api-3"]
        failures = [line for line in lines if line["event"] == "revocation_failed"]
        assert [line["error"] for line in failures] == ["ProviderUnavailable"] * 2
        assert "api-2" not in str(lines)


@pytest.mark.gen_test
async def test_a_logout_does_not_wait_for_a_provider_that_does_not_respond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logout, "_PROVIDER_SECONDS", 0.01)
    monkeypatch.setattr(token_revocation, "REVOKE_SECONDS", 0.01)
    async with logging_out(tmp_path, sample_provider()) as (service, party, scene):
        party.gate.clear()
        assert await asyncio.wait_for(end(service), DEADLINE) is None
        assert await scene.stored() is None


@pytest.mark.gen_test
async def test_after_the_last_provider_the_browser_stays_at_the_portal(tmp_path: Path) -> None:
    async with logging_out(tmp_path, sample_provider()) as (service, party, _):
        await end(service)
        with capture_logs() as lines:
            assert await service.next_step("acme", party.states[0], binding="b" * 43) is None
        assert lines == []


@pytest.mark.gen_test
async def test_a_second_logout_contacts_no_provider(tmp_path: Path) -> None:
    async with logging_out(tmp_path, sample_provider()) as (service, party, _):
        await end(service)
        assert await end(service) is None
        assert len(party.revoked) == 1


@pytest.mark.gen_test
async def test_tokens_of_a_replaced_registration_are_not_sent_and_the_login_ends(tmp_path: Path) -> None:
    replaced = replace(sample_provider(), issuer="https://login.elsewhere.example/")
    assert replaced.registration != sample_provider().registration
    async with logging_out(tmp_path, replaced) as (service, party, scene):
        assert await end(service) is None
        assert (party.revoked, party.id_tokens) == ([], [])
        assert await scene.stored() is None


@pytest.mark.gen_test
async def test_without_a_login_the_browser_can_still_sign_out_at_the_provider(tmp_path: Path) -> None:
    provider = sample_provider()
    async with logging_out(tmp_path, provider) as (service, party, scene):

        async def url(provider_id: str) -> str | None:
            return await service.logout_url_without_login(
                "acme", provider_id, signed_out_url=lambda tenant: SIGNED_OUT
            )

        assert await url(provider.id) == f"{provider.issuer}logout"
        assert await url("another") is None
        assert (party.revoked, party.id_tokens) == ([], [None])
        assert await scene.stored() == scene.login
