"""A proxy that reads MongoDB's protocol: it presents its server as a replica set, and drops responses.

A driver repeats writes only at a replica set or a cluster, and relies on the server to know the transaction
number of the write. The test server ignores that number, as other servers may: so a write whose response is
dropped here is executed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson

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

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
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
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    request = await _message(reader)
                    command = _command(request)
                    if self.refuses(command):
                        writer.write(_refusal(request))
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

    def _drops(self, command: Document) -> bool:
        if _name(command) not in _WRITES:
            return False
        self.writes.append(command)
        return len(self.writes) == self.drop_at

    def _as_replica_set(self, response: bytes) -> bytes:
        """The response to a greeting, as a primary with sessions would make it."""
        here = f"127.0.0.1:{self.port}"
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


def _refusal(request: bytes) -> bytes:
    error = {"ok": 0.0, "code": 67, "codeName": "CannotCreateIndex", "errmsg": "refused by the test"}
    body = struct.pack("<iB", 0, 0) + bson.encode(error)
    request_id = _HEADER.unpack_from(request)[1]
    return _HEADER.pack(_HEADER.size + len(body), 0, request_id, _OP_MSG) + body


def _name(command: Document) -> str:
    return next(iter(command))


@contextlib.asynccontextmanager
async def mongo_proxy(server_uri: str) -> AsyncIterator[MongoProxy]:
    """Run a proxy before a server, given as connection string without options, during the block."""
    proxy = MongoProxy(int(server_uri.split("/")[2].rpartition(":")[2]))
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
