"""Who is told what became of token requests; for metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portal.errors import PortalError
from portal.oidc.errors import ProviderUnavailable, RefreshRejected

RefreshObserver = Callable[[str, str, str], None]
"""Called with the tenant, `login` or `api` for the token that was requested, and the outcome."""


def ignore_outcome(tenant: str, token: str, outcome: str) -> None:
    """Tell nobody."""


@contextmanager
def observed(observer: RefreshObserver, tenant: str, token: str) -> Iterator[None]:
    """Tell what became of the token request in the block; one that is cancelled has no outcome."""
    try:
        yield
    except RefreshRejected:
        observer(tenant, token, "rejected")
        raise
    except ProviderUnavailable:
        observer(tenant, token, "unavailable")
        raise
    except PortalError:
        observer(tenant, token, "failed")
        raise
    else:
        observer(tenant, token, "refreshed")
