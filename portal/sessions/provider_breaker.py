"""A circuit breaker per provider: a failing provider receives fewer and fewer requests."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.api_errors import ApiTokenError
from portal.oidc.errors import ProviderUnavailable, RefreshRejected

_log = structlog.get_logger("portal.refresh")

SLOW_SECONDS = 10.0
"""A longer request counts as a failure until it succeeds; if it is the probe, another may start."""
FAILURE_THRESHOLD = 3
"""Consecutive failures before the first pause."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
"""How long a provider that works again may still be paused: long enough to spare it, and no longer."""


@dataclass(slots=True)
class _Failing:
    """A provider whose last request failed. Times are seconds of the monotonic clock."""

    failures: int = 0
    paused_at: float = -math.inf
    paused_until: float = -math.inf


@dataclass(slots=True)
class _Request:
    began: float
    counted: bool = False


class ProviderBreaker:
    """Decides whether a provider may be sent another refresh request.

    After FAILURE_THRESHOLD consecutive failures the breaker pauses requests; each further failure doubles the
    pause, up to LONGEST_PAUSE. After a pause it allows one request, the probe, whose success resets the
    breaker. Failures of requests that began before a pause do not extend it. `monotonic` returns seconds of a
    monotonic clock.
    """

    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failing: dict[str, _Failing] = {}

    def check(self, provider: str) -> None:
        """Raise ProviderUnavailable, with `retry_after`, while requests to the provider are paused."""
        state = self._failing.get(provider)
        if state is None or state.failures < FAILURE_THRESHOLD:
            return
        left = state.paused_until - self._monotonic()
        if left > 0:
            raise ProviderUnavailable(
                f"{provider} failed {state.failures} times in a row; requests to it are paused",
                retry_after=math.ceil(left),
            )

    @contextlib.contextmanager
    def request(self, provider: str) -> Iterator[None]:
        """Wrap one request to a provider and record its outcome. Raises as `check`."""
        self.check(provider)
        request = _Request(self._monotonic())
        state = self._failing.get(provider)
        if state is not None and state.failures >= FAILURE_THRESHOLD:  # the pause is over: this is the probe
            state.paused_until = request.began + SLOW_SECONDS
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._failed, provider, request)
        try:
            yield
        except (RefreshRejected, ApiTokenError):  # the provider works; only this login or API is affected
            self._succeeded(provider)
            raise
        except PortalError:
            self._failed(provider, request)
            raise
        else:
            self._succeeded(provider)
        finally:
            slow.cancel()

    def _succeeded(self, provider: str) -> None:
        state = self._failing.pop(provider, None)
        if state is not None and state.failures >= FAILURE_THRESHOLD:
            _log.info("provider_recovered", provider=provider, failures=state.failures)

    def _failed(self, provider: str, request: _Request) -> None:
        state = self._failing.setdefault(provider, _Failing())
        if request.counted or request.began < state.paused_at:
            return
        request.counted = True
        state.failures += 1
        if state.failures < FAILURE_THRESHOLD:
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(state.failures - FAILURE_THRESHOLD, 10))
        state.paused_at = self._monotonic()
        state.paused_until = state.paused_at + pause
        if state.failures == FAILURE_THRESHOLD:
            _log.warning("provider_failing", provider=provider, failures=state.failures, pause=pause)
