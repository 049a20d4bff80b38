"""The measurements: each is one function that returns one table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.load import LoadFailed, run_wrk
from bench.peers.browser import SignInFailed
from bench.peers.paced import measure_paced
from bench.peers.product import Product
from bench.peers.rounds import Figures, Plan, in_rounds
from bench.peers.shared_servers import SharedServers
from bench.peers.tables import Table, number, ratio

SIZES = {"200 B": 200, "10 KB": 10_000, "1 MB": 1_000_000}
REFERENCE = "mod_auth_openidc"
PORTAL = "portal httptools SQLite"
PACE = 500
"""Calls per second of the paced measurement."""
GIBIBYTE = 1024**3
_MICROSECONDS = "us CPU"
_BEHIND = 1_000_000
"""Added latency in microseconds that only grows while a product gets more calls than it can serve."""


def calls(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time of a proxied call over 32 connections, for responses of three sizes."""
    headers = _signed_in(servers, products)

    def measure(path: int) -> Callable[[Product], Figures]:
        def one(product: Product) -> Figures:
            before = product.cpu_seconds()
            load = run_wrk(f"{product.api}/{path}", headers[product.name], plan.seconds)
            used = product.cpu_seconds() - before
            return {_MICROSECONDS: used / load.calls * 1e6, "calls/s": load.calls / load.seconds}

        return one

    found: dict[str, dict[str, Figures]] = {}
    for size, path in SIZES.items():
        found[size] = in_rounds(f"calls of {size}", servers, products, plan.rounds, measure(path))
    return _calls_table(found, products, plan)


def _calls_table(
    found: Mapping[str, Mapping[str, Figures]], products: Sequence[Product], plan: Plan
) -> Table:
    columns = ["CPU time per call, µs"]
    for size in SIZES:
        columns += [size, "relative"]
    columns += ["relative to the portal, 200 B", "calls per second, 200 B"]
    rows = []
    for product in products:
        cells = [product.name]
        for measured in found.values():
            cells += _with_ratio(measured, product.name, _MICROSECONDS, REFERENCE)
        small = found["200 B"].get(product.name)
        portal = found["200 B"].get(PORTAL)
        cells.append(ratio(small[_MICROSECONDS], portal[_MICROSECONDS]) if small and portal else "")
        cells.append(number(small["calls/s"]) if small else "")
        rows.append(tuple(cells))
    return Table("calls", f"{plan.seconds} s", tuple(columns), tuple(rows))


def _with_ratio(measured: Mapping[str, Figures], name: str, key: str, reference: str) -> tuple[str, str]:
    if name not in measured:
        return "", ""
    value, compared = measured[name][key], measured.get(reference)
    return number(value), ratio(value, compared[key] if compared else None)


