"""CPU time and commits of a complete login, and how long it takes.

    python -m bench.login [--database sqlite|mongodb] [--logins 400] [--rounds 3] [--alg RS256|ES256]
                          [--returning] [--trees FOLDER ...] [--profile]

A login is `GET /t/bench/login`, the token request to a provider in another process, and the callback up to
its redirect. The provider's page and the page that the browser is redirected to are not part of it. Each
login is of a new user and browser, or with `--returning` of one that is signed in already. CPU time is that
of the portal's process in /proc; commits are counted by SQLite itself. `--trees` measures other checkouts in
turns with this one. `--profile` prints where the portal spends the time (cProfile).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import pstats
import re
import secrets
import signal
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from bench.load import cpu_seconds
from bench.proxy import database
from bench.servers import ROOT, free_port, running
from bench.unlimited import unlimited

_CONCURRENCY = (1, 16)
_REQUIRED_MILLISECONDS = 2.0
_REQUIRED_COMMITS = 2.0
_TENANT = """\
name: Bench
issuer: {issuer}
client:
  id: bench
  secret: bench-secret
scopes: [openid, profile, email, offline_access]
api:
  base_url: http://127.0.0.1:9
"""


# --- the provider


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int) -> str:
    return _base64url(value.to_bytes(size, "big"))


class _Signer:
    """Signs ID tokens with one RSA and one P-256 key."""

    def __init__(self) -> None:
        self._rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._ec = ec.generate_private_key(ec.SECP256R1())

    def key_set(self) -> bytes:
        modulus = self._rsa.public_key().public_numbers().n
        point = self._ec.public_key().public_numbers()
        keys = [
            {"kty": "RSA", "kid": "RS256", "use": "sig", "n": _number(modulus, 256), "e": "AQAB"},
            {"kty": "EC", "kid": "ES256", "use": "sig", "crv": "P-256"}
            | {"x": _number(point.x, 32), "y": _number(point.y, 32)},
        ]
        return json.dumps({"keys": keys}).encode()

    def sign(self, alg: str, claims: dict[str, object]) -> str:
        header = json.dumps({"alg": alg, "kid": alg, "typ": "JWT"}).encode()
        message = f"{_base64url(header)}.{_base64url(json.dumps(claims).encode())}"
        if alg == "RS256":
            signature = self._rsa.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = decode_dss_signature(self._ec.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{message}.{_base64url(signature)}"


class _Provider(asyncio.Protocol):
    """A provider whose codes are `{alg}.{user}.{nonce}`: it has no login page and stores nothing."""

    signer: _Signer
    issuer: str
    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        response = self._response(head.split(b" ", 2)[1].decode(), body.decode())
        kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=3600\r\n"
        self._transport.write(kind + b"Content-Length: %d\r\n\r\n" % len(response) + response)

    def _response(self, path: str, body: str) -> bytes:
        if path == "/jwks":
            return self.signer.key_set()
        if path == "/token":
            return json.dumps(self._tokens(parse_qs(body)["code"][0])).encode()
        metadata = {name: f"{self.issuer}/{end}" for name, end in _ENDPOINTS.items()}
        return json.dumps({"issuer": self.issuer, **metadata}).encode()

    def _tokens(self, code: str) -> dict[str, object]:
        alg, user, nonce = code.split(".")
        now = int(time.time())
        times = {"iat": now, "exp": now + 300, "auth_time": now}
        person = {"name": "Ada Lovelace", "email": "ada@bench.example", "email_verified": True}
        claims = {"iss": self.issuer, "aud": "bench", "sub": user, "nonce": nonce, "sid": nonce[:20]}
        return {
            "access_token": "bench-" + "a" * 900,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": "bench-" + "r" * 100,
            "id_token": self.signer.sign(alg, {**claims, **times, **person}),
        }


_ENDPOINTS = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "jwks_uri": "jwks",
    "end_session_endpoint": "logout",
}


async def _serve_provider(port: int) -> None:
    _Provider.signer = _Signer()
    _Provider.issuer = f"http://127.0.0.1:{port}"
    server = await asyncio.get_running_loop().create_server(_Provider, "127.0.0.1", port)
    await server.serve_forever()


# --- the browsers


@dataclass
class Browser:
    """Signs in again and again over one connection; each time with new cookies, unless `returning`."""

    port: int
    alg: str
    returning: bool
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _cookies: dict[str, str] = field(default_factory=dict)
    _user: str = ""

    async def login(self) -> float:
        """Return how many milliseconds a login took."""
        if not self.returning:
            self._cookies.clear()
        if not self._cookies:
            self._user = secrets.token_hex(8)
        begun = time.perf_counter()
        parameters = parse_qs(urlsplit(await self._redirect("/t/bench/login")).query)
        response = {
            "code": f"{self.alg}.{self._user}.{parameters['nonce'][0]}",
            "state": parameters["state"][0],
        }
        target = await self._redirect(f"/t/bench/callback?{urlencode(response)}")
        if target != "/t/bench/":
            raise SystemExit(f"the login led to {target}")
        return (time.perf_counter() - begun) * 1000

    async def _redirect(self, path: str) -> str:
        """Send a request; store the cookies of the response and return its location."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        head = f"GET {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
        head += "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
        head += "Accept: text/html,application/xhtml+xml\r\nSec-Fetch-Dest: document\r\n"
        head += "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n"
        writer.write((head + (f"Cookie: {cookies}\r\n" if cookies else "") + "\r\n").encode())
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        if not text.startswith("HTTP/1.1 303"):
            raise SystemExit(text)
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", text)
        await reader.readexactly(int(length[1]) if length else 0)
        self._cookies |= dict(re.findall(r"(?i)\r\nset-cookie: *([^=]+)=([^;]*)", text))
        return str(re.findall(r"(?i)\r\nlocation: *(\S+)", text)[0])


async def sign_in(browsers: list[Browser], logins: int) -> list[float]:
    """Return the milliseconds of each of so many logins."""
    left = iter(range(logins))

    async def repeat(browser: Browser) -> list[float]:
        return [await browser.login() for _ in left]

    return sorted(chain.from_iterable(await asyncio.gather(*map(repeat, browsers))))


# --- the portal


@dataclass(frozen=True)
class _Portal:
    name: str
    port: int
    process: int
    folder: Path

    def commits(self) -> int | None:
        """Return how many transactions have been committed; None for a database other than SQLite.

        `iChange` of the index of the write-ahead log: see "The WAL-Index Header" in SQLite's walformat.html.
        """
        index = self.folder.parent / "portal.db-shm"
        return cast(int, struct.unpack_from("=I", index.read_bytes(), 8)[0]) if index.exists() else None


@contextlib.contextmanager
def portal_process(
    folder: Path, tree: Path, issuer: str, database_url: str, *, profile: Path | None = None
) -> Iterator[_Portal]:
    (folder / "tenants").mkdir(parents=True)
    (folder / "tenants" / "bench.yaml").write_text(_TENANT.format(issuer=issuer))
    port = free_port()
    (folder / "portal.yaml").write_text(
        f"public_url: http://localhost:{port}\nlisten: 127.0.0.1:{port}\ntenants: {folder}/tenants\n"
        f"database: {database_url}\nkeys: {folder}/keys.json\nallow_private_networks: true\n"
        f"log: {{format: json, level: info}}\n{unlimited(tree)}"
    )
    python = [sys.executable]
    if profile is not None:
        python += ["-m", "cProfile", "-o", str(profile)]
    command = [*python, "-m", "portal", "serve", "--config", str(folder / "portal.yaml")]
    with running(command, f"http://127.0.0.1:{port}/healthz", cwd=tree, PYTHONPATH=str(tree)) as process:
        yield _Portal(tree.name, port, process.pid, folder)
        if profile is not None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@dataclass(frozen=True)
class Measured:
    """One round: per login, milliseconds of CPU and commits; milliseconds that logins took."""

    cpu: float
    commits: float | None
    p50: float
    p99: float


async def _round(portal: _Portal, concurrency: int, logins: int, alg: str, returning: bool) -> Measured:
    browsers = [Browser(portal.port, alg, returning) for _ in range(concurrency)]
    await sign_in(browsers, 2 * concurrency)
    used, commits = cpu_seconds(portal.process), portal.commits()
    took = await sign_in(browsers, logins)
    used = cpu_seconds(portal.process) - used
    made = portal.commits()
    return Measured(
        cpu=used / logins * 1000,
        commits=None if made is None or commits is None else (made - commits) / logins,
        p50=statistics.median(took),
        p99=took[int(len(took) * 0.99)],
    )


def _report(name: str, concurrency: int, rounds: list[Measured]) -> bool:
    cpu = statistics.median(one.cpu for one in rounds)
    counted = [one.commits for one in rounds if one.commits is not None]
    commits = statistics.median(counted) if counted else None
    print(
        f"{name:12} {concurrency:2} at once: {cpu:.2f} ms of CPU a login, "
        f"{'' if commits is None else f'{commits:.2f} commits, '}"
        f"p50 {statistics.median(one.p50 for one in rounds):.1f} ms, "
        f"p99 {statistics.median(one.p99 for one in rounds):.1f} ms; rounds:",
        *(f"{one.cpu:.2f}" for one in rounds),
        flush=True,
    )
    return cpu <= _REQUIRED_MILLISECONDS and (commits is None or commits <= _REQUIRED_COMMITS)


def measure(given: argparse.Namespace, issuer: str, folder: Path) -> bool:
    """Measure all checkouts in turns; return whether this one meets the requirements."""
    with contextlib.ExitStack() as stack:
        portals = []
        for number, tree in enumerate([ROOT, *given.trees]):
            place = folder / str(number)
            place.mkdir()
            url = stack.enter_context(database(given.database, place))
            portals.append(stack.enter_context(portal_process(place / "portal", tree, issuer, url)))
        met = True
        for concurrency in _CONCURRENCY:
            found: dict[_Portal, list[Measured]] = {portal: [] for portal in portals}
            for _ in range(given.rounds):
                for portal, rounds in found.items():
                    rounds.append(
                        asyncio.run(_round(portal, concurrency, given.logins, given.alg, given.returning))
                    )
            results = [_report(portal.name, concurrency, rounds) for portal, rounds in found.items()]
            met = met and results[0]
    return met


def profile_logins(given: argparse.Namespace, issuer: str, folder: Path) -> None:
    path = folder / "profile"
    with (
        database(given.database, folder) as url,
        portal_process(folder / "portal", ROOT, issuer, url, profile=path) as portal,
    ):
        asyncio.run(_round(portal, 4, given.logins, given.alg, given.returning))
    for order in ("tottime", "cumtime"):
        pstats.Stats(str(path)).sort_stats(order).print_stats(90)


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time, commits and duration of a login.")
    parser.add_argument("--database", choices=["sqlite", "mongodb"], default="sqlite")
    parser.add_argument("--logins", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alg", choices=["RS256", "ES256"], default="RS256")
    parser.add_argument("--returning", action="store_true")
    parser.add_argument("--trees", type=Path, nargs="*", default=[])
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.login", "provider", str(port)]
    with tempfile.TemporaryDirectory() as folder, running(command, f"{issuer}/jwks"):
        if given.profile:
            profile_logins(given, issuer, Path(folder))
            return 0
        return 0 if measure(given, issuer, Path(folder)) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["provider"]:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_provider(int(sys.argv[2])))
    sys.exit(main())
