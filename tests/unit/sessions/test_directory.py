"""A registration is identified by its provider id, issuer and client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from portal.oidc.issuer import IssuerTemplate
from portal.oidc.provider import Provider
from portal.oidc.relying_party import RelyingParty
from portal.sessions.credentials import new_binding
from portal.sessions.directory import accepting_registration, live_registration
from portal.sessions.login_access import AllowedLogins
from portal.sessions.logout import LogoutService
from portal.stores.store import Store
from tests.kit.samples import SampleDirectory, sample_login, sample_provider, sample_session
from tests.unit.sessions.refreshing import DEADLINE, refreshing
from tests.unit.sessions.test_login_access import NOBODY
from tests.unit.sessions.test_registration import OURS, THEIRS

PROVIDER = sample_provider()
LOGIN = sample_login(provider=PROVIDER.id, registration=PROVIDER.registration, issuer=PROVIDER.issuer)


@pytest.mark.parametrize(
    ("provider", "is_live"),
    [
        (PROVIDER, True),
        (replace(PROVIDER, label="another", scopes=("openid", "email")), True),
        (replace(PROVIDER, client_id="another"), False),
        (replace(PROVIDER, issuer="https://another.example"), False),
        (None, False),
    ],
)
def test_a_registration_is_live_while_provider_issuer_and_client_are_unchanged(
    provider: Provider | None, is_live: bool
) -> None:
    directory = SampleDirectory({PROVIDER.id: provider} if provider else {})
    assert live_registration(directory, LOGIN) == (provider if is_live else None)
    assert accepting_registration(directory, LOGIN) == (provider if is_live else None)


def test_an_unlisted_directory_is_not_accepted_under_a_live_registration() -> None:
    template = IssuerTemplate("https://login.example/{tenantid}/v2.0", frozenset([OURS]))
    shared = replace(PROVIDER, issuer_template=template)
    directory = SampleDirectory({shared.id: shared})
    for tenant_id, accepted in ((OURS, shared), (THEIRS, None)):
        login = replace(
            LOGIN, registration=shared.registration, issuer=f"https://login.example/{tenant_id}/v2.0"
        )
        assert live_registration(directory, login) == shared
        assert accepting_registration(directory, login) == accepted


@pytest.mark.gen_test
@pytest.mark.parametrize("replaced", [False, True])
async def test_tokens_are_revoked_only_at_the_registration_that_issued_them(
    tmp_path: Path, replaced: bool
) -> None:
    """A replaced client or provider receives no tokens when a rule ends the login."""
    async with refreshing(tmp_path) as scene:
        provider = replace(scene.provider, client_id="another") if replaced else scene.provider
        directory = SampleDirectory({provider.id: provider}, NOBODY)
        store = cast(Store, scene.store)
        allowed = AllowedLogins(store=store, tokens=scene.refresher(), directory=directory)
        assert not allowed.allows(scene.login)
        await allowed.wait_until_idle(DEADLINE)
        assert scene.party.revoked == ([] if replaced else ["refresh-1"])


class PartyWithLogoutPage:
    """A fake provider with a logout page."""

    async def logout_url(self, provider: Provider, **parameters: object) -> str:
        return f"https://login.example/logout?client_id={provider.client_id}"


@pytest.mark.gen_test
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_logout_contacts_only_the_registration_of_the_login(tmp_path: Path, replaced: bool) -> None:
    async with refreshing(tmp_path) as scene:
        provider = replace(scene.provider, client_id="another") if replaced else scene.provider
        logouts = LogoutService(
            store=cast(Store, scene.store),
            vault=scene.vault,
            relying_party=cast(RelyingParty, PartyWithLogoutPage()),
            directory=SampleDirectory({provider.id: provider}),
            tokens=scene.refresher(),
            clock=scene.clock,
        )
        url = await logouts.end_login(
            sample_session(id=scene.login.session),
            scene.login.tenant,
            signed_out_url=lambda tenant: f"https://portal.example/t/{tenant}/signed-out",
            binding=new_binding(),
        )
        assert await scene.stored() is None
        assert (url is None) == replaced
        assert scene.party.revoked == ([] if replaced else ["refresh-1"])
