"""Signing in at npm's certified provider."""

from __future__ import annotations

import pytest

from tests.integration.certified import ACME, GLOBEX, INITECH, Client
from tests.integration.conftest import CertifiedWorld


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("client", "proof"), [(ACME, "header"), (GLOBEX, "body"), (INITECH, "none")], ids=("basic", "post", "public")
)
async def test_the_portal_proves_itself_in_each_way_and_shows_the_claims(
    certified: CertifiedWorld, client: Client, proof: str
) -> None:
    browser = certified.portal.browser()
    home = await certified.sign_in(browser, client)
    print(home.text)
    print(await certified.provider.events())
    assert 0
