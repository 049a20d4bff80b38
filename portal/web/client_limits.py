"""How often one client may do what needs no session (docs/decisions/091; THREATS L9, S15).

A client is an IPv4 address or the /64 of an IPv6 address, as seen through trusted proxies. A client whose
address is not known is not limited: it could be anybody, so one stranger could lock out all others. That is
the peer of a Unix socket, and the client of a trusted proxy that does not say who it is.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence

import structlog
from tornado.httputil import HTTPHeaders

from portal.clock import Clock
from portal.config.limit_settings import LimitSettings
from portal.errors import TooManyRequests
from portal.ops.limit_metrics import Limit
from portal.ops.token_buckets import TokenBuckets
from portal.sessions.stored_attempts import ATTEMPT_SECONDS
from portal.web.client_address import Network, client_network, client_networks, is_trusted
from portal.web.tenant_limits import TenantLimits

_log = structlog.get_logger("portal.limits")

BURST_SECONDS = 20
"""A client that was silent for this long may send what it may send in this time at once."""
_REPORT_SECONDS = 60.0
_PATHS = re.compile(
    r"/t/[a-z0-9-]+/(?:(?P<sign_ins_per_client>login|initiate-login)"
    r"|(?P<callbacks_per_client>callback(?:/.*)?|finish-login)"
    r"|(?P<logouts_per_client>backchannel-logout|frontchannel-logout|global-token-revocation))"
    r"|(?P<finds_per_client>/find)|(?P<setup_links_per_client>/setup/.*)",
    re.DOTALL,
)
"""The addresses of portal/routes.py that anybody may ask for and that have a limit."""


def limit_of(path: str) -> Limit | None:
    """The limit for requests of this path, without its query; None if it has none."""
    found = _PATHS.fullmatch(path)
    return Limit(found.lastgroup) if found is not None and found.lastgroup is not None else None


def is_in_background(headers: HTTPHeaders) -> bool:
    """Whether a page made the browser send a request that is no navigation of a window (Fetch Metadata).

    A page of another site, or of another tenant, can send any number. Counted with the others, they would
    keep everybody in the network of one of its visitors from signing in.
    """
    return headers.get("Sec-Fetch-Dest", "document") != "document"


class ClientLimits:
    """The limits of the clients of one process.

    Parameters: trusted, the proxies: the address of one is that of no client; monotonic, a clock in seconds.
    """

    def __init__(
        self,
        limits: LimitSettings,
        *,
        trusted: Sequence[Network] = (),
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._trusted = trusted
        self._monotonic = monotonic
        rates = {
            Limit.SIGN_INS_PER_CLIENT: limits.sign_ins_per_client,
            Limit.CALLBACKS_PER_CLIENT: limits.callbacks_per_client,
            Limit.LOGOUTS_PER_CLIENT: limits.logouts_per_client,
            Limit.FINDS_PER_CLIENT: limits.finds_per_client,
            Limit.SETUP_LINKS_PER_CLIENT: limits.setup_links_per_client,
            Limit.UNAUTHENTICATED_PER_CLIENT: limits.unauthenticated_per_client,
        }
        self._buckets, self._buckets_of_background = (
            {
                limit: TokenBuckets(rate=rate, burst=rate * BURST_SECONDS, monotonic=monotonic)
                for limit, rate in rates.items()
            }
            for _ in range(2)
        )
        # Providers of many tenants send from the same addresses: one tenant has at most half of them.
        rate = limits.logouts_per_client / 2
        self._logouts_of_tenants = TokenBuckets(rate=rate, burst=rate * BURST_SECONDS, monotonic=monotonic)
        # Half of them at once and half within the lifetime of an attempt: never more are stored.
        half = limits.attempts_per_client / 2
        self._buckets[Limit.ATTEMPTS_PER_CLIENT] = TokenBuckets(
            rate=half / ATTEMPT_SECONDS, burst=half, monotonic=monotonic
        )
        self.of_tenants = TenantLimits(limits, monotonic=monotonic)
        """Those of all clients together."""
        self._refused: Counter[Limit] = Counter()
        """Since the last line of the log, by limit."""
        self._reported_at: dict[Limit, float] = {}

    def require(self, limit: Limit, address: str) -> None:
        """Count a request of a client. Raises TooManyRequests. Parameters: address, of the client."""
        if (error := self.refusal(limit, address)) is not None:
            raise error

    def refusal(
        self, limit: Limit, address: str, *, tenant: str = "", in_background: bool = False
    ) -> TooManyRequests | None:
        """As `require`, but return the error; whoever sends it counts it in the metrics.

        Parameters: tenant, in the path of a logout; in_background, see `is_in_background`: such requests are
        counted apart.
        """
        if is_trusted(address, self._trusted):  # it did not say whose request it is
            return None
        networks = client_networks(address)
        buckets = self._buckets_of_background if in_background else self._buckets
        seconds = 0.0
        if limit is Limit.LOGOUTS_PER_CLIENT and tenant and networks:
            seconds = self._logouts_of_tenants.take([b"%b\0%b" % (tenant.encode(), networks[0])])
        seconds = seconds or buckets[limit].take(networks)
        if not seconds:
            return None
        self.log_refusal(limit, address)
        return TooManyRequests(f"limits.{limit} is reached", limit=limit, retry_after=math.ceil(seconds))

    def log_refusal(self, limit: Limit, address: str) -> None:
        """Write that a limit was reached, at most once a minute for each limit."""
        self._refused[limit] += 1
        now = self._monotonic()
        if now - self._reported_at.get(limit, -math.inf) >= _REPORT_SECONDS:
            self._reported_at[limit] = now
            refused = self._refused.pop(limit)
            _log.warning("client_limit_reached", limit=limit, client=client_network(address), refused=refused)
