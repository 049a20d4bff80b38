"""One RSA key for all tests of the demo, because generating a key is slow."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.kit.rsa_keys import rsa_key


@pytest.fixture(scope="session")
def signing_key() -> RSAPrivateKey:
    return rsa_key(0)
