"""Rehearses an incident: ten tenants under load, and the provider of one is dead for some minutes.

    python -m bench.incident [--minutes 5] [--how refused|hangs|errors] [--quick] [--write]

Each tenant has a provider of its own. Users of every tenant call the API at a fixed rate. At the tenant whose
provider dies, some users have access tokens that outlive the incident, and the others' tokens expire in it.
Prometheus evaluates the alerts of deploy/prometheus, and a browser looks at the tenant's sign-in page each
second. `--write` puts the figures into docs/operations/incident.md; `--quick` makes everything shorter, to
try the program: the alert is then pending, but does not fire.

The exit code is 1 if a call of another tenant, or one with a valid token, fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from bench.servers import ROOT, free_port, running
from portal.demo.organisations import ORGANISATIONS, portal_client, provider_settings
from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as FaultyResponse
from tests.kit.faulty.parts import signing_key
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.faulty.provider_handlers import faulty_provider_application
from tests.kit.processes import world_outside
from tests.kit.prometheus import Server, prometheus
from tests.kit.world import World

PAGE = ROOT / "docs" / "operations" / "incident.md"
TENANTS = 10
DEAD = "org01"
ALERT = "PortalProviderUnhealthy"
WARNING = "has not worked lately"
_USERS = 2
"""Of each tenant; of the dead one as many again, with tokens that expire."""
_CALLS_PER_SECOND = 5
"""Of each user."""
_LONG_TOKEN = 3_600.0
_BEFORE, _DURING, _AFTER = PHASES = ("before", "during", "after")
_FAULTS = {
    "hangs": EndpointFault(never_responds=True),
    "errors": EndpointFault(response=FaultyResponse(503)),
}


@dataclass(frozen=True)
class Plan:
    """Durations in seconds. `token`: how long the tokens are valid that expire in the incident."""

    outage: float
    around: float
    """How long is measured before the outage, and after the provider works again."""
    token: float
    how: str


class TenantProvider:
    """A tenant's provider, which can die and come back."""

    def __init__(self, provider: FaultyProvider, port: int) -> None:
        self.provider = provider
        self._port = port
        self._server: HTTPServer | None = None
        self.start()

    def start(self) -> None:
        self.provider.faults.endpoints.clear()
        if self._server is None:
            self._server = HTTPServer(faulty_provider_application(self.provider))
            self._server.add_sockets(bind_sockets(self._port, address="127.0.0.1"))

    async def die(self, how: str) -> None:
        """Refuse connections, never respond, or respond with 503."""
        if how in _FAULTS:
            for endpoint in ("discovery", "jwks", "authorize", "token", "userinfo"):
                self.provider.faults.endpoints[endpoint] = _FAULTS[how]
        else:
            await self.stop()

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            await server.close_all_connections()

    def let_tokens_live(self, seconds: float) -> None:
        """Change for how long the access tokens are valid that it issues from now on."""
        self.provider.settings = replace(self.provider.settings, access_token_seconds=seconds)


def make_provider(slug: str, world: World, api: str) -> TenantProvider:
    """Start a provider, and write the file of its tenant."""
    port = free_port()
    organisation = replace(ORGANISATIONS[1], slug=slug, consent_required=False, further_api=None)
    client = portal_client(organisation, portal_url=world.url, secret=f"secret-of-{slug}")
    settings = provider_settings(organisation, issuer=f"http://127.0.0.1:{port}", client=client)
    provider = FaultyProvider(settings, signing_key("incident"))
    (world.parts.tenants_folder / f"{slug}.yaml").write_text(
        f"name: Organisation {slug[3:]}\nissuer: {provider.issuer}\n"
        f"client: {{id: {client.client_id}, secret: secret-of-{slug}}}\n"
        f"scopes: [{', '.join(organisation.scopes)}]\naudience: {organisation.audience}\n"
        f"api: {{base_url: {api}}}\n"
    )
    return TenantProvider(provider, port)


# --- calls


