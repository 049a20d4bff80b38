"""The metric of unhealthy providers."""

from __future__ import annotations

from portal.ops.metrics import Metrics


def samples(metrics: Metrics) -> list[str]:
    lines = metrics.render().decode().splitlines()
    return [line for line in lines if line.startswith("portal_unhealthy_providers{")]


def test_a_tenant_that_recovers_is_zero_again() -> None:
    metrics = Metrics(tenants=2)
    metrics.tenants.follow(["acme", "globex", "initech"])
    for tenant, count in {"acme": 2, "initech": 1, "hooli": 1}.items():
        metrics.providers.set_unhealthy(tenant, count)
    assert samples(metrics) == [
        'portal_unhealthy_providers{tenant="acme"} 2.0',
        'portal_unhealthy_providers{tenant="_other"} 2.0',
    ]
    assert metrics.unhealthy_providers() == {"acme": 2, "_other": 2}
    for tenant, count in {"acme": 0, "initech": 0, "hooli": 0, "globex": 1}.items():
        metrics.providers.set_unhealthy(tenant, count)
    assert metrics.unhealthy_providers() == {"globex": 1}
    assert 'portal_unhealthy_providers{tenant="acme"} 0.0' in samples(metrics)


def test_the_gauge_follows_a_tenant_whose_label_has_changed() -> None:
    metrics = Metrics(tenants=1)
    metrics.tenants.follow(["globex"])
    metrics.providers.set_unhealthy("globex", 1)
    metrics.tenants.follow(["acme", "globex"])
    metrics.providers.set_unhealthy("globex", 1)
    assert metrics.unhealthy_providers() == {"_other": 1}