def paced(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time and added latency of calls at a fixed rate, far below the limit of most products."""
    headers = _signed_in(servers, products)

    def measure(product: Product) -> Figures:
        direct = measure_paced(f"{servers.api}/200", {}, rate=PACE, seconds=plan.seconds)
        before = product.cpu_seconds()
        url = f"{product.api}/200"
        through = measure_paced(url, headers[product.name], rate=PACE, seconds=plan.seconds)
        return {
            _MICROSECONDS: (product.cpu_seconds() - before) / through.calls * 1e6,
            "us added p50": through.p50 - direct.p50,
            "us added p99": through.p99 - direct.p99,
        }

    found = in_rounds("paced", servers, products, plan.rounds, measure)
    columns = (
        f"{PACE} calls per second, 200 B",
        "CPU per call, µs",
        "relative",
        "added p50, µs",
        "added p99, µs",
    )
    rows = [
        (
            name,
            *_with_ratio(found, name, _MICROSECONDS, REFERENCE),
            *(_latency(figures[key]) for key in ("us added p50", "us added p99")),
        )
        for name, figures in found.items()
    ]
    return Table("paced", f"{plan.seconds} s", columns, tuple(rows))


def _latency(microseconds: float) -> str:
    return number(microseconds) if microseconds < _BEHIND else "falls behind"


def stream(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time and speed of a download and an upload of 1 GiB."""
    headers = _signed_in(servers, products)
    upload = servers.folder / "upload"
    with upload.open("wb") as file:
        file.truncate(GIBIBYTE)

    def measure(product: Product) -> Figures:
        figures: dict[str, float] = {}
        for direction, options in {
            "down": [f"{product.api}/{GIBIBYTE}"],
            "up": ["--request", "POST", "--upload-file", str(upload), f"{product.api}/2"],
        }.items():
            before, begun = product.cpu_seconds(), time.perf_counter()
            _curl(headers[product.name], options, GIBIBYTE if direction == "down" else 2)
            figures[f"CPU s/GiB {direction}"] = product.cpu_seconds() - before
            figures[f"MB/s {direction}"] = GIBIBYTE / 1e6 / (time.perf_counter() - begun)
        return figures

    found = in_rounds("stream", servers, products, plan.rounds, measure)
    upload.unlink()
    columns = ("Stream of 1 GiB", "down, CPU s", "down, MB/s", "up, CPU s", "up, MB/s")
    rows = [(name, *map(number, figures.values())) for name, figures in found.items()]
    return Table("stream", "one download and one upload", columns, tuple(rows))


def _curl(headers: Mapping[str, str], options: Sequence[str], expected: int) -> None:
    command = ["curl", "--silent", "--show-error", "--output", "/dev/null", "--header", "Expect:"]
    command += ["--write-out", "%{http_code} %{size_download}"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    if done.stdout != f"200 {expected}":
        raise LoadFailed(f"curl got {done.stdout}")


def sessions(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time of a call with one session, and with many that take turns."""
    scripts: dict[str, tuple[Path, Path]] = {}
    for product in products:
        try:
            cookies = [product.signed_in(servers)["Cookie"] for _ in range(plan.sessions)]
        except (SignInFailed, OSError) as error:
            print(f"sessions: {product.name} is left out: {error}", flush=True)
            continue
        print(f"sessions: {product.name} has {plan.sessions:,}", flush=True)
        one, many = (servers.make_folder("cookies") / "turns.lua" for _ in range(2))
        write_turns(one, cookies[:1])
        write_turns(many, cookies)
        scripts[product.name] = one, many

    def measure(product: Product) -> Figures:
        figures = {}
        for key, script in zip(("one", "many"), scripts[product.name], strict=True):
            before = product.cpu_seconds()
            load = run_wrk(f"{product.api}/200", product.extra_headers, plan.seconds, script=script)
            figures[key] = (product.cpu_seconds() - before) / load.calls * 1e6
        return figures

    ready = [product for product in products if product.name in scripts]
    found = in_rounds("sessions", servers, ready, plan.rounds, measure)
    columns = ("CPU time per call, µs", "one session", f"{plan.sessions:,} sessions in turn", "relative")
    rows = [
        (name, number(one["one"]), number(one["many"]), ratio(one["many"], one["one"]))
        for name, one in found.items()
    ]
    return Table("sessions", f"{plan.seconds} s", columns, tuple(rows))


def write_turns(script: Path, cookies: Sequence[str]) -> None:
    """Write a script for `wrk` that sends these cookies in turn, and a file with them beside it."""
    values = script.with_suffix(".txt")
    values.write_text("".join(f"{cookie}\n" for cookie in cookies))
    script.write_text(
        "local cookies, turn = {}, 0\n"
        f'for line in io.lines("{values}") do cookies[#cookies + 1] = line end\n'
        "function request()\n"
        "  turn = turn % #cookies + 1\n"
        '  wrk.headers["Cookie"] = cookies[turn]\n'
        "  return wrk.format()\n"
        "end\n"
    )


def login(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time of a complete sign-in: its start, the callback with the code, and the ID token."""
    products = [product for product in products if product.login is not None]

    def measure(product: Product) -> Figures:
        before, begun = product.cpu_seconds(), time.perf_counter()
        for _ in range(plan.logins):
            product.signed_in(servers)
        taken = time.perf_counter() - begun
        used = product.cpu_seconds() - before
        return {"ms CPU": used / plan.logins * 1e3, "ms taken": taken / plan.logins * 1e3}

    found = in_rounds("login", servers, products, plan.rounds, measure)
    rows = [
        (name, *_with_ratio(found, name, "ms CPU", REFERENCE), number(figures["ms taken"]))
        for name, figures in found.items()
    ]
    columns = ("One login after the other", "CPU per login, ms", "relative", "taken, ms")
    return Table("login", f"{plan.logins} logins", columns, tuple(rows))


def _signed_in(servers: SharedServers, products: Sequence[Product]) -> dict[str, dict[str, str]]:
    return {product.name: product.signed_in(servers) for product in products}
