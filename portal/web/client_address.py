"""The IP address of the client behind trusted proxies."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


_MOST_HOPS = 32
"""Proxies that are considered, nearest first. A client may have written the rest of the header."""
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""Where translators show IPv4 addresses to hosts that have IPv6 only (RFC 6052 2.1)."""


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether `address` is one of the operator's own proxies.

    A socket for both versions of IP shows an IPv4 peer as `::ffff:192.0.2.1` (RFC 4291 2.5.5.2).
    """
    if not trusted:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return any(parsed in network or (mapped is not None and mapped in network) for network in trusted)


def client_address(remote_ip: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of the client: `remote_ip`, or the nearest untrusted address in X-Forwarded-For.

    Some proxies add the port of the client there (`192.0.2.1:50000`, `[2001:db8::1]:50000`).
    """
    address = remote_ip
    if not trusted or not is_trusted(address, trusted):
        return address
    nearest = forwarded_for.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
    hops = [hop.strip() for hop in nearest if hop.strip()]
    for hop in map(_without_port, reversed(hops)):
        try:
            ip_address(hop)
        except ValueError:
            return address
        address = hop
        if not is_trusted(hop, trusted):
            break
    return address


def _without_port(hop: str) -> str:
    """An entry of X-Forwarded-For without the port and the brackets that it may have."""
    if hop.startswith("["):
        host, closed, rest = hop[1:].partition("]")
        return host if closed and ":" in host and (not rest or _is_port(rest)) else hop
    host, colon, port = hop.partition(":")
    return host if colon and "." in host and _is_port(colon + port) else hop


def _is_port(text: str) -> bool:
    """Whether a text is a colon and a number."""
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdecimal()


def client_network(address: str) -> str:
    """The network of an address, for records: /24 of IPv4, /48 of IPv6; empty when the client is unknown."""
    return _network(address, bits=24, bits_of_6=48)


def counted_client(address: str) -> str:
    """What limits count as one client: an IPv4 address, or the /64 of an IPv6 address (RFC 4291 2.5.4).

    A machine usually chooses its IPv6 addresses itself, within a /64. Empty when the client is unknown: what
    is no address, and the unspecified address, which the peer of a Unix socket has.
    """
    return _network(address, bits=32, bits_of_6=64)


def client_networks(address: str) -> tuple[bytes, ...]:
    """The networks that limits count a client in, the smallest first; empty when the client is unknown.

    The first is that of `counted_client`. The others are larger: whoever has many addresses has few of them.
    /32, /24 and /16 of IPv4; /64, /48 and /32 of IPv6.
    """
    parsed = _counted(address)
    if parsed is None:
        return ()
    packed = parsed.packed
    if len(packed) == 4:
        return b"4" + packed, b"4" + packed[:3], b"4" + packed[:2]
    return b"6" + packed[:8], b"6" + packed[:6], b"6" + packed[:4]


def _network(address: str, *, bits: int, bits_of_6: int) -> str:
    parsed = _counted(address)
    if parsed is None:
        return ""
    return str(ip_network((parsed.packed, bits if parsed.version == 4 else bits_of_6), strict=False))


def _counted(address: str) -> IPv4Address | IPv6Address | None:
    """An address, as IPv4 if it is an IPv4 address in the form of IPv6; None when it is of nobody."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if parsed.is_unspecified:
        return None
    if not isinstance(parsed, IPv6Address):
        return parsed
    if parsed in _TRANSLATED:
        return IPv4Address(parsed.packed[-4:])
    return parsed.ipv4_mapped or parsed
