"""Providers that fail are asked less and less often (circuit breaker), each by itself."""

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
from portal.oidc.errors import ProviderUnavailable, RefreshRejected

_log = structlog.get_logger("portal.refresh")

SLOW_SECONDS = 10.0
"""A request that takes longer counts as a failure until it succeeds; as a probe, it keeps no other one
out."""
TOLERATED = 3
"""So many failures in a row make the first pause."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


@dataclass(slots=True)
class _Failing:
    """A provider whose last request failed. Times are seconds of the breaker's clock."""

    failures: int = 0
    paused_at: float = -math.inf
    ask_again_at: float = -math.inf


@dataclass(slots=True)
class _Request:
    began: float
    counted: bool = False


class ProviderBreaker:
    """Decides whether a provider may be sent another refresh request.

    After some failures in a row there is a pause, which doubles with each further failure up to a minute.
    After a pause one request, the probe, goes through; its success ends the matter. Requests that began
    before a pause do not make it longer. `monotonic` gives seconds from any fixed moment on.
    """

    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failing: dict[str, _Failing] = {}

    def check(self, provider: str) -> None:
        """Raise ProviderUnavailable, with a time to try again, while the provider of that key is not
        asked."""
        state = self._failing.get(provider)
        if state is None or state.failures < TOLERATED:
            return
        left = state.ask_again_at - self._monotonic()
        if left > 0:
            raise ProviderUnavailable(
                f"{provider} failed {state.failures} times in a row and is not asked now",
                retry_after=math.ceil(left),
            )

    @contextlib.contextmanager
    def request(self, provider: str) -> Iterator[None]:
        """Around one request to a provider: learns how it ends. Raises as `check`."""
        self.check(provider)
        request = _Request(self._monotonic())
        state = self._failing.get(provider)
        if state is not None and state.failures >= TOLERATED:  # the pause is over: this is the probe
            state.ask_again_at = request.began + SLOW_SECONDS
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._failed, provider, request)
        try:
            yield
        except RefreshRejected:  # concerns one login only
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
        if state is not None and state.failures >= TOLERATED:
            _log.info("provider_recovered", provider=provider, failures=state.failures)

    def _failed(self, provider: str, request: _Request) -> None:
        state = self._failing.setdefault(provider, _Failing())
        if request.counted or request.began < state.paused_at:
            return
        request.counted = True
        state.failures += 1
        if state.failures < TOLERATED:
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(state.failures - TOLERATED, 10))
        state.paused_at = self._monotonic()
        state.ask_again_at = state.paused_at + pause
        _log.warning("provider_failing", provider=provider, failures=state.failures, pause=pause)
