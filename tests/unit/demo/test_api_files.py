"""`/files` of the sample APIs."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import HTTPClientError

from tests.unit.demo.test_api import calling


@pytest.mark.gen_test
async def test_a_file_is_counted_and_its_checksum_returned(signing_key: RSAPrivateKey) -> None:
    content = b"anvil;1\n" * 200_000
    async with calling(signing_key) as caller:
        response = await caller.call("/files", caller.token(("openid",)), method="POST", body=content)
    assert response.code == 201
    assert json.loads(response.body) == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.gen_test
async def test_a_file_needs_an_access_token(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        try:
            code = (await caller.call("/files", "nonsense", method="POST", body=b"x")).code
        except HTTPClientError as error:
            code = error.code
    assert code == 401
