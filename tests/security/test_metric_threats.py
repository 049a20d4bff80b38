"""What strangers send makes no new series, and is in no label (THREATS D5)."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from portal.config.metric_settings import MetricSettings
from portal.errors import PortalError
from portal.ops.limit_metrics import Limit
from portal.ops.store_metrics import _KINDS
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins
from portal.stores.tenant_store import TenantStore
from portal.stores.timing import operations_of
from tests.kit.raw import connected
from tests.kit.world import World
from tests.kit.world import world as make_world

_REQUESTS = 2_000
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_BOUNDARY = re.compile(r"\+Inf|[0-9.e-]+")


def series(world: World) -> list[str]:
    """The name and labels of each sample."""
    text = world.running.portal.metrics.render().decode()
    return [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]


def codes() -> set[str]:
    """The codes of all errors."""

    def below(kind: type[PortalError]) -> set[type[PortalError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    return {kind.code for kind in below(PortalError)}


def operations() -> set[str]:
    """The names of all operations of a store."""
    return {
        *operations_of(Store),
        *(f"tenants.{name}" for name in operations_of(TenantStore)),
        *(f"tenant_logins.{name}" for name in operations_of(TenantLogins)),
    }


def hostile_targets(number: int) -> str:
    """A path that nobody has asked for before."""
    kinds = (
        f"/t/acme/api/orders/{number}",
        f"/t/globex/api/{number:x}?user={number}",
        f"/t/stranger-{number}/api/orders",
        f"/t/stranger-{number}/login",
        f"/t/acme/callback?code=c{number}&state=s{number}",
        f"/t/acme/apis/api-{number}/x",
        f"/t/acme/login?provider=p{number}",
        f"/nowhere/{number}",
        f"/admin/t/tenant-{number}/draft",
        f"/setup/token-{number}",
    )
    return kinds[number % len(kinds)]


async def send_requests(world: World, numbers: range) -> None:
    """Send a request for each number over one connection."""
    async with connected(world) as connection:
        for number in numbers:
            method = "GET" if number % 3 else f"METHOD{number}" if number % 2 else "POST"
            await connection.send(
                f"{method} {hostile_targets(number)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                f"Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\nUser-Agent: agent-{number}\r\n"
                f"Cookie: portal=c{number}\r\nX-Forwarded-For: 192.0.2.{number % 255}\r\n\r\n".encode()
            )
            assert await connection.read_response() is not None


@pytest.mark.gen_test(timeout=400)
async def test_D5_requests_of_strangers_make_no_series(tmp_path: Path, log_lines: io.StringIO) -> None:
    named = MetricSettings(tenants=1)
    async with make_world(tmp_path, metrics_listen="127.0.0.1:9", metrics=named) as world:
        subjects = await _sign_in_as_strangers(world)
        await send_requests(world, range(200))
        before = series(world)
        await send_requests(world, range(200, _REQUESTS))
        await world.running.measuring.measure()
        after = series(world)
        grown = set(after) - set(before)
        assert {name.partition("{")[0] for name in grown} <= {
            *("portal_sessions", "portal_logins", "portal_tenants"),
            *("portal_vault_key_created_timestamp_seconds", "portal_tenant_revision"),
            *(
                "portal_store_operation_duration_seconds_bucket",
                "portal_store_operation_duration_seconds_sum",
            ),
            "portal_store_operation_duration_seconds_count",
        }, grown
        assert len(after) < 1_000
        found: dict[str, set[str]] = {}
        for line in after:
            for name, value in _LABEL.findall(line):
                found.setdefault(name, set()).add(value)
        rules = {value.partition(":")[0] for value in found.pop("rule")}
        assert rules <= codes()
        assert found.pop("operation") <= operations()
        assert all(_BOUNDARY.fullmatch(value) for value in found.pop("le"))
        assert found.pop("limit") == {*Limit}
        assert found == {
            "tenant": {"acme", "_other"},
            "status": {"2xx", "4xx"},
            "responder": {"portal", "api"},
            "endpoint": {"metadata", "keys", "token"},
            "outcome": {"2xx"},
            "reason": {"refused", "damaged"},
            "kind": {*_KINDS},
        }
        text = world.running.portal.metrics.render().decode()
        assert not [subject for subject in subjects if subject in text]


async def _sign_in_as_strangers(world: World) -> list[str]:
    """Sign in at both tenants, each time as another user, and make a call; return the users."""
    subjects = [f"subject-{number}" for number in range(20)]
    for number, subject in enumerate(subjects):
        tenant = ("acme", "globex")[number % 2]
        world.provider(tenant).faults.mutate_id_token = lambda header, claims, sub=subject: claims.update(
            sub=sub
        )
        browser = world.browser()
        await world.quick_sign_in(browser, tenant)
        assert (await browser.fetch(world.at(f"/t/{tenant}/api/orders/{subject}"))).status in {200, 404}
        assert (await browser.fetch(world.at(f"/t/{tenant}/api/orders"))).status == 200
        browser.close()
        world.browsers.remove(browser)
    return subjects
