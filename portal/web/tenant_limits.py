"""How often all clients may do at one tenant what needs no session (docs/decisions/099; THREATS S15).

A flood from very many networks reaches no limit of a client. The tenant that it is aimed at then has fewer
sign-ins; the others have theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from portal.clock import Clock
from portal.config.limit_settings import LimitSettings
from portal.errors import TooManyAtTenant
from portal.ops.limit_metrics import Limit
from portal.ops.token_buckets import TokenBuckets

_log = structlog.get_logger("portal.limits")

_BURST_SECONDS = 20
_REPORT_SECONDS = 60.0


class TenantLimits:
    """The limits of each tenant in one process. Parameters: monotonic, a clock in seconds."""

    def __init__(self, limits: LimitSettings, *, monotonic: Clock) -> None:
        self._monotonic = monotonic

        def buckets(rate: int) -> TokenBuckets:
            return TokenBuckets(rate=rate, burst=rate * _BURST_SECONDS, monotonic=monotonic)

        sign_ins, logouts = limits.sign_ins_per_tenant, limits.logouts_per_tenant
        self._buckets = {
            Limit.SIGN_INS_PER_CLIENT: (Limit.SIGN_INS_PER_TENANT, buckets(sign_ins)),
            Limit.CALLBACKS_PER_CLIENT: (Limit.SIGN_INS_PER_TENANT, buckets(sign_ins)),
            Limit.LOGOUTS_PER_CLIENT: (Limit.LOGOUTS_PER_TENANT, buckets(logouts)),
        }
        """By the limit of the client that counts the same requests: a flood of one kind leaves the others."""
        self._refused = 0
        self._reported_at = -math.inf

    def refusal(
        self, of_client: Limit, tenant: str, is_known: Callable[[], bool], *, in_background: bool = False
    ) -> TooManyAtTenant | None:
        """Count a request at a live tenant; return the error if there are too many.

        Parameters: of_client, the limit of a client that counts the request; is_known, whether it is of a
        browser that has signed in at the tenant before: these have as many again; in_background, see
        `client_limits.is_in_background`: these have as many too.
        """
        found = self._buckets.get(of_client)
        if found is None:
            return None
        limit, buckets = found
        seconds = buckets.take((f"{'background' if in_background else 'any'} {tenant}".encode(),))
        if seconds and not in_background and is_known():
            seconds = buckets.take((f"known {tenant}".encode(),))
        if not seconds:
            return None
        self._log_refusal(limit, tenant)
        return TooManyAtTenant(f"limits.{limit} is reached", limit=limit, retry_after=math.ceil(seconds))

    def _log_refusal(self, limit: Limit, tenant: str) -> None:
        """Write that a limit was reached, at most once a minute."""
        self._refused += 1
        now = self._monotonic()
        if now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = now
            refused, self._refused = self._refused, 0
            _log.warning("tenant_limit_reached", limit=limit, tenant=tenant, refused=refused)
