"""Key rings of these tests have prepared RSA keys; those of tests/processes are generated."""

from __future__ import annotations

import pytest

from tests.kit.key_making import PreparedKeys


@pytest.fixture(autouse=True)
def _prepared_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.keys.client_key_ring.new_private_jwk", PreparedKeys())