@dataclass
class Timeline:
    """When things happened, in seconds of the monotonic clock; None: not yet."""

    died: float | None = None
    revived: float | None = None
    warned: float | None = None
    pending: float | None = None
    fired: float | None = None
    warning_gone: float | None = None
    alert_gone: float | None = None

    @property
    def phase(self) -> str:
        if self.died is None:
            return _BEFORE
        return _DURING if self.revived is None else _AFTER


@dataclass
class Group:
    """Users whose calls are counted together.

    `milliseconds` of the calls that passed and `results` are by phase; `refused`, when calls were refused
    because the provider did not work, in seconds of the monotonic clock.
    """

    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    results: dict[str, Counter[str]] = field(default_factory=lambda: {phase: Counter() for phase in PHASES})

    refused: list[float] = field(default_factory=list)
    passed_after: float | None = None
    """When the first call passed after the provider had come back and calls had been refused."""

    def failures(self) -> int:
        """How many calls did not pass."""
        return sum(results.total() - results["200"] for results in self.results.values())


class Caller:
    """A user's connection, which calls the API at a fixed rate; waiting for a late call counts."""

    def __init__(self, world: World, slug: str, cookie: str, group: Group, times: Timeline) -> None:
        self._port = int(world.url.rpartition(":")[2])
        self._request = (
            f"GET /t/{slug}/api/200 HTTP/1.1\r\nHost: localhost:{self._port}\r\nCookie: portal={cookie}\r\n"
            "Sec-Fetch-Site: same-origin\r\nX-Portal-CSRF: 1\r\n\r\n"
        ).encode()
        self._group = group
        self._times = times
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, stopped: asyncio.Event) -> None:
        due = time.perf_counter() + 1 / _CALLS_PER_SECOND
        while not stopped.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            phase = self._times.phase
            result = await self._call()
            self._group.results[phase][result] += 1
            if result == "200":
                self._group.milliseconds[phase].append((time.perf_counter() - due) * 1000)
                due += 1 / _CALLS_PER_SECOND
            else:  # an error may have taken 10 seconds: do not count the wait again
                due = time.perf_counter() + 1 / _CALLS_PER_SECOND
            if result == "503 provider_unavailable":
                self._group.refused.append(time.monotonic())
            elif result == "200" and phase == _AFTER and self._group.refused:
                self._group.passed_after = self._group.passed_after or time.monotonic()

    async def _call(self) -> str:
        """The status of a call, and the code of a problem."""
        try:
            if self._stream is None:
                self._stream = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._stream
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._stream = None
            return f"no response: {type(error).__name__}"
        if re.search(r"(?i)\r\nconnection: *close", head):
            writer.close()
            self._stream = None
        status = head.split(" ", 2)[1]
        code = re.search(rb'"code": ?"([a-z_]+)"', body)
        return f"{status} {code[1].decode()}" if status != "200" and code else status


async def sign_in(world: World, provider: TenantProvider, slug: str) -> str:
    """Sign a user in; return the value of the session cookie."""
    browser = world.browser()
    provider.provider.automatic_user = provider.provider.settings.users[0].username
    page = await browser.open(world.at(f"/t/{slug}/login"))
    cookie = browser.cookie("localhost", "portal")
    if page.status != 200 or cookie is None:
        raise SystemExit(f"the sign-in at {slug} failed: {page.status}\n{page.text[:2000]}")
    return cookie


# --- observers


async def watch_page(world: World, times: Timeline, stopped: asyncio.Event) -> None:
    """Look at the sign-in page each second: a new connection may reach any process."""
    while not stopped.is_set():
        browser = Browser()
        page = await browser.open(world.at(f"/t/{DEAD}/"))
        browser.close()
        if WARNING in page.text:
            times.warned, times.warning_gone = times.warned or time.monotonic(), None
        elif times.warned is not None and times.revived is not None:
            times.warning_gone = times.warning_gone or time.monotonic()
        await _pause(stopped, 1.0)


