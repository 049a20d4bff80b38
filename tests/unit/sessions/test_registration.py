"""A login is used only under the registration it was made under, and only for an allowed directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from portal.errors import LoginRequired
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.provider import Provider
from portal.oidc.relying_party import RelyingParty
from portal.outbound.client import OutboundClient
from portal.sessions.credentials import SessionCookie
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenRefresher
from portal.sessions.service import SessionService
from portal.stores.by_url import store_for
from portal.stores.model import Login
from tests.kit.samples import (
    ManualClock,
    SampleDirectory,
    sample_login,
    sample_provider,
    sample_session,
    sample_tokens,
)

OURS = "72f988bf-86f1-41af-91ab-2d7cd011db47"
THEIRS = "9188040d-6c67-4c5b-b112-36a304b66dad"


def shared_by(*directories: str) -> Provider:
    template = IssuerTemplate("https://login.example/{tenantid}/v2.0", frozenset(directories))
    return replace(
        sample_provider(), issuer="https://login.example/organizations/v2.0", issuer_template=template
    )


@asynccontextmanager
async def signed_in(
    folder: Path, provider: Provider, directory: str
) -> AsyncIterator[tuple[SessionService, SampleDirectory, SessionCookie, Login]]:
    """A session with a login of a user of this directory."""
    clock, http = ManualClock(), OutboundClient()
    store = store_for(f"sqlite:///{folder}/portal.db")
    await store.open()
    try:
        vault = Vault(KeyRing.load_or_create(folder / "keys.json"))
        relying_party = RelyingParty(http, clock=clock)
        session = sample_session()
        cookie = SessionCookie.new(session.id)
        login = replace(
            sample_login(),
            registration=provider.registration,
            issuer=f"https://login.example/{directory}/v2.0",
        )
        login = replace(login, tokens=vault.seal_tokens(login.id, sample_tokens()))
        await store.add_session(replace(session, secret_hash=cookie.secret_hash))
        await store.put_login(login)
        directory_of_tenants = SampleDirectory({login.provider: provider})
        service = SessionService(
            store=store,
            vault=vault,
            relying_party=relying_party,
            directory=directory_of_tenants,
            tokens=TokenRefresher(
                store=store,
                vault=vault,
                relying_party=relying_party,
                directory=directory_of_tenants,
                clock=clock,
            ),
            reader=BatchedReader(store, clock=clock),
            clock=clock,
            idle=3_600.0,
            absolute=43_200.0,
        )
        yield service, directory_of_tenants, cookie, login
    finally:
        await http.close()
        await store.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("allowed", [(OURS,), (OURS, THEIRS)])
async def test_a_login_of_an_allowed_directory_is_used(tmp_path: Path, allowed: Sequence[str]) -> None:
    async with signed_in(tmp_path, shared_by(*allowed), OURS) as (service, _, cookie, login):
        request_session = await service.open_session(cookie.value, login.tenant)
        assert request_session is not None
        assert request_session.login == login
        assert (await service.tokens(login)).access_token.reveal() == "access-1"


@pytest.mark.gen_test
async def test_logins_of_a_removed_directory_are_ignored_at_once(tmp_path: Path) -> None:
    async with signed_in(tmp_path, shared_by(OURS, THEIRS), THEIRS) as (service, tenants, cookie, login):
        tenants.providers[login.provider] = shared_by(OURS)
        request_session = await service.open_session(cookie.value, login.tenant)
        assert request_session is not None
        assert request_session.login is None
        with pytest.raises(LoginRequired):
            await service.tokens(login)
