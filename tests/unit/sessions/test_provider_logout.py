"""A provider ends only logins of the issuer, registration and tenant that its logout token names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from portal.oidc.errors import LogoutTokenReplayed
from portal.oidc.logout_token import LogoutNotice
from portal.secret import Secret
from portal.sessions.provider_logout import ProviderLogoutService
from portal.stores.model import Login
from tests.kit.samples import START, sample_login, sample_provider
from tests.unit.sessions.refreshing import Scene, refreshing

DIRECTORIES = ("https://login.example/1/", "https://login.example/2/")
PROVIDER = sample_provider(issuer="https://login.example/common/")


@dataclass
class ReadingRelyingParty:
    """Accepts every logout token as this notice."""

    notice: LogoutNotice

    async def read_logout_token(self, providers: object, token: Secret) -> LogoutNotice:
        return self.notice


async def ended(scene: Scene, notice: LogoutNotice, logins: dict[str, Login]) -> set[str]:
    """The names of the logins that are deleted when the tenant acme receives a logout token."""
    for login in logins.values():
        await scene.working.put_login(login)
    service = ProviderLogoutService(
        store=scene.working,
        vault=scene.vault,
        relying_party=ReadingRelyingParty(notice),  # type: ignore[arg-type]
        tokens=scene.refresher(),
        clock=scene.clock,
    )
    await service.end_by_token("acme", [PROVIDER], Secret("token"))
    with pytest.raises(LogoutTokenReplayed):
        await service.end_by_token("acme", [PROVIDER], Secret("token"))
    _, kept = await scene.working.read((), [login.id for login in logins.values()], now=START)
    return {name for name, login in logins.items() if login.id not in kept}


@pytest.mark.parametrize("named_by", ["sid", "subject", "both"])
@pytest.mark.gen_test
async def test_a_logout_token_ends_only_logins_of_its_issuer_registration_and_tenant(
    tmp_path: Path, named_by: str
) -> None:
    async with refreshing(tmp_path) as scene:

        def login(name: str, **changes: object) -> Login:
            made = sample_login(
                session=name,
                issuer=DIRECTORIES[0],
                registration=PROVIDER.registration,
                sid=scene.vault.sid_hash("acme", PROVIDER.issuer, "sid-1"),
            )
            return replace(made, **changes)  # type: ignore[arg-type]

        logins = {
            "named": login("named"),
            "another directory": login("another directory", issuer=DIRECTORIES[1]),
            "another registration": login("another registration", registration="another"),
            "another tenant": login("another tenant", tenant="globex"),
            "another user and session": login("another user and session", sid="other", subject="user-2"),
        }
        notice = LogoutNotice(
            provider=PROVIDER,
            issuer=DIRECTORIES[0],
            jti="j",
            sid=None if named_by == "subject" else "sid-1",
            subject=None if named_by == "sid" else "user-1",
            acceptable_until=START + 60,
        )
        assert await ended(scene, notice, logins) == {"named"}
