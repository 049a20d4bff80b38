"""Limits that were reached, by the errors that report them."""

from __future__ import annotations

import pytest

from portal.admin.change_limit import TooManyChanges
from portal.admin.setup_link_errors import TooManySetupLinks
from portal.admin.test_login_errors import TooManyTests
from portal.errors import NotFound, PayloadTooLarge, PortalError
from portal.oidc.errors import LoginTooLarge
from portal.ops.limit_metrics import Limit
from portal.ops.metrics import Metrics


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (PayloadTooLarge(), Limit.BODY),
        (TooManyChanges(), Limit.CONSOLE_CHANGES),
        (TooManySetupLinks(), Limit.SETUP_LINKS),
        (TooManyTests(), Limit.TEST_LOGINS),
        (LoginTooLarge("too large"), Limit.STORED_LOGIN),
    ],
)
def test_an_error_of_a_limit_is_counted(error: PortalError, limit: Limit) -> None:
    metrics = Metrics()
    metrics.limits.reported(error)
    assert f'portal_limit_hits_total{{limit="{limit}"}} 1.0\n' in metrics.render().decode()


def test_a_limit_that_was_reached_is_reported_with_its_tenant() -> None:
    metrics = Metrics()
    seen: list[tuple[str, str]] = []
    metrics.limits.on_hit = lambda limit, tenant: seen.append((limit, tenant))
    metrics.limits.reported(TooManyTests(), "acme")
    metrics.limits.reported(NotFound(), "acme")
    metrics.sockets.refused("user", "globex")
    metrics.requested("initech", "token", "busy", 0.1)
    assert seen == [
        (Limit.TEST_LOGINS, "acme"),
        (Limit.SOCKETS_PER_USER, "globex"),
        (Limit.PROVIDER_CONNECTIONS, "initech"),
    ]


def test_each_limit_is_there_before_it_is_reached_and_other_errors_do_not_count() -> None:
    metrics = Metrics()
    metrics.limits.reported(NotFound())
    text = metrics.render().decode()
    for limit in Limit:
        assert f'portal_limit_hits_total{{limit="{limit}"}} 0.0\n' in text


def test_every_error_with_status_429_is_the_error_of_a_limit() -> None:
    def below(kind: type[PortalError]) -> set[type[PortalError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    for kind in below(PortalError):
        if kind.status == 429:
            metrics = Metrics()
            metrics.limits.reported(kind())
            assert "} 1.0\n" in metrics.render().decode(), f"{kind.__name__} is missing in limit_metrics.py"
