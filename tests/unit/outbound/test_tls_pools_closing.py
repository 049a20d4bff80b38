"""Closing the pools of a running portal."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.outbound.test_tls_pools import A, B, C, Pools, until


@pytest.mark.gen_test
@pytest.mark.parametrize("meanwhile", ["a call ends", "a call begins", "a first call begins"])
async def test_closing_everything_is_not_disturbed_by_calls(meanwhile: str) -> None:
    held = Pools(kept=0 if meanwhile == "a call ends" else 9)
    ends = [asyncio.Event() for _ in range(2)]
    calls = [asyncio.create_task(held.pools.pool(tls).__aenter__()) for tls in ()]

    async def use(tls: object, end: asyncio.Event | None = None) -> None:
        async with held.pools.pool(tls):  # type: ignore[arg-type]
            if end is not None:
                await end.wait()

    if meanwhile == "a call ends":
        calls = [asyncio.create_task(use(tls, ends[0])) for tls in (A, B)]
        await until(lambda: len(held.made) == 2)
    else:
        await use(A)
        await use(B)
    closing = asyncio.create_task(held.pools.close())
    await until(lambda: held.closing() > 0)
    if meanwhile == "a call begins":
        calls.append(asyncio.create_task(use(A)))
    if meanwhile == "a first call begins":
        calls.append(asyncio.create_task(use(C)))
        await until(lambda: len(held.made) == 3)
    ends[0].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    held.gate.set()
    await asyncio.gather(closing, *calls)
    assert all(pool.closed for pool in held.made)
