"""CPU time of calls over TLS: persistent connections with small and large responses, and new connections.

    python -m bench.outbound_tls [--calls 2000] [--loop uvloop|asyncio]

The server runs in a separate process; the results are for the client process, one call at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import ssl
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import uvloop

from portal.outbound.client import OutboundClient
from portal.outbound.tls import Tls
from tests.unit.outbound.certificates import issue

_SIZES = {"/small": 200, "/large": 1_000_000, "/new": 200}


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            close = b"Connection: close\r\n" if path == "/new" else b""
            body = b"x" * _SIZES[path]
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (close, len(body), body))
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def _serve(pem: Path, pipe: Pipe) -> None:
    async def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server = await asyncio.start_server(_respond, "127.0.0.1", 0, ssl=context)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def _measure(url: str, calls: int, tls: Tls) -> str:
    client = OutboundClient(allow_private_networks=True)
    try:
        for _ in range(20):
            await client.fetch("GET", url, tenant="acme", max_bytes=2_000_000, tls=tls)
        wall, cpu, thread = time.perf_counter(), time.process_time(), time.thread_time()
        for _ in range(calls):
            response = await client.fetch("GET", url, tenant="acme", max_bytes=2_000_000, tls=tls)
            assert response.status == 200
        taken = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - thread
    finally:
        await client.close()
    wall, cpu, thread = (seconds / calls * 1e6 for seconds in taken)
    return f"{wall:7.0f} us wall {cpu:7.0f} us CPU, {thread:7.0f} us of it in the loop's thread"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    authority = issue("Authority", authority=True)
    server = issue("localhost", authority)
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        pem.write_text(server.private_key() + server.chain)
        process = multiprocessing.Process(target=_serve, args=(pem, theirs), daemon=True)
        process.start()
        url, tls = f"https://localhost:{ours.recv()}", Tls(authority.chain)
        run = uvloop.run if options.loop == "uvloop" else asyncio.run
        for path in _SIZES:
            print(f"{path:8}", run(_measure(url + path, options.calls, tls)))
        process.terminate()


if __name__ == "__main__":
    main()
