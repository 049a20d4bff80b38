"""How many connections each client has. THREATS S15."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from portal.web.server.client_shares import ClientShares


def test_S15_a_client_has_three_quarters_unless_the_settings_say_otherwise() -> None:
    assert ClientShares.of(400, None, ()).most == 300
    assert ClientShares.of(1, None, ()).most == 1
    assert ClientShares.of(400, 7, ()).most == 7


def test_S15_each_client_is_counted_by_itself() -> None:
    shares = ClientShares(2)
    first, second = shares.client("192.0.2.1"), shares.client("192.0.2.2")
    shares.add(first)
    shares.add(first)
    assert not shares.has_place(first)
    assert shares.has_place(second)
    shares.remove(first)
    assert shares.has_place(first)
    shares.remove(first)
    assert not shares._open
    assert not shares.crowded


@pytest.mark.parametrize("address", ["10.1.2.3", "0.0.0.0", ""])
def test_S15_trusted_proxies_and_unknown_clients_are_not_counted(address: str) -> None:
    assert ClientShares(2, (ip_network("10.0.0.0/8"),)).client(address) == ""


def test_S15_a_client_is_crowded_before_it_has_no_place() -> None:
    shares = ClientShares(10)
    client = shares.client("2001:db8::1")
    for _ in range(8):
        shares.add(client)
    assert not shares.crowded
    shares.add(client)
    assert set(shares.crowded) == {client}
    assert shares.has_place(client)
    assert shares.over(client) == 1
