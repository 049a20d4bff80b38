"""What the console says about providers is what this process remembers of its contacts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from portal.admin.health import Health, HealthState, ProviderHealth
from portal.oidc.cache import Contact, DocumentCache, Fetched
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.recent_failures import LastFailure
from tests.kit.samples import START, ManualClock, sample_provider


class Memory:
    """A relying party and a refresher."""

    def __init__(self, contact: Contact | None, failures: int = 0) -> None:
        self._contact = contact
        self._failures = failures

    def contact(self, provider: object) -> Contact | None:
        return self._contact

    def failures(self, provider: object) -> int:
        return self._failures


def health(contact: Contact | None, failures: int = 0) -> Health:
    memory = cast(Any, Memory(contact, failures))
    return ProviderHealth(memory, memory).of(sample_provider())


def test_a_provider_that_was_not_asked_is_not_called_healthy() -> None:
    assert health(Contact(None, None)) == health(None) == Health(HealthState.UNKNOWN)


def test_the_last_contact_counts() -> None:
    assert health(Contact(START, None)) == Health(HealthState.FINE, START)
    failure = LastFailure(START + 5, 2, "responded with 500\u202e")
    assert health(Contact(START, failure)) == Health(HealthState.FAILING, START + 5, "responded with 500")


def test_failed_refreshes_count() -> None:
    found = health(Contact(START, None), failures=3)
    assert (found.state, found.reason) == (
        HealthState.FAILING,
        "3 requests to refresh tokens failed in a row",
    )


def test_a_cache_remembers_when_it_fetched_and_what_failed_since() -> None:
    async def contacts() -> list[Contact]:
        clock = ManualClock()
        cache: DocumentCache[str] = DocumentCache(clock)

        async def load() -> Fetched[str]:
            if clock() > START:
                raise ProviderUnavailable("responded with 500")
            return Fetched("document", 60.0, 10)

        found = [cache.contact("key", "settings")]
        await cache.get("key", load, owner="acme", settings="settings")
        found.append(cache.contact("key", "settings"))
        clock.advance(30)
        with pytest.raises(ProviderUnavailable):
            await cache.load("key", load, owner="acme", settings="settings")
        return [*found, cache.contact("key", "settings"), cache.contact("key", "other settings")]

    before, fetched, failed, changed = asyncio.run(contacts())
    assert before == Contact(None, None)
    assert fetched == Contact(START, None)
    assert failed == Contact(START, LastFailure(START + 30, 1, "responded with 500"))
    assert changed == Contact(START, None)
