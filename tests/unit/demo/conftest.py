"""RSA keys take a while to make: one for all tests of the demo."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from portal.demo.provider_keys import new_key


@pytest.fixture(scope="session")
def signing_key() -> RSAPrivateKey:
    return new_key()
