"""Failures of providers, remembered for a short time (THREATS D4).

Rule: what a request without a login makes the portal ask of a provider is asked once, and when it fails, not
again before a pause. The requests in between get the same error at once.
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
"""Seconds in which a failure is remembered; twice as long after each further one in a row."""
LONGEST_PAUSE = 30.0
"""As long as an administrator who has repaired a provider waits at most."""

_MAX_BYTES = 4_000_000
_ERROR_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    settings: object
    at: float
    until: float
    in_a_row: int


class RecentFailures:
    """The last failure of each thing that was asked for, by key.

    Parameters: clock, seconds since the epoch, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: ByteBoundedCache[Hashable, _Failure] = ByteBoundedCache(_MAX_BYTES)

    def check(self, key: Hashable, settings: object = None) -> None:
        """Raise the error of the last attempt when it was made a short time ago, with the same settings.

        Parameters: settings, what the attempt depends on, usually the Provider: a tenant file that was
        changed is tried at once.
        """
        failure = self._failures.get(key)
        if failure is None or failure.settings != settings:
            return
        now = self._clock()
        if failure.at <= now < failure.until:  # `at` may be in the future: clocks are set back
            raise _repeated(failure.error, failure.until - now)

    def remember(
        self,
        key: Hashable,
        error: Exception,
        settings: object = None,
        *,
        owner: str = "",
        began: float | None = None,
    ) -> None:
        """Remember that an attempt has failed.

        Parameters: as check; owner, the tenant; began, when the attempt began, if several can be under way:
        those that began before the last failure are one failure with it, and make no pause longer.
        """
        before = self._failures.get(key)
        if before is not None and before.settings != settings:
            before = None
        if before is not None and began is not None and began <= before.at:
            return
        in_a_row = 1 if before is None else before.in_a_row + 1
        now = self._clock()
        pause = min(FIRST_PAUSE * 2 ** min(in_a_row - 1, 10), LONGEST_PAUSE)
        failure = _Failure(error.with_traceback(None), settings, now, now + pause, in_a_row)
        self._failures.put(key, failure, size=_ERROR_BYTES, owner=owner)

    def forget(self, key: Hashable) -> None:
        """The thing was had: the next failure is the first again."""
        self._failures.discard(key)


def _repeated(error: Exception, seconds: float) -> Exception:
    repeated = copy.copy(error)
    if isinstance(repeated, PortalError):
        again = math.ceil(seconds)
        repeated.detail = f"{repeated.detail} (a moment ago; asked again in {again} s)"
        if isinstance(repeated, ProviderUnavailable):
            repeated.retry_after = again
    return repeated
