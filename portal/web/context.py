"""The services that handlers use, as one object made in app.py."""

from __future__ import annotations

from dataclasses import dataclass

from tornado.template import Loader

from portal.admin.services import AdminServices
from portal.admin.user_events import UserEvents
from portal.clock import Clock
from portal.config.settings import Settings
from portal.oidc.client_keys import ClientKeys
from portal.ops.access_log import AccessLog
from portal.ops.metrics import Metrics
from portal.outbound.client import OutboundClient
from portal.sessions.global_revocation import GlobalRevocationService
from portal.sessions.logout import LogoutService
from portal.sessions.probe import StoreProbe
from portal.sessions.provider_logout import ProviderLogoutService
from portal.sessions.service import SessionService
from portal.sessions.user_logins import UserLogins
from portal.stores.clock_check import ClockCheck
from portal.stores.store import Store
from portal.tenancy.logos import TenantLogos
from portal.tenancy.registry import Registry
from portal.traces import Tracer
from portal.web.api_proxy.live_calls import LiveCalls
from portal.web.arrival_proof import Proofs
from portal.web.client_limits import ClientLimits
from portal.web.front_ends.service import FrontEnds
from portal.web.languages import Languages
from portal.web.product_files import ProductFiles
from portal.web.remembered import RememberedOrganisations
from portal.web.server.stopping import RequestsInFlight
from portal.web.session_streams import SessionStreams
from portal.web.sites import Sites
from portal.web.websocket.open_sockets import OpenSockets


@dataclass(frozen=True, slots=True)
class Portal:
    """Everything a handler needs."""

    settings: Settings
    admin: AdminServices
    registry: Registry
    sessions: SessionService
    logouts: LogoutService
    provider_logouts: ProviderLogoutService
    global_revocations: GlobalRevocationService
    client_keys: ClientKeys
    http: OutboundClient
    store: Store
    store_probe: StoreProbe
    clock_check: ClockCheck
    sites: Sites
    templates: Loader
    languages: Languages
    product: ProductFiles
    logos: TenantLogos
    remembered: RememberedOrganisations
    proofs: Proofs
    clock: Clock
    client_limits: ClientLimits
    in_flight: RequestsInFlight
    access_log: AccessLog
    metrics: Metrics
    live_calls: LiveCalls
    session_streams: SessionStreams
    user_events: UserEvents
    user_logins: UserLogins
    sockets: OpenSockets
    front_ends: FrontEnds
    traces: Tracer | None
    """None when no traces are made."""
