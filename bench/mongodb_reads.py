"""Responds to a MongoDB client's reads of sessions and logins from memory; forwards all else to a server.

    python -m bench.mongodb_reads PORT SERVER_PORT DOCUMENTS

The test server scans whole collections for some queries, so with 10,000 sessions it would be measured, not
the portal. This process holds all documents, and finds them by their key, as MongoDB does.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
Documents = dict[str, dict[str, RawBSONDocument]]


def _load(path: Path) -> Documents:
    """Sessions and logins from a file of `bench.signed_in.write_documents`."""
    documents: Documents = {"sessions": {}, "logins": {}}
    with path.open("rb") as file:
        for raw in bson.decode_file_iter(file, CodecOptions(RawBSONDocument)):
            kind = "logins" if "session" in raw else "sessions"
            documents[kind][raw["_id"]] = raw
    return documents


class Reads:
    """Finds documents by the keys of a command's query; ignores its other conditions."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._ids = itertools.count(1)

    def respond(self, message: bytes) -> bytes | None:
        """The response to a message; None if it is not a read of these documents by their keys."""
        _, request, _, operation = _HEADER.unpack_from(message)
        if operation != _OP_MSG or message[20] != 0:
            return None
        command = bson.decode(message[21 : 21 + struct.unpack_from("<i", message, 21)[0]])
        name = next(iter(command))
        documents = self._documents.get(command[name]) if name in ("find", "aggregate") else None
        if documents is None:
            return None
        stages = command.get("pipeline", [{}, {}])
        query = command["filter"] if name == "find" else stages[0].get("$match", {})
        keys = query["_id"].get("$in", [""]) if isinstance(query.get("_id"), dict) else [""]
        if any(key not in documents for key in keys):
            return None
        found: Iterable[object] = (documents[key] for key in keys)
        if any("$lookup" in stage for stage in stages):
            sessions = self._documents["sessions"]
            found = ({**login, "sessions": [sessions[login["session"]]]} for login in found)  # type: ignore[dict-item,index]
        cursor = {"firstBatch": list(found), "id": bson.Int64(0), "ns": f"{command['$db']}.{command[name]}"}
        body = b"\0\0\0\0\0" + bson.encode({"cursor": cursor, "ok": 1.0})
        return _HEADER.pack(16 + len(body), next(self._ids), request, _OP_MSG) + body


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _serve(port: int, server_port: int, reads: Reads) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        back = asyncio.create_task(_pipe(from_server, writer))
        try:
            while True:
                head = await reader.readexactly(16)
                message = head + await reader.readexactly(_HEADER.unpack(head)[0] - 16)
                response = reads.respond(message)
                (to_server if response is None else writer).write(message if response is None else response)
        except (asyncio.IncompleteReadError, ConnectionError):
            back.cancel()
        finally:
            to_server.close()
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), Reads(_load(Path(sys.argv[3])))))
