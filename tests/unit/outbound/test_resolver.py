"""Name lookups: cached, shared by concurrent calls, with a share for each tenant (THREATS D3)."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from portal.errors import OutboundFailed
from portal.outbound.resolver import (
    FAILURE_SECONDS,
    LOOKUPS_PER_TENANT,
    MOST_ADDRESSES,
    SUCCESS_SECONDS,
    Resolver,
)
from tests.kit.samples import ManualClock


class Names:
    """A name server: it finds `slow` names when `gate` is set, and never finds `missing` ones."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.lookups: Counter[str] = Counter()
        self.running = 0
        self.most = 0

    async def __call__(self, host: str) -> list[str]:
        self.lookups[host] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if host.startswith("slow"):
                await self.gate.wait()
            if host.startswith("missing"):
                raise OSError("no such name")
            return ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        finally:
            self.running -= 1


@pytest.mark.gen_test
async def test_addresses_are_cached() -> None:
    names, clock = Names(), ManualClock()
    resolver = Resolver(names, clock=clock)
    for tenant in ("acme", "globex"):
        assert await resolver.addresses("api.example", tenant=tenant) == ("192.0.2.1", "192.0.2.2")
    clock.advance(SUCCESS_SECONDS - 0.1)
    await resolver.addresses("api.example", tenant="acme")
    assert names.lookups["api.example"] == 1
    clock.advance(0.1)
    await resolver.addresses("api.example", tenant="acme")
    assert names.lookups["api.example"] == 2
    resolver.close()


@pytest.mark.gen_test
async def test_a_failure_is_cached_for_a_shorter_time() -> None:
    names, clock = Names(), ManualClock()
    resolver = Resolver(names, clock=clock)
    for _ in range(3):
        with pytest.raises(OutboundFailed):
            await resolver.addresses("missing.example", tenant="acme")
    assert names.lookups["missing.example"] == 1
    clock.advance(FAILURE_SECONDS)
    with pytest.raises(OutboundFailed):
        await resolver.addresses("missing.example", tenant="acme")
    assert names.lookups["missing.example"] == 2
    resolver.close()


@pytest.mark.gen_test
async def test_concurrent_calls_share_a_lookup_that_a_cancelled_call_does_not_end() -> None:
    names = Names()
    resolver = Resolver(names)
    calls = [asyncio.ensure_future(resolver.addresses("slow.example", tenant="acme")) for _ in range(10)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    names.gate.set()
    assert len({await call for call in calls[1:]}) == 1
    assert names.lookups["slow.example"] == 1
    resolver.close()


@pytest.mark.gen_test
async def test_D3_slow_names_of_some_tenants_delay_no_lookup_of_another() -> None:
    names = Names()
    resolver = Resolver(names)
    slow = [
        asyncio.ensure_future(resolver.addresses(f"slow{number}.{tenant}.example", tenant=tenant))
        for tenant in ("acme", "globex")
        for number in range(20)
    ]
    await asyncio.sleep(0.01)
    assert names.most == 2 * LOOKUPS_PER_TENANT
    for number in range(10):
        await asyncio.wait_for(resolver.addresses(f"quick{number}.example", tenant="initech"), 5)
    # a name that another tenant waits for uses the share of the tenant that requests it
    late = asyncio.ensure_future(resolver.addresses("slow19.acme.example", tenant="initech"))
    await asyncio.sleep(0.01)
    assert names.lookups["slow19.acme.example"] == 1
    names.gate.set()
    await asyncio.gather(late, *slow)
    assert max(names.lookups.values()) == 1
    resolver.close()


@pytest.mark.gen_test
async def test_addresses_and_loopback_names_are_not_looked_up() -> None:
    names = Names()
    resolver = Resolver(names)
    assert await resolver.addresses("192.0.2.7", tenant="acme") == ("192.0.2.7",)
    assert await resolver.addresses("2001:db8::1", tenant="acme") == ("2001:db8::1",)
    assert await resolver.addresses("db.localhost", tenant="acme") == ("127.0.0.1", "::1")
    assert not names.lookups
    resolver.close()


@pytest.mark.gen_test
async def test_system_lookups_run_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        threads.append(threading.current_thread().name)
        return [(2, 1, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    resolver = Resolver()
    assert await resolver.addresses("api.example", tenant="acme") == ("192.0.2.1",)
    assert threads[0].startswith("lookup")
    resolver.close()


@pytest.mark.gen_test
async def test_D1_only_a_few_addresses_of_each_family_are_used() -> None:
    """Each address is checked before the portal connects, and each may be tried."""

    async def lookup(_: str) -> list[str]:
        ipv6 = [f"2001:db8::{number:x}" for number in range(2_000)]
        return [*ipv6, *(f"192.0.2.{number % 256}" for number in range(2_000))]

    resolver = Resolver(lookup)
    found = await resolver.addresses("many.example", tenant="acme")
    assert len(found) == 2 * MOST_ADDRESSES
    assert found[0] == "2001:db8::0"
    assert found[MOST_ADDRESSES] == "192.0.2.0"
    resolver.close()
