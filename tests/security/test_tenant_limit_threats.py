"""THREATS S15: a flood from very many networks that is aimed at one tenant."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from portal.config.limit_settings import LimitSettings
from portal.web.client_limits import BURST_SECONDS
from tests.kit.world import World
from tests.security.test_client_limit_threats import behind_a_proxy, hits, kept, send

LIMITS = LimitSettings(sign_ins_per_tenant=1, logouts_per_tenant=1)
FLOODS: list[tuple[str, str, str | None, str]] = [
    ("sign_ins_per_tenant", "GET", None, "/t/acme/login"),
    ("sign_ins_per_tenant", "GET", None, "/t/acme/initiate-login?iss=x"),
    ("sign_ins_per_tenant", "GET", None, "/t/acme/callback?state=x&code=y"),
    ("sign_ins_per_tenant", "GET", None, "/t/acme/finish-login?reference=x"),
    ("logouts_per_tenant", "POST", "logout_token=x.y.z", "/t/acme/backchannel-logout"),
    ("logouts_per_tenant", "GET", None, "/t/acme/frontchannel-logout?sid=x"),
]


def stop_time(world: World) -> None:
    for _, buckets in world.running.portal.client_limits.of_tenants._buckets.values():
        buckets._monotonic = lambda: 0.0


@pytest.mark.parametrize(("limit", "method", "body", "path"), FLOODS)
@pytest.mark.gen_test(timeout=60)
async def test_S15_a_flood_of_one_tenant_from_many_networks_leaves_the_others(
    tmp_path: Path, log_lines: io.StringIO, limit: str, method: str, body: str | None, path: str
) -> None:
    async with behind_a_proxy(tmp_path, LIMITS) as world:
        stop_time(world)
        for number in range(BURST_SECONDS):
            assert (await send(world, f"203.{number}.113.7", path, method, body)).status != 503
        before = kept(world)
        refused = await send(world, "198.51.100.9", path, method, body)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert json.loads(refused.text)["code"] == "too_many_at_tenant"
        assert kept(world) == before
        other = path.replace("acme", "globex")
        assert (await send(world, "198.51.100.9", other, method, body)).status != 503
        assert (await send(world, "198.51.100.9", "/t/nobody/login")).status == 404
        assert hits(world, limit) == 1
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    reported = [(one["limit"], one["tenant"]) for one in lines if one["event"] == "tenant_limit_reached"]
    assert reported == [(limit, "acme")]


@pytest.mark.gen_test(timeout=60)
async def test_S15_browsers_that_have_signed_in_there_before_still_can(tmp_path: Path) -> None:
    async with behind_a_proxy(tmp_path, LIMITS) as world:
        known, elsewhere, unknown = world.browser(), world.browser(), world.browser()
        await world.quick_sign_in(known, "acme")
        await world.quick_sign_in(elsewhere, "globex")
        stop_time(world)
        while (await send(world, "203.0.113.7", "/t/acme/login")).status != 503:
            pass
        for browser in (elsewhere, unknown):
            assert (await browser.step(world.at("/t/acme/login"))).status == 503
        for _ in range(BURST_SECONDS):
            assert (await known.step(world.at("/t/acme/login"))).status == 303
        assert (await known.step(world.at("/t/acme/login"))).status == 503


@pytest.mark.gen_test(timeout=60)
async def test_S15_people_read_why_they_have_to_wait(tmp_path: Path) -> None:
    async with behind_a_proxy(tmp_path, LIMITS) as world:
        stop_time(world)
        while (await send(world, "203.0.113.7", "/t/acme/login")).status != 503:
            pass
        for language, title in (
            ("en", "Very many people are signing in"),
            ("de", "Sehr viele melden sich an"),
        ):
            page = await send(
                world, "203.0.113.7", "/t/acme/login", Accept="text/html", Accept_Language=language
            )
            assert f"<h1>{title}</h1>" in page.text
