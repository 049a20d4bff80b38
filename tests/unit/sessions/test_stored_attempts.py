"""An attempt of one kind is never finished as one of another (THREATS A6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.errors import VaultError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.errors import AttemptUnknown
from portal.oidc.provider import AuthorizationRequest, ResponseMode
from portal.secret import Secret
from portal.sessions.sealed_attempt import SealedTest
from portal.sessions.stored_attempts import AttemptKind, StoredAttempts, kind_of_response, names_window
from portal.stores.model import LoginAttempt
from portal.stores.store import Store
from tests.kit.samples import START, ManualClock, sample_provider
from tests.kit.world import key_ring

URI = "https://portal.example/t/acme/callback"
BINDING = "b" * 43
TESTED = SealedTest('{"type": "admin"}', "fingerprint")


class OneAttempt:
    """The part of a store that keeps attempts."""

    def __init__(self) -> None:
        self.attempts: dict[str, LoginAttempt] = {}

    async def add_attempt(self, attempt: LoginAttempt) -> None:
        self.attempts[attempt.id] = attempt

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        return self.attempts.pop(attempt_id, None)


@dataclass
class Scene:
    store: OneAttempt
    vault: Vault
    by_kind: dict[AttemptKind, StoredAttempts]

    async def add(self, kind: AttemptKind, state: str) -> None:
        await self.by_kind[kind].add(
            sample_provider(),
            AuthorizationRequest("https://login.example", state, "n", Secret("v"), URI),
            return_to="/",
            binding=BINDING,
            login_hint=None,
            test=TESTED if kind is AttemptKind.TEST else None,
        )

    async def take(self, kind: AttemptKind, state: str) -> SealedTest | None:
        taken = await self.by_kind[kind].take("acme", {"state": [state]}, redirect_uri=URI, binding=BINDING)
        return taken.sealed.test


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    path = folder / "keys.json"
    path.touch(mode=0o600)
    path.write_bytes(key_ring())
    store, vault, clock = OneAttempt(), Vault(KeyRing.load(path)), ManualClock(START)
    made: Store = store  # type: ignore[assignment]  # the part that is used
    yield Scene(
        store,
        vault,
        {kind: StoredAttempts(kind, store=made, vault=vault, clock=clock) for kind in AttemptKind},
    )


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", AttemptKind)
async def test_an_attempt_is_taken_once_by_its_own_kind(tmp_path: Path, kind: AttemptKind) -> None:
    async with scene(tmp_path) as world:
        await world.add(kind, f"{kind.value}state")
        assert await world.take(kind, f"{kind.value}state") == (TESTED if kind is AttemptKind.TEST else None)
        with pytest.raises(AttemptUnknown):
            await world.take(kind, f"{kind.value}state")


@pytest.mark.gen_test
@pytest.mark.parametrize("kind", AttemptKind)
async def test_A6_another_kind_does_not_even_consume_an_attempt(tmp_path: Path, kind: AttemptKind) -> None:
    async with scene(tmp_path) as world:
        await world.add(kind, f"{kind.value}state")
        for other in AttemptKind:
            if other is not kind:
                with pytest.raises(AttemptUnknown, match="another kind"):
                    await world.take(other, f"{kind.value}state")
        assert len(world.store.attempts) == 1
        assert await world.take(kind, f"{kind.value}state") == (TESTED if kind is AttemptKind.TEST else None)


@pytest.mark.gen_test
async def test_A6_an_earlier_version_of_the_portal_cannot_open_a_test(tmp_path: Path) -> None:
    """It knows no kinds, and would sign the browser in."""
    async with scene(tmp_path) as world:
        await world.add(AttemptKind.TEST, "test.state")
        [attempt] = world.store.attempts.values()
        with pytest.raises(VaultError):
            world.vault.open(attempt.id, attempt.sealed)
        await world.add(AttemptKind.SIGN_IN, "state")
        assert all(
            world.vault.open(one.id, one.sealed)
            for id_, one in world.store.attempts.items()
            if id_ != attempt.id
        )


@pytest.mark.gen_test
async def test_A6_a_posted_response_stays_of_its_kind(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        test = world.by_kind[AttemptKind.TEST]
        await world.add(AttemptKind.TEST, "test.state")
        response = {"state": ["test.state"], "code": ["c"]}
        taken = await test.take("acme", response, redirect_uri=URI, binding=BINDING)
        reference = await test.store_posted(taken, response, ResponseMode.FORM_POST)
        assert AttemptKind.of(reference) is AttemptKind.TEST
        with pytest.raises(AttemptUnknown, match="another kind"):
            await world.by_kind[AttemptKind.SIGN_IN].take_posted("acme", reference, binding=BINDING)
        found, stored = await test.take_posted("acme", reference, binding=BINDING)
        assert (found.sealed.test, stored) == (TESTED, response)


@pytest.mark.gen_test
async def test_an_attempt_must_be_of_the_kind_of_its_state(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        with pytest.raises(ValueError, match="not of this kind"):
            await world.add(AttemptKind.TEST, "state")
        with pytest.raises(ValueError, match="not of this kind"):
            await world.add(AttemptKind.SIGN_IN, "test.state")


@pytest.mark.parametrize(
    ("response", "binding", "kind"),
    [
        ({"state": ["test.x"]}, BINDING, AttemptKind.TEST),
        ({"state": ["test.x"]}, None, AttemptKind.SIGN_IN),
        ({"state": ["testx"]}, BINDING, AttemptKind.SIGN_IN),
        ({"state": ["test.x", "test.y"]}, BINDING, AttemptKind.SIGN_IN),
        ({"response": ["not a token"]}, BINDING, AttemptKind.SIGN_IN),
        ({}, BINDING, AttemptKind.SIGN_IN),
    ],
)
def test_the_state_says_which_kind_a_response_is_for(
    response: dict[str, list[str]], binding: str | None, kind: AttemptKind
) -> None:
    assert kind_of_response(response, binding=binding) is kind


@pytest.mark.parametrize(
    ("reference", "is_named"),
    [
        ("window.x", True),
        ("waiting.window.x", True),
        ("waiting.x", False),
        ("x", False),
        ("test.window.x", False),
        ("waiting.waiting.window.x", False),
    ],
)
def test_a_reference_says_whether_its_sign_in_has_a_window_of_its_own(reference: str, is_named: bool) -> None:
    assert names_window(reference) is is_named
