"""Rules for the URLs and addresses to which the portal may send requests, without I/O.

Every refusal is an `OutboundRefused` whose detail begins with the name of the rule.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from portal.errors import OutboundRefused

MAX_URL_LENGTH = 16_384

# A subset of RFC 3986: no userinfo, no percent-encoding and no backslash in the authority, so that all
# parsers find the same host in a URL.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?].*)?",
    re.DOTALL,
)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

_CARRIER_GRADE_NAT = IPv4Network("100.64.0.0/10")  # RFC 6598
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 3.2.1.3
_FUTURE_USE = IPv4Network("240.0.0.0/4")  # RFC 1112 4
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_IPV4_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 2.5.5.1
_UNIQUE_LOCAL = IPv6Network("fc00::/7")  # RFC 4193
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 2.4


def check_url(url: str, *, allow_private_networks: bool) -> None:
    """Refuse a URL to which the portal does not send requests (docs/architecture.md rule 3).

    Of a host name only the syntax is checked here; `check_address` checks its addresses when the portal
    connects.

    Raises: OutboundRefused, which names the rule.
    """
    host = _host_of(url, allow_private_networks)
    if host.startswith("["):
        check_address(host[1:-1], allow_private_networks=allow_private_networks)
        return
    last_label = host.removesuffix(".").rpartition(".")[2]
    if _NUMERIC_LABEL.fullmatch(last_label):
        # WHATWG URL 3.5 «ends in a number checker»: such a host is an IPv4 address in some notation.
        _check_ipv4_literal(host, allow_private_networks)
        return
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")):
        raise OutboundRefused("host: not a host name; write international names in their xn-- form")
    if is_loopback_name(host) and not allow_private_networks:
        raise OutboundRefused(f"loopback: {host} is this machine")


def check_address(address: str, *, allow_private_networks: bool) -> None:
    """Refuse an IP address to which the portal does not connect.

    Private and loopback addresses are allowed with `allow_private_networks`; link-local addresses (where
    clouds serve machine credentials), multicast, unspecified and reserved ones never are.

    Raises: OutboundRefused, which names the rule.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError as error:
        raise OutboundRefused("address: not an IP address") from error
    for candidate in _deciding(ip):
        kind = _kind(candidate)
        if kind is None or (allow_private_networks and kind in {"private", "loopback"}):
            continue
        raise OutboundRefused(f"{kind}: {address} is not an address the portal connects to")


def is_plain_path(path: str) -> bool:
    """Whether this path and query may follow a checked scheme and host: not too long, no fragment."""
    return len(path) <= MAX_URL_LENGTH - 512 and _PATH.fullmatch(path) is not None


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs that `check_url` accepts have the same scheme, host and port (RFC 6454 5)."""
    first, second = urlsplit(one), urlsplit(other)
    usual = {"https": 443, "http": 80}
    return (first.scheme, first.hostname, first.port or usual.get(first.scheme)) == (
        second.scheme,
        second.hostname,
        second.port or usual.get(second.scheme),
    )


def is_loopback_name(host: str) -> bool:
    """Whether the name is `localhost` or below it (RFC 6761 6.3)."""
    name = host.removesuffix(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _host_of(url: str, allow_private_networks: bool) -> str:
    if len(url) > MAX_URL_LENGTH:
        raise OutboundRefused(f"length: a URL has at most {MAX_URL_LENGTH} characters")
    if not _VISIBLE_ASCII.fullmatch(url):
        raise OutboundRefused("characters: a URL may contain visible ASCII characters only")
    scheme = url.partition(":")[0].lower()
    if scheme not in {"https", "http"}:
        raise OutboundRefused("scheme: only https URLs are allowed")
    if "#" in url:
        raise OutboundRefused("fragment: the URL must not have a fragment (#)")
    authority = re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        raise OutboundRefused("userinfo: the URL must not contain a user name or password")
    match = _URL.fullmatch(url)
    if match is None:
        raise OutboundRefused("host: this is not an absolute URL with a plain host name")
    port = match["port"]
    if port is not None and not 1 <= int(port) <= 65535:
        raise OutboundRefused("port: the port must be between 1 and 65535")
    host = match["host"]
    if scheme == "http" and not (allow_private_networks and is_loopback_host(host)):
        raise OutboundRefused("scheme: only https URLs are allowed")
    return host


def is_loopback_host(host: str) -> bool:
    """Whether a host is a loopback name or address, with or without brackets."""
    if is_loopback_name(host):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_ipv4_literal(host: str, allow_private_networks: bool) -> None:
    try:
        IPv4Address(host)
    except ValueError as error:
        raise OutboundRefused(
            "address-form: an IPv4 address is written as four decimal numbers, without leading zeros"
        ) from error
    check_address(host, allow_private_networks=allow_private_networks)


def _deciding(ip: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """Addresses of which none may be refused; the first that is names the rule.

    Newer versions of Python call every 6to4 address private, so what is inside comes first.
    """
    embedded = _embedded_ipv4(ip)
    is_6to4 = isinstance(ip, IPv6Address) and ip.sixtofour is not None
    return (*embedded, ip) if is_6to4 else (ip, *embedded)


def _embedded_ipv4(ip: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses to which packets for this IPv6 address may be delivered."""
    if isinstance(ip, IPv4Address):
        return ()
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if any(ip in network for network in _NAT64) or (ip in _IPV4_COMPATIBLE and int(ip) > 0xFFFF):
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    return ()


def _kind(ip: IPv4Address | IPv6Address) -> str | None:
    """The rule that forbids an address; None for a public one."""
    if ip.is_unspecified:
        return "unspecified"
    if ip.is_loopback:
        return "loopback"
    if ip.is_multicast:
        return "multicast"
    if ip.is_link_local:
        return "link-local"
    return _kind_v4(ip) if isinstance(ip, IPv4Address) else _kind_v6(ip)


def _kind_v4(ip: IPv4Address) -> str | None:
    if ip in _THIS_NETWORK:
        return "unspecified"
    if ip in _FUTURE_USE:
        return "reserved"
    return "private" if ip.is_private or ip in _CARRIER_GRADE_NAT else None


def _kind_v6(ip: IPv6Address) -> str | None:
    if ip in _UNIQUE_LOCAL:
        return "private"
    if ip.ipv4_mapped is not None or ip in _NAT64[0] or ip in _IPV4_COMPATIBLE:
        return None  # its embedded IPv4 address is checked instead
    if ip not in _GLOBAL_UNICAST:
        return "reserved"
    return "private" if ip.is_private else None
