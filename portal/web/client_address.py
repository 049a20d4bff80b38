"""Who is at the other end of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


_MOST_HOPS = 32
"""Proxies in a row that are looked at; the rest of the header is what a client may have written."""


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether `address` is one of the operator's own proxies."""
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    return any(peer in network for network in trusted)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of the client: the peer's, or the nearest untrusted one that trusted proxies name."""
    address = peer
    if not trusted or not is_trusted(address, trusted):
        return address
    nearest = forwarded_for.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
    hops = [hop.strip() for hop in nearest if hop.strip()]
    for hop in reversed(hops):
        try:
            ip_address(hop)
        except ValueError:
            return address
        address = hop
        if not is_trusted(hop, trusted):
            break
    return address
