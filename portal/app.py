"""Wires all components together, and starts and gracefully stops the portal."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import structlog
from tornado.web import Application

from portal.admin.domain_upkeep import DomainUpkeep
from portal.admin.event_webhook import OPERATOR
from portal.admin.services import admin_services
from portal.admin.user_events import UserEvents
from portal.application import application
from portal.background import end_within, kept_running
from portal.clock import Clock, now
from portal.config.settings import Settings
from portal.delivery import event_delivery
from portal.keys.client_key_ring import ClientKeyRing
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_watch import KeyRingWatch
from portal.keys.vault import Vault
from portal.oidc.provider_health import UNRECORDED, ProviderCalls, ProviderHealth
from portal.oidc.relying_party import RelyingParty
from portal.ops.access_log import AccessLog
from portal.ops.descriptors import DEFAULT_CONNECTIONS, connection_limit
from portal.ops.metrics import Metrics
from portal.ops.sockets import listening_sockets
from portal.ops.worker_memory import WorkerMemory
from portal.outbound.client import OutboundClient
from portal.routes import LARGEST_FORM, dispatcher
from portal.sessions.database_check import DatabaseCheck
from portal.sessions.generation_check import GenerationCheck, GenerationRecord
from portal.sessions.live_logins import LiveLogins
from portal.sessions.probe import StoreProbe
from portal.sessions.reader import BatchedReader
from portal.sessions.refresh import TokenRefresher
from portal.sessions.services import SessionParts
from portal.sessions.session_watch import SessionWatch
from portal.sessions.upkeep import StoreUpkeep
from portal.sessions.user_logins import UserLogins
from portal.stores.by_url import startup_failures, store_for, without_password
from portal.stores.clock_check import ClockCheck
from portal.stores.tenant_store import Database
from portal.tenancy.available_presets import available_presets
from portal.tenancy.logos import TenantLogos
from portal.tenancy.registry import Registry
from portal.tenancy.stored import ContentReader, StoredTenants, may_use_private_networks
from portal.tenant_directory import TenantDirectory
from portal.tenant_upkeep import TenantUpkeep
from portal.time_slices import without_pauses
from portal.tracing import Tracing
from portal.web.api_proxy.live_calls import LiveCalls
from portal.web.arrival_proof import Proofs
from portal.web.assets import load_templates
from portal.web.client_limits import ClientLimits
from portal.web.context import Portal
from portal.web.front_ends.service import FrontEnds
from portal.web.languages import load_languages
from portal.web.metrics_upkeep import MetricsUpkeep
from portal.web.monitoring import metrics_application
from portal.web.product_files import product_files
from portal.web.remembered import RememberedOrganisations
from portal.web.server.client_shares import ClientShares
from portal.web.server.http_exchange import RequestLimits
from portal.web.server.http_server import HttpServer
from portal.web.server.listener import ConnectionServer, close_connections
from portal.web.server.stopping import GracefulServer, RequestsInFlight, StopDelays, accept_waiting
from portal.web.session_streams import SessionStreams
from portal.web.sites import Sites
from portal.web.websocket.open_sockets import OpenSockets

_log = structlog.get_logger("portal")

_DRAIN_SECONDS = 20.0
_BODY_SECONDS = 60.0
"""Timeout for receiving a request body. Uploads to APIs have a longer one."""
_BACKGROUND_SECONDS = 10.0
"""How long a stop waits for background work, some of which goes on for minutes; it begins again elsewhere."""
_PENDING_TOKENS_SECONDS = 15.0
"""How long a stop waits for pending refresh requests, and for refreshed tokens that are not stored yet."""
_MOST_METRICS_READERS = 32
CHOOSE_ANOTHER_ADDRESS = "choose another with `listen` or PORTAL_LISTEN"


@dataclass(frozen=True, slots=True)
class RunningPortal:
    """A portal that serves requests."""

    portal: Portal
    application: Application
    tokens: TokenRefresher
    vault: Vault
    relying_party: RelyingParty
    database_check: DatabaseCheck
    key_ring: KeyRingWatch
    stored_tenants: StoredTenants
    measuring: MetricsUpkeep
    tracing: Tracing


def build(settings: Settings, *, clock: Clock = now, store: Database | None = None) -> RunningPortal:
    """Wire a portal. Reads the key ring and the tenant files, and opens nothing else.

    Parameters: clock, the host's clock. Raises ConfigurationError or StartupError.
    """
    keyring = KeyRing.load_or_create(settings.keys)
    registry = _load_registry(settings)
    metrics = Metrics(tenants=settings.metrics.tenants, counts_calls=settings.metrics_listen is not None)
    tracing = Tracing.of(settings.traces)
    store = tracing.timed(store or store_for(settings.database, clock=clock, observer=metrics.store), metrics)
    in_development = may_use_private_networks(settings)
    http = OutboundClient(
        allow_private_networks=settings.allow_private_networks,
        is_trusted=lambda tenant: in_development or tenant == OPERATOR or registry.is_of_operator(tenant),
        observe=metrics.requested,
        traces=tracing.tracer,
    )
    client_keys = ClientKeyRing(settings.keys, clock=store.time)
    clock_check = ClockCheck(store, clock=clock)
    directory = TenantDirectory(registry, settings)

    def new_relying_party(calls: ProviderCalls = UNRECORDED) -> RelyingParty:
        return RelyingParty(http, clock=store.time, client_keys=client_keys, calls=calls)

    health = ProviderHealth(store.time, directory.provider, metrics.providers.set_unhealthy)

    user_events = UserEvents(store.tenants, clock=store.time, lost=metrics.events.user_events_lost.inc)
    metrics.limits.on_hit = lambda limit, tenant: user_events.limit_reached(
        limit, tenant if registry.get(tenant) is not None else ""
    )
    parts = SessionParts(
        store,
        Vault(keyring),
        directory,
        new_relying_party(health),
        ended=user_events.session_ended,
        refreshes=metrics.logins.refreshed,
        traces=tracing.tracer,
    )
    sites = Sites(settings.public_url, registry.by_host)
    reader = BatchedReader(store, clock=store.time, traces=tracing.tracer)
    tokens = parts.token_refresher(may_refresh=clock_check.may_refresh)
    logouts = parts.logout_service(tokens)
    portal = Portal(
        settings=settings,
        admin=admin_services(
            settings,
            database=store,
            vault=parts.vault,
            registry=registry,
            new_relying_party=new_relying_party,
            callbacks=sites.main,
            health=health,
            logouts=logouts,
        ),
        registry=registry,
        sessions=parts.session_service(tokens, reader, settings.session),
        logouts=logouts,
        provider_logouts=parts.provider_logout_service(tokens),
        global_revocations=parts.global_revocation_service(logouts, store.tenant_logins),
        client_keys=client_keys,
        http=http,
        logos=TenantLogos(http),
        remembered=RememberedOrganisations(parts.vault),
        proofs=Proofs(parts.vault, clock=clock),
        store=store,
        store_probe=StoreProbe(store, reader),
        clock_check=clock_check,
        sites=sites,
        templates=load_templates(),
        languages=load_languages(),
        product=product_files(settings.product),
        clock=store.time,
        client_limits=ClientLimits(settings.limits, trusted=settings.trusted_proxies),
        in_flight=RequestsInFlight(),
        access_log=AccessLog(style=settings.log.format, level=settings.log.level),
        metrics=metrics,
        live_calls=LiveCalls(
            logins=LiveLogins(store=store, directory=directory, clock=store.time),
            registry=registry,
            metrics=metrics,
        ),
        session_streams=SessionStreams(
            SessionWatch(store=store, directory=directory, tenant_state=registry.get, clock=store.time),
            most=(settings.limits.connections or DEFAULT_CONNECTIONS) // 2,
            metrics=metrics,
        ),
        user_events=user_events,
        user_logins=UserLogins(store.tenant_logins, logouts=logouts, clock=store.time),
        sockets=OpenSockets(settings.limits, metrics.sockets),
        front_ends=FrontEnds(settings.front_ends, registry.get),
        traces=tracing.tracer,
    )
    record = GenerationRecord(settings.keys, without_password(settings.database))
    check = DatabaseCheck(store, keyring, GenerationCheck(store, record, clock=store.time))
    stored_tenants = StoredTenants(
        store.tenants, ContentReader(parts.vault, available_presets(settings.presets), in_development)
    )
    return RunningPortal(
        portal,
        application(portal),
        tokens,
        parts.vault,
        parts.relying_party,
        check,
        KeyRingWatch(parts.vault, client_keys),
        stored_tenants,
        MetricsUpkeep(
            portal, store.tenant_logins, stored_tenants, key_created=lambda: parts.vault.newest_key_created_at
        ),
        tracing,
    )


def _load_registry(settings: Settings) -> Registry:
    registry = Registry(
        settings.tenants,
        allow_private_networks=settings.allow_private_networks,
        reserved_hosts=(settings.public_host,),
        max_removed_percent=settings.max_removed_percent,
        presets=available_presets(settings.presets),
    )
    registry.load()
    return registry


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    sockets: list[socket.socket] | None = None,
    metrics_sockets: Sequence[socket.socket] = (),
    clock: Clock = now,
    stop_delays: StopDelays | None = None,
    replaces_worker: bool = False,
    reloads: bool = False,
    begin_listening: Callable[[], None] = lambda: None,
    memory: WorkerMemory | None = None,
) -> AsyncIterator[RunningPortal]:
    """Serve a portal while the block runs; stop gracefully afterwards.

    Stopping means: accept no more connections, respond to accepted requests (for at most 20 seconds), close
    the store.
    Parameters: stop_delays, how long a stop waits for connections and requests that are about to arrive;
    replaces_worker, whether this process replaces a worker while other workers serve; reloads, whether it
    does so because settings changed; begin_listening, called when requests can be served; memory, what it
    shares with other workers, if any. Raises ConfigurationError or StartupError.
    """
    built = build(settings, clock=clock)
    portal = built.portal
    upkeep = TenantUpkeep(portal, built.stored_tenants)
    await portal.front_ends.check()
    await open_database(built, upkeep=upkeep, replaces_worker=replaces_worker, reloads=reloads)
    await built.key_ring.reload()
    built.tracing.start()
    stop_delays, load = stop_delays or StopDelays(), None
    if memory is not None:
        load, portal.admin.health.others = memory.load, memory.note
    await built.measuring.follow()
    http_server = _http_server(built)
    most = connection_limit(settings.limits.connections)
    shares = ClientShares.of(most, settings.limits.connections_per_client, settings.trusted_proxies)
    server = ConnectionServer(http_server, most=most, metrics=portal.metrics, load=load, shares=shares)
    metrics_server = ConnectionServer(
        HttpServer(metrics_application(portal, built.measuring.measure), RequestLimits(body_bytes=0)),
        most=_MOST_METRICS_READERS,
        metrics=portal.metrics,
    )
    stopped = asyncio.Event()
    background_tasks: list[asyncio.Task[None]] = []
    front_end_check: asyncio.Task[None] | None = None
    try:
        if sockets is None:
            sockets = listening_sockets(settings.listen, choose=CHOOSE_ANOTHER_ADDRESS)
        begin_listening()
        server.add_sockets(sockets)
        metrics_server.add_sockets(metrics_sockets)
        background_tasks = _start_background_tasks(built, upkeep, stopped)
        front_end_check = asyncio.create_task(portal.front_ends.check_tenants(portal.registry.all()))
        yield built
    finally:
        portal.in_flight.draining = True
        await portal.session_streams.close_all()
        server.accept_everything()
        await accept_waiting(sockets or (), linger=stop_delays.handshake)
        server.stop()
        await portal.sockets.go_away()
        if not await http_server.drain(quiet=stop_delays.request, longest=_DRAIN_SECONDS):
            _log.warning("requests_cut_off", count=http_server.in_flight)
        stopped.set()
        until = asyncio.get_running_loop().time() + _PENDING_TOKENS_SECONDS
        if front_end_check is not None:
            front_end_check.cancel()
            background_tasks.append(front_end_check)
        ending = end_within(background_tasks, _BACKGROUND_SECONDS)
        await asyncio.gather(close_connections(server, metrics_server), ending)
        await close(built, until=until)


def _http_server(built: RunningPortal) -> GracefulServer | HttpServer:
    front_ends = built.portal.settings.front_ends.values()
    developed = [one.path for one in front_ends if one.url is not None]
    requests = dispatcher(built.portal, built.application, developed)
    limits = RequestLimits(body_bytes=LARGEST_FORM, body_seconds=_BODY_SECONDS)
    if built.portal.settings.server == "httptools":
        return HttpServer(requests, limits)
    return GracefulServer(
        requests,
        max_body_size=limits.body_bytes,
        max_header_size=limits.head_bytes,
        idle_connection_timeout=limits.idle_seconds,
        body_timeout=limits.body_seconds,
        no_keep_alive=False,
    )


def _start_background_tasks(
    built: RunningPortal, upkeep: TenantUpkeep, stopped: asyncio.Event
) -> list[asyncio.Task[None]]:
    """Start the tasks that run in the background until `stopped` is set."""
    portal = built.portal
    domain_upkeep = DomainUpkeep(
        portal.admin.domains,
        portal.store,
        tenants=portal.registry,
        clock=portal.clock,
    )
    sweep = portal.admin.expiry.sweep
    store_upkeep = StoreUpkeep(portal.store, portal.clock_check, portal.metrics.store, end_expired=sweep)
    loops = [
        upkeep.run,
        event_delivery(portal).run,
        built.database_check.watch,
        store_upkeep.run,
        portal.live_calls.watch,
        portal.session_streams.run,
        portal.user_events.run,
        portal.sockets.watch,
        built.key_ring.run,
        portal.admin.health.run,
        domain_upkeep.run,
    ]
    measuring = (built.measuring.run, portal.metrics.loop_lag.run) if portal.metrics.calls else ()
    return [asyncio.create_task(kept_running(loop, stopped)) for loop in (*loops, *measuring)]


async def open_database(
    built: RunningPortal,
    *,
    upkeep: TenantUpkeep | None = None,
    replaces_worker: bool = False,
    reloads: bool = False,
) -> None:
    """Open the store of a portal and check that it belongs to this configuration.

    Parameters: upkeep, set when the portal will serve: also read the tenants of the database, and return
    names to the tenants that owned them; replaces_worker, whether this process replaces a worker: also check
    its tenants; reloads, whether it does so because settings changed.
    Raises: StartupError.
    """
    store = built.portal.store
    try:
        with startup_failures(built.portal.settings.database):
            await store.open()
            await built.database_check.start()
            if upkeep is not None:
                with without_pauses():
                    await upkeep.read_stored_tenants()
            if upkeep is not None and replaces_worker:
                await upkeep.check_replacement(reloads=reloads)
            if upkeep is not None:
                await upkeep.owners.restore()
    except BaseException:
        await store.close()
        raise


async def close(built: RunningPortal, *, until: float | None = None) -> None:
    """Wait for pending work, then close the clients and the store of a portal.

    Parameters: until, by the clock of the event loop; None: for 15 seconds.
    """
    now = asyncio.get_running_loop().time()
    seconds = _PENDING_TOKENS_SECONDS if until is None else max(0.0, until - now)
    sessions = built.portal.sessions
    await asyncio.gather(built.tokens.wait_until_idle(seconds), sessions.wait_until_idle(seconds))
    await built.portal.admin.close()
    await built.portal.user_events.write_rest()
    await built.relying_party.close()
    await built.portal.logos.close()
    await built.portal.http.close()
    await built.portal.front_ends.close()
    await built.portal.store.close()
    await built.tracing.close()
