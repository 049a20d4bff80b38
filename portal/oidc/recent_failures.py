"""Recent failures of providers, cached for a short time (THREATS D4).

Rule: a request to a provider that an unauthenticated client can cause is sent only once at a time. After a
failure it is not sent again before a pause; meanwhile, callers get the same error at once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from dataclasses import dataclass

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.errors import ProviderUnavailable

FIRST_PAUSE = 1.0
"""Seconds for which the first failure is cached; each consecutive failure doubles them."""
LONGEST_PAUSE = 30.0
"""Maximum seconds; after repairing a provider, an administrator waits no longer than this."""

_MAX_BYTES = 4_000_000
_ERROR_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    settings: object
    at: float
    until: float
    consecutive: int


class RecentFailures:
    """The last failure of each kind of request, by key.

    Parameters: clock, seconds since the epoch, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: ByteBoundedCache[Hashable, _Failure] = ByteBoundedCache(_MAX_BYTES)

    def check(self, key: Hashable, settings: object) -> None:
        """Raise the error of the last attempt if it failed recently with the same settings.

        Parameters: settings, what the attempt depends on, usually the Provider: after a change of the tenant
        file, the next attempt is made at once.
        """
        failure = self._failures.get(key)
        if failure is None or failure.settings != settings:
            return
        now = self._clock()
        if failure.at <= now < failure.until:  # `at` may be in the future if the clock was set back
            raise _repeated(failure.error, failure.until - now)

    def remember(
        self,
        key: Hashable,
        error: Exception,
        settings: object,
        *,
        owner: str,
        began: float | None = None,
    ) -> None:
        """Store the failure of an attempt.

        Parameters: as check; owner, the tenant; began, when the attempt began, if several attempts can run at
        the same time: one that began before the last failure is part of it and does not extend the pause.
        """
        before = self._failures.get(key)
        if before is not None and before.settings != settings:
            before = None
        if before is not None and began is not None and began <= before.at:
            return
        consecutive = 1 if before is None else before.consecutive + 1
        now = self._clock()
        pause = min(FIRST_PAUSE * 2 ** min(consecutive - 1, 10), LONGEST_PAUSE)
        failure = _Failure(error.with_traceback(None), settings, now, now + pause, consecutive)
        self._failures.put(key, failure, size=_ERROR_BYTES, owner=owner)

    def forget(self, key: Hashable) -> None:
        """Clear the failure after a success."""
        self._failures.discard(key)


def _repeated(error: Exception, seconds: float) -> Exception:
    repeated = copy.copy(error)
    if isinstance(repeated, PortalError):
        retry_after = math.ceil(seconds)
        repeated.detail = f"{repeated.detail} (failed recently; retried in {retry_after} s)"
        if isinstance(repeated, ProviderUnavailable):
            repeated.retry_after = retry_after
    return repeated
