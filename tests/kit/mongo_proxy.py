"""A proxy that reads MongoDB's protocol: it presents its server as a replica set, and drops responses.

It can also require authentication and TLS, which the test server lacks.

A driver repeats writes only at a replica set or a cluster, and relies on the server to know the transaction
number of the write. The test server ignores that number, as other servers may: so a write whose response is
dropped here is executed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson

from tests.kit.scram import Scram

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_WRITES = {"insert", "update", "delete", "findAndModify"}
_GREETINGS = {"hello", "ismaster", "isMaster"}

Document = dict[str, Any]


class MongoProxy:
    """Forwards the messages of drivers to a server on loopback.

    `drop_at`: which of the next writes to execute without a response, from 1; 0: none. `refuses`: whether a
    command gets the error that a sharded cluster has for it (67, CannotCreateIndex).
    """

    def __init__(self, server_port: int, *, credentials: tuple[str, str] | None, host: str) -> None:
        self._server_port = server_port
        self._credentials = credentials
        self._host = host
        self.authenticated = 0
        """How many connections have authenticated."""
        self.port = 0
        self.drop_at = 0
        self.refuses: Callable[[Document], bool] = lambda command: False
        self.dropped: list[Document] = []
        """The commands of the writes whose responses were dropped."""
        self.writes: list[Document] = []
        """The commands of writes since the last `arm`."""

    def arm(self, drop_at: int) -> None:
        """Drop the response of a write from now on."""
        self.drop_at, self.dropped, self.writes = drop_at, [], []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        scram = None if self._credentials is None else Scram(*self._credentials)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    request = await _message(reader)
                    command = _command(request)
                    if scram is not None and (own := self._authentication(command, scram)) is not None:
                        writer.write(_response_to(request, own))
                        continue
                    if self.refuses(command):
                        writer.write(_response_to(request, _REFUSAL))
                        continue
                    drops = self._drops(command)
                    to_server.write(request)
                    response = await _message(from_server)
                    if drops:
                        self.dropped.append(command)
                        return
                    if _name(command) in _GREETINGS:
                        response = self._as_replica_set(response)
                    writer.write(response)
                    await writer.drain()
        finally:
            writer.transport.abort()
            to_server.close()

    def _authentication(self, command: Document, scram: Scram) -> Document | None:
        """The response of a server that requires authentication; None to forward a command."""
        name = _name(command)
        if name in ("saslStart", "saslContinue"):
            own = (scram.start if name == "saslStart" else scram.finish)(command["payload"])
            self.authenticated += scram.is_done
            return own or {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "failed"}
        if scram.is_done or name in _GREETINGS:
            return None
        return {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": f"{name} needs authentication"}

    def _drops(self, command: Document) -> bool:
        if _name(command) not in _WRITES:
            return False
        self.writes.append(command)
        return len(self.writes) == self.drop_at

    def _as_replica_set(self, response: bytes) -> bytes:
        """The response to a greeting, as a primary with sessions would make it."""
        here = f"{self._host}:{self.port}"
        greeting = _document(response) | {
            "isWritablePrimary": True,
            "ismaster": True,
            "secondary": False,
            "setName": "rs0",
            "setVersion": 1,
            "hosts": [here],
            "primary": here,
            "me": here,
            "logicalSessionTimeoutMinutes": 30,
            "saslSupportedMechs": ["SCRAM-SHA-256"],
        }
        _, request_id, response_to, operation = _HEADER.unpack_from(response)
        start = 36 if operation == _OP_REPLY else 21
        body = response[_HEADER.size : start] + bson.encode(greeting)
        return _HEADER.pack(_HEADER.size + len(body), request_id, response_to, operation) + body


async def _message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    return header + await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


def _document(message: bytes) -> Document:
    """The first document of a message: a command or its response."""
    operation = _HEADER.unpack_from(message)[3]
    if operation == _OP_MSG:
        start = 21  # the flags, and the kind of the first section, which is the command
        assert message[20] == 0
    elif operation == _OP_REPLY:
        start = 36
    else:
        assert operation == _OP_QUERY
        start = message.index(b"\0", 20) + 9
    (size,) = struct.unpack_from("<i", message, start)
    return bson.decode(message[start : start + size])


_command = _document


_REFUSAL = {"ok": 0.0, "code": 67, "codeName": "CannotCreateIndex", "errmsg": "refused by the test"}


def _response_to(request: bytes, document: Document) -> bytes:
    body = struct.pack("<iB", 0, 0) + bson.encode(document)
    return _HEADER.pack(_HEADER.size + len(body), 0, _HEADER.unpack_from(request)[1], _OP_MSG) + body


def _name(command: Document) -> str:
    return next(iter(command))


@contextlib.asynccontextmanager
async def mongo_proxy(
    server_uri: str,
    *,
    credentials: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[MongoProxy]:
    """Run a proxy before a server, given as connection string without options, during the block.

    Parameters: credentials, user and password that clients must have (SCRAM-SHA-256); tls, of the host
    `localhost`.
    """
    server_port = int(server_uri.split("/")[2].rpartition(":")[2])
    host = "127.0.0.1" if tls is None else "localhost"
    proxy = MongoProxy(server_port, credentials=credentials, host=host)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
