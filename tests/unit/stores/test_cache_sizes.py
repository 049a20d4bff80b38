"""The caches of sessions and logins count at least the memory that their entries take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from portal.stores.model import Login, Session
from portal.stores.mongo.decoding import DecodedDocuments
from portal.stores.mongo.documents import login_document, session_document
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.stored_entries import EntryReader
from tests.kit.memory import kept_memory
from tests.kit.samples import START, sample_login, sample_session

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
ENTRIES = 50

SHAPES: dict[str, Mapping[str, Any]] = {
    "no claims": {"claims": {}, "tokens": ""},
    "usual": {"claims": {"sub": "248289761001", "email": "jane@acme.example", "roles": ["staff", "admin"]}},
    "long tokens": {"tokens": "t" * 8_000},
    "long text": {"claims": {"text": "x" * 4_000}},
    "wide text": {"claims": {"name": "\N{SLIGHTLY SMILING FACE}" * 500}},
    "empty lists": {"claims": {"lists": [[] for _ in range(1_000)]}},
    "empty objects": {"claims": {"objects": [{} for _ in range(1_000)]}},
    "nested lists": {"claims": {"deep": [[[[[["a"]]]]] for _ in range(200)]}},
    "small objects": {"claims": {"objects": [{"a": 1} for _ in range(500)]}},
    "many names": {"claims": {f"n{number}": number for number in range(500)}},
    "short texts": {"claims": {"roles": [f"r{number}" for number in range(1_000)]}},
    "nested objects": {"claims": {"deep": [{"": {"": {"": {}}}} for _ in range(300)]}},
    "pairs": {"claims": {"objects": [{"a": 1, "b": 2} for _ in range(300)]}},
    "numbers": {"claims": {"numbers": [1000 + number for number in range(1_000)]}},
    "fractions": {"claims": {"numbers": [number + 0.5 for number in range(1_000)]}},
}
DEVICES = ["", "Firefox on Linux", "x" * 200, "\N{SLIGHTLY SMILING FACE}" * 100]


def logins(shape: str) -> list[Login]:
    changes = SHAPES[shape]
    return [sample_login(session=f"{number:022}", **changes) for number in range(ENTRIES)]


def sessions(device: str) -> list[Session]:
    return [
        sample_session(id=f"{number:022}", secret_hash=f"{number:064}", device=device)
        for number in range(ENTRIES)
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.gen_test
async def test_D5_rows_of_logins_in_memory_are_not_underestimated(shape: str, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    for login in logins(shape):
        await store.put_login(login)
    memory = store._rows._logins.memory
    with kept_memory() as kept:
        await store.read([], [f"{number:022}:acme" for number in range(ENTRIES)], now=START)
    await store.close()
    assert len(memory._cached) == ENTRIES
    assert kept.bytes < memory._cached.size


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.gen_test
async def test_D5_rows_of_sessions_in_memory_are_not_underestimated(device: str, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    for session in sessions(device):
        await store.add_session(session)
    memory = store._rows._sessions.memory
    with kept_memory() as kept:
        await store.read([f"{number:022}" for number in range(ENTRIES)], [], now=START)
    await store.close()
    assert len(memory._cached) == ENTRIES
    assert kept.bytes < memory._cached.size


@pytest.mark.gen_test
async def test_D5_the_tenants_of_sessions_in_memory_are_not_underestimated(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    tenants = 20
    for number in range(ENTRIES):
        for tenant in range(tenants):
            await store.put_login(sample_login(session=f"{number:022}", tenant=f"t{tenant}", claims={}))
    await store.read(
        [], [f"{n:022}:t{tenant}" for n in range(ENTRIES) for tenant in range(tenants)], now=START
    )
    memory = store._rows._tenants.memory
    with kept_memory() as kept:
        for number in range(ENTRIES):
            await store.list_logins(f"{number:022}", now=START)
    await store.close()
    assert len(memory._cached) == ENTRIES
    assert kept.bytes < memory._cached.size


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.gen_test
async def test_D5_documents_of_logins_in_memory_are_not_underestimated(shape: str) -> None:
    raw = [
        bson.encode({**login_document(login), "sessions": [session_document(session)]})
        for login, session in zip(logins(shape), sessions(DEVICES[1]), strict=True)
    ]
    decoded = DecodedDocuments(EntryReader(), lambda document: bson.decode(document.raw, OPTIONS))
    with kept_memory() as kept:
        for document in raw:
            await decoded.read([RawBSONDocument(bytes(bytearray(document)))])
    assert len(decoded._made) == ENTRIES
    assert kept.bytes < decoded._made.size


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.gen_test
async def test_D5_documents_of_sessions_in_memory_are_not_underestimated(device: str) -> None:
    raw = [bson.encode(session_document(session)) for session in sessions(device)]
    decoded = DecodedDocuments(EntryReader(), lambda document: bson.decode(document.raw, OPTIONS))
    with kept_memory() as kept:
        for document in raw:
            await decoded.read([], [RawBSONDocument(bytes(bytearray(document)))])
    assert len(decoded._made) == ENTRIES
    assert kept.bytes < decoded._made.size
