"""One RSA key for all tests of the demo, because generating a key is slow."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from portal.demo.provider_keys import new_key


@pytest.fixture(scope="session")
def signing_key() -> RSAPrivateKey:
    return new_key()
