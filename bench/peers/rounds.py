"""Measures products in turns: every round measures each of them once.

What else happens on the machine then meets all of them alike; a figure is the median over the rounds.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.load import LoadFailed, open_descriptors, resident_bytes
from bench.peers.browser import SignInFailed
from bench.peers.product import Product
from bench.peers.shared_servers import SharedServers

Figures = Mapping[str, float]
"""What one measurement of one product gives."""

_FAILURES = (LoadFailed, SignInFailed, OSError, subprocess.CalledProcessError)
_MOST_FAILURES = 1
"""Failed rounds of a product that is not left out: a busy machine can make a call run into a time limit."""
_AT_REST_SECONDS = 2.0
"""How long the products have to notice that their connections are closed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: rounds, seconds of each load, logins of each round, sessions that take turns."""

    rounds: int
    seconds: int
    logins: int = 100
    sessions: int = 10_000


@dataclass(frozen=True, slots=True)
class Resources:
    """What a product holds at rest: open descriptors, resident bytes, and tasks of its event loop."""

    descriptors: int
    memory: int
    tasks: int


def in_rounds(
    title: str,
    servers: SharedServers,
    products: Sequence[Product],
    rounds: int,
    measure: Callable[[Product], Figures],
) -> dict[str, Figures]:
    """The medians of the figures of each product, by its name.

    A product that fails is reported with the reason, and left out the second time. Round 0 warms up and does
    not count. What the variants of the portal hold at rest before and after the other rounds shows a leak.
    """
    found: dict[str, list[Figures]] = {product.name: [] for product in products}
    failed = Counter[str]()
    before: dict[str, Resources] = {}
    for number in range(rounds + 1):
        for product in products:
            if product.name not in found:
                continue
            try:
                figures = measure(product)
            except _FAILURES as error:
                print(f"{title}, round {number}: {product.name} failed: {str(error).strip()}", flush=True)
                failed[product.name] += 1
                if failed[product.name] > _MOST_FAILURES:
                    del found[product.name]
                    print(f"{title}: {product.name} is left out", flush=True)
                continue
            if number:
                found[product.name].append(figures)
                print(f"{title}, round {number}: {product.name:28} {_line(figures)}", flush=True)
        if number == 0:
            before = _resources_at_rest(servers, [one for one in products if one.name in found])
    for name, after in _resources_at_rest(servers, [one for one in products if one.name in found]).items():
        print(f"{title}: {name} at rest: {compare_resources(before[name], after)}", flush=True)
    return {name: _medians(measured) for name, measured in found.items() if measured}


def _medians(measured: Sequence[Figures]) -> Figures:
    return {key: statistics.median(one[key] for one in measured) for key in measured[0]}


def _line(figures: Figures) -> str:
    return ", ".join(f"{value:,.1f} {key}" for key, value in figures.items())


def _resources_at_rest(servers: SharedServers, products: Sequence[Product]) -> dict[str, Resources]:
    """What each variant of the portal holds when no client, API or provider is connected to it."""
    portals = {product.metrics: product for product in products if product.metrics is not None}
    if portals:
        servers.sign_ins.close()
        for server in (servers.api, servers.issuer):
            _get(f"{server}/close")
        time.sleep(_AT_REST_SECONDS)
    found = {}
    for metrics, product in portals.items():
        descriptors, memory = open_descriptors(product.pid), resident_bytes(product.pid)
        found[product.name] = Resources(descriptors, memory, tasks_of(_get(metrics)))
    return found


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        body: bytes = response.read()
    return body.decode()


def tasks_of(metrics: str) -> int:
    """The number of tasks in the portal's metrics; 0 for a portal that does not count them."""
    found = re.search(r"^portal_tasks ([\d.]+)$", metrics, re.MULTILINE)
    return round(float(found[1])) if found else 0


def compare_resources(before: Resources, after: Resources) -> str:
    """A sentence about what a product holds after a measurement, and what it held before."""
    more = [
        f"{difference} MORE {what}"
        for what, difference in (
            ("descriptors", after.descriptors - before.descriptors),
            ("tasks", after.tasks - before.tasks),
        )
        if difference > 0
    ]
    return (
        f"{after.descriptors} open descriptors, {before.descriptors} before; "
        f"{after.tasks} tasks, {before.tasks} before ({', '.join(more) or 'back to its start'}); "
        f"{after.memory / 1e6:.0f} MB of memory, {before.memory / 1e6:.0f} MB before"
    )
