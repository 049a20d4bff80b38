"""Documents are decoded once for the same bytes, and never kept when they are damaged."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from portal.stores.mongo.decoding import DecodedDocuments
from portal.stores.mongo.documents import Document, login_document, session_document
from portal.stores.stored_entries import DamagedEntry, EntryReader
from tests.kit.samples import sample_login, sample_session

OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)


class Decoding(DecodedDocuments):
    """Counts how many documents are decoded, and how many are damaged."""

    def __init__(self, *, max_bytes: int = 1_000_000) -> None:
        self.decoded = 0
        self.damaged: list[str] = []
        super().__init__(EntryReader(self), self._count, max_bytes=max_bytes)

    def _count(self, document: RawBSONDocument) -> Document:
        self.decoded += 1
        if document.raw == bytes(raw({"broken": 1}).raw):
            raise DamagedEntry("bson")
        return bson.decode(document.raw, OPTIONS)

    def damaged_entry(self, kind: str) -> None:
        self.damaged.append(kind)

    def operation_refused(self) -> None: ...

    def clock_offset(self, seconds: float) -> None: ...


def raw(document: Document) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document))


def joined(**changes: Any) -> RawBSONDocument:
    return raw({**login_document(sample_login(**changes)), "sessions": [session_document(sample_session())]})


@pytest.mark.gen_test
async def test_the_same_bytes_are_decoded_once() -> None:
    decoding, session, login = Decoding(), sample_session(), sample_login()
    for _ in range(3):
        assert await decoding.read([joined()]) == ({session.id: session}, {login.id: login})
        assert await decoding.read((), [raw(session_document(session))]) == ({session.id: session}, {})
    assert decoding.decoded == 2
    changed = sample_login(version=2)
    assert (await decoding.read([joined(version=2)]))[1] == {login.id: changed}
    assert decoding.decoded == 3


@pytest.mark.gen_test
async def test_damaged_documents_are_reported_at_each_read_and_others_are_returned() -> None:
    decoding, login = Decoding(), sample_login()
    bad_session = raw({**login_document(login), "sessions": [{"_id": "session-1"}]})
    bad_login = raw({**login_document(login), "version": "x"})
    for number in range(1, 4):
        found = await decoding.read([bad_session, bad_login, raw({"broken": 1})])
        assert found == ({}, {login.id: login})
        assert decoding.damaged == ["Session", "Login", "Login"] * number


@pytest.mark.gen_test
async def test_D5_decoded_documents_use_limited_memory_and_a_tenant_evicts_its_own() -> None:
    decoding = Decoding(max_bytes=500_000)
    quiet = joined(tenant="globex")
    await decoding.read([quiet])
    for number in range(50):
        await decoding.read([joined(tenant="acme", subject=str(number), claims={"groups": "g" * 5_000})])
    assert decoding.decoded == 51
    await decoding.read([quiet, joined(tenant="acme", subject="49", claims={"groups": "g" * 5_000})])
    assert decoding.decoded == 51
    await decoding.read([joined(tenant="acme", subject="0", claims={"groups": "g" * 5_000})])
    assert decoding.decoded == 52
