"""How a request arrived is told to who has the key ring, and to nobody else."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from portal.cli.doctor.proxy import INVENTED_CLIENT, proxy_results
from portal.clock import now
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.web.arrival import ARRIVAL_PATH
from portal.web.arrival_proof import PROOF_HEADER, new_proof
from tests.kit.world import World, world

HERE = ip_network("127.0.0.0/8")


async def status(made: World, proof: str | None) -> int:
    headers = {} if proof is None else {PROOF_HEADER: proof}
    return (await made.browser().fetch(made.at(ARRIVAL_PATH), headers=headers)).status


@pytest.mark.gen_test
async def test_only_a_fresh_proof_of_this_key_ring_is_accepted(world: World, tmp_path: Path) -> None:
    """THREATS A9."""
    vault = world.running.vault
    other = Vault(KeyRing.create(tmp_path / "other" / "keys.json"))
    assert await status(world, new_proof(vault, clock=now)) == 200
    for proof in (
        None,
        "",
        "x" * 100,
        "x" * 3_000,
        new_proof(other, clock=now),
        new_proof(vault, clock=lambda: now() - 61),
        new_proof(vault, clock=lambda: now() + 61),
        vault.seal("something else", repr(now())),
        vault.seal("proof of portal doctor", "nan"),
        vault.seal("proof of portal doctor", "now"),
    ):
        assert await status(world, proof) == 404, proof


@pytest.mark.gen_test
async def test_the_response_says_how_the_request_arrived(tmp_path: Path) -> None:
    async with world(tmp_path, trusted_proxies=(HERE,)) as made:
        headers = {
            PROOF_HEADER: new_proof(made.running.vault, clock=now),
            "X-Forwarded-For": "198.51.100.7" * 50 + ", 198.51.100.8",
        }
        response = await made.browser().fetch(made.at(ARRIVAL_PATH), headers=headers)
    found: dict[str, Any] = json.loads(response.body)
    assert response.headers["Cache-Control"] == "no-store"
    assert found.pop("forwarded_for").endswith("198.51.100.7, 198.51.100.8")
    host = made.url.removeprefix("http://")
    assert found == {"peer": "127.0.0.1", "trusted": True, "client": "198.51.100.8", "host": host}


@pytest.mark.gen_test
async def test_the_doctor_sees_what_is_between_it_and_the_portal(tmp_path: Path) -> None:
    async with world(tmp_path / "direct") as made:
        found = {one.check: one for one in await proxy_results(made.settings)}
        assert {one.status for one in found.values()} == {"pass"}
        assert "no proxy" in found["client address"].seen
    async with world(tmp_path / "proxied", trusted_proxies=(HERE,)) as made:
        (failed,) = [one for one in await proxy_results(made.settings) if one.status == "fail"]
        assert "passes on X-Forwarded-For of clients" in failed.seen
        assert INVENTED_CLIENT not in failed.seen


@pytest.mark.gen_test
async def test_the_doctor_does_not_judge_a_portal_of_another_key_ring(world: World, tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "other.json")
    settings = replace(world.settings, keys=tmp_path / "other.json")
    (found,) = await proxy_results(settings)
    assert found.status == "skipped"
    assert "responds with 404" in found.seen
