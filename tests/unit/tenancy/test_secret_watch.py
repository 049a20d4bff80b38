"""The log and the metric tell before credentials expire."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from portal.oidc.provider import CredentialExpiry
from portal.ops.metrics import Metrics
from portal.tenancy.model import Tenant
from portal.tenancy.secret_watch import MOST_MEASURED, SecretWatch
from tests.kit.samples import sample_tenant

DAY = 86_400.0
NOW = 1_800_000_000.0


def expiring(slug: str, *times: float) -> Tenant:
    made = sample_tenant()
    expiries = tuple(CredentialExpiry("the client secret", ("client", "secret"), at) for at in times)
    provider = replace(made.default_provider, tenant=slug, expiries=expiries)
    return replace(made, slug=slug, providers={provider.id: provider})


class Watched:
    """A watch, and what it watches."""

    def __init__(self, *tenants: Tenant) -> None:
        self.tenants: Sequence[Tenant] = tenants
        self.now = NOW
        self.metrics = Metrics()
        self.watch = SecretWatch(
            lambda: self.tenants, clock=lambda: self.now, measure=self.metrics.expiries.set
        )

    def metric(self) -> list[str]:
        name = "portal_client_secret_expiry_timestamp_seconds"
        return [one for one in self.metrics.render().decode().splitlines() if one.startswith(name)]


def logged(log_lines: io.StringIO) -> list[tuple[str, str, int]]:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [
        (line["event"], line["tenant"], line["days_left"])
        for line in lines
        if line["event"].startswith("client_secret_")
    ]


@pytest.mark.gen_test
async def test_each_threshold_is_one_log_line(log_lines: io.StringIO) -> None:
    watched = Watched(expiring("acme", NOW + 61 * DAY), expiring("globex", NOW + 400 * DAY))
    for _ in range(70 * 24):
        await watched.watch.look()
        watched.now += DAY / 24
    assert logged(log_lines) == [
        ("client_secret_expires", "acme", 60),
        ("client_secret_expires", "acme", 30),
        ("client_secret_expires", "acme", 7),
        ("client_secret_expired", "acme", 0),
    ]


@pytest.mark.gen_test
async def test_a_renewed_secret_has_notices_of_its_own(log_lines: io.StringIO) -> None:
    watched = Watched(expiring("acme", NOW + DAY))
    await watched.watch.look()
    watched.tenants = (expiring("acme", NOW + 20 * DAY),)
    await watched.watch.look()
    await watched.watch.look()
    assert logged(log_lines) == [
        ("client_secret_expires", "acme", 1),
        ("client_secret_expires", "acme", 20),
    ]


@pytest.mark.gen_test
async def test_the_metric_has_the_soonest_of_each_registration_and_forgets_removed_ones() -> None:
    watched = Watched(expiring("acme", NOW + 9 * DAY, NOW + 5 * DAY), expiring("globex"))
    await watched.watch.look()
    (line,) = watched.metric()
    labels, value = line.split(" ")
    assert labels.endswith('{provider="default",tenant="acme"}')
    assert float(value) == NOW + 5 * DAY
    watched.tenants = (expiring("globex"),)
    await watched.watch.look()
    assert watched.metric() == []


@pytest.mark.gen_test
async def test_the_metric_is_bounded() -> None:
    watched = Watched(*(expiring(f"t{number}", NOW + number * DAY) for number in range(300, 0, -1)))
    await watched.watch.look()
    times = sorted(float(line.split(" ")[1]) for line in watched.metric())
    assert times == [NOW + number * DAY for number in range(1, MOST_MEASURED + 1)]


@pytest.mark.gen_test
async def test_D1_no_tenant_hides_the_others_with_many_registrations() -> None:
    def crowd(slug: str) -> Tenant:
        made = expiring(slug, NOW - DAY)
        provider = made.default_provider
        many = {f"p{n}": replace(provider, id=f"p{n}") for n in range(30)}
        return replace(made, providers=many)

    crowds = [crowd(f"crowd{number}") for number in range(5)]
    watched = Watched(*crowds, expiring("acme", NOW + DAY), expiring("globex", NOW + 2 * DAY))
    await watched.watch.look()
    lines = watched.metric()
    assert len(lines) == MOST_MEASURED
    for slug in ("acme", "globex", "crowd0", "crowd4"):
        assert any(f'tenant="{slug}"' in line for line in lines), slug