async def watch_alert(server: Server, times: Timeline, stopped: asyncio.Event) -> None:
    """Ask Prometheus for the state of the alert, four times a second."""
    while not stopped.is_set():
        found = (await server.get("alerts"))["alerts"]
        states = {
            one["state"]
            for one in found
            if one["labels"]["alertname"] == ALERT and one["labels"].get("tenant") == DEAD
        }
        now = time.monotonic()
        if states:
            times.pending, times.alert_gone = times.pending or now, None
        elif times.pending is not None:
            times.alert_gone = times.alert_gone or now
        if "firing" in states:
            times.fired = times.fired or now
        await _pause(stopped, 0.25)


async def _pause(stopped: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)


# --- the run


@dataclass
class Run:
    """What was measured."""

    plan: Plan
    times: Timeline = field(default_factory=Timeline)
    others: Group = field(default_factory=Group)
    valid: Group = field(default_factory=Group)
    expiring: Group = field(default_factory=Group)
    log_lines: Counter[str] = field(default_factory=Counter)
    ended: float = 0.0

    def failed(self) -> bool:
        """Whether somebody was affected who must not be."""
        return bool(self.others.failures() or self.valid.failures())


@contextlib.asynccontextmanager
async def _working(*works: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[None]:
    """Do this during the block."""
    stopped = asyncio.Event()
    tasks = [asyncio.ensure_future(work(stopped)) for work in works]
    try:
        yield
    finally:
        stopped.set()
        await asyncio.gather(*tasks)


async def run(plan: Plan, folder: Path) -> Run:
    """Rehearse the incident."""
    made, metrics = Run(plan), f"127.0.0.1:{free_port()}"
    api_port = free_port()
    api = f"http://127.0.0.1:{api_port}"
    outside = world_outside(
        folder / "portal",
        processes=2,
        serves=False,
        changes=lambda settings: replace(settings, metrics_listen=metrics),
    )
    with running([sys.executable, "-m", "bench.api_server", str(api_port)], f"{api}/1"):
        async with outside as (world, served):
            slugs = [f"org{number:02}" for number in range(1, TENANTS + 1)]
            providers = {slug: make_provider(slug, world, api) for slug in slugs}
            try:
                await served.start()
                async with prometheus(folder / "prometheus", metrics) as server:
                    await _rehearse(made, world, providers, server)
                made.log_lines.update(
                    re.findall(r'"event": ?"(provider_(?:unhealthy|healthy|health_unknown))"', served.log)
                )
            finally:
                for provider in providers.values():
                    await provider.stop()
    return made


async def _rehearse(made: Run, world: World, providers: dict[str, TenantProvider], server: Server) -> None:
    plan, times, dead = made.plan, made.times, providers[DEAD]
    callers = []
    for slug, provider in providers.items():
        provider.let_tokens_live(_LONG_TOKEN)
        group = made.valid if slug == DEAD else made.others
        for _ in range(_USERS):
            callers.append(Caller(world, slug, await sign_in(world, provider, slug), group, times))
    dead.let_tokens_live(plan.token)
    for _ in range(_USERS):
        cookie = await sign_in(world, dead, DEAD)
        callers.append(Caller(world, DEAD, cookie, made.expiring, times))
    async with _working(
        *(caller.run for caller in callers),
        lambda stopped: watch_page(world, times, stopped),
        lambda stopped: watch_alert(server, times, stopped),
    ):
        await asyncio.sleep(plan.around)
        print(f"the provider of {DEAD} dies ({plan.how}) for {plan.outage:g} s", flush=True)
        times.died = time.monotonic()
        await dead.die(plan.how)
        await asyncio.sleep(plan.outage)
        print("the provider is back", flush=True)
        dead.start()
        times.revived = time.monotonic()
        await asyncio.sleep(plan.around)
        for _ in range(120):  # the portal asks a provider that failed for long once a minute
            if made.expiring.passed_after and (times.warned is None or times.warning_gone):
                break
            await asyncio.sleep(1.0)
        await asyncio.sleep(2.0)  # Prometheus sees the end of the alert
    made.ended = time.monotonic()


# --- the report


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def report(made: Run) -> str:
    """One page of figures, as Markdown."""
    plan, times, today = made.plan, made.times, datetime.now(UTC).strftime("%Y-%m-%d")
    refused = made.expiring.refused
    first_refused, last_refused = (refused[0], refused[-1]) if refused else (None, None)
    lines = [
        f"{today}, {TENANTS} tenants, {_CALLS_PER_SECOND * (_USERS * TENANTS + _USERS)} calls per second, "
        f"2 processes, SQLite, {os.cpu_count()} processors for everything. The provider of one tenant "
        f"{_HOW[plan.how]} for {plan.outage:g} s.",
        "",
        "| calls | | before | during | after |",
        "|---|---|---:|---:|---:|",
        *_rows("other tenants", made.others),
        *_rows("the tenant, with valid tokens", made.valid),
        *_rows("the tenant, with tokens that expire", made.expiring),
        "",
        "| seconds | after the provider died |",
        "|---|---:|",
        _moment("first call refused (503 `provider_unavailable`)", first_refused, times.died),
        _moment("warning on the sign-in page", times.warned, times.died),
        _moment(f"condition of the alert {ALERT} true", times.pending, times.died),
        _moment("alert fires (1 minute later)", times.fired, times.died),
        "",
        "| seconds | after the provider came back |",
        "|---|---:|",
        _moment("first call with a refreshed token", made.expiring.passed_after, times.revived),
        _moment("last call refused", last_refused, times.revived),
        _moment("warning gone", times.warning_gone, times.revived),
        _moment("condition of the alert no longer true", times.alert_gone, times.revived),
        "",
        "Lines in the log about the health of the provider: "
        + (", ".join(f"{count} × `{name}`" for name, count in sorted(made.log_lines.items())) or "none")
        + ".",
    ]
    return "\n".join(lines)


_HOW = {
    "refused": "refuses connections",
    "hangs": "accepts requests and never responds",
    "errors": "responds with 503",
}


def _rows(name: str, group: Group) -> list[str]:
    def row(text: str, of: Callable[[str], str]) -> str:
        return f"| {name} | {text} | " + " | ".join(of(phase) for phase in PHASES) + " |"

    def passed(phase: str) -> str:
        results = group.results[phase]
        return f"{results['200']:,} of {results.total():,}"

    def milliseconds(share: float) -> Callable[[str], str]:
        return lambda phase: f"{_percentile(group.milliseconds[phase], share):.1f}"

    rows = [row("passed", passed)]
    if name == "other tenants" or not group.refused:
        rows += [row("p50, ms", milliseconds(0.5)), row("p99, ms", milliseconds(0.99))]
    errors: Counter[str] = Counter()
    for results in group.results.values():
        errors.update({key: count for key, count in results.items() if key != "200"})
    for key in sorted(errors):
        rows.append(row(f"`{key}`", lambda phase, key=key: f"{group.results[phase][key]:,}"))  # type: ignore[misc]
    return rows


def _moment(name: str, at: float | None, since: float | None) -> str:
    seconds = f"{at - since:.1f}" if at is not None and since is not None else "not seen"
    return f"| {name} | {seconds} |"


def write(page: Path, text: str) -> None:
    """Replace the figures of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- figures: begin -->")
    _, _, after = rest.partition("<!-- figures: end -->")
    page.write_text(
        f"{before}<!-- figures: begin -->\n{text}\n<!-- figures: end -->{after}", encoding="utf-8"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Rehearses an incident: the provider of one tenant is dead.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the provider is dead")
    parser.add_argument("--how", choices=sorted(_HOW), default="refused")
    parser.add_argument("--quick", action="store_true", help="dead for 75 seconds, to try the program")
    parser.add_argument(
        "--write", action="store_true", help=f"write the figures into {PAGE.relative_to(ROOT)}"
    )
    given = parser.parse_args()
    plan = Plan(given.minutes * 60, around=60.0, token=60.0, how=given.how)
    if given.quick:
        plan = Plan(75.0, around=15.0, token=20.0, how=given.how)
    with tempfile.TemporaryDirectory(prefix="portal-incident-") as folder:
        (Path(folder) / "portal").mkdir()
        made = asyncio.run(run(plan, Path(folder)))
    text = report(made)
    print(text)
    if given.write:
        write(PAGE, text)
    return 1 if made.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
