"""The types of settings: addresses, networks, the database."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from portal.config.field_types import expected, refusal, refused
from portal.errors import OutboundRefused
from portal.outbound.url_rules import check_url

Network = IPv4Network | IPv6Network

SQLITE = "sqlite:///"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})")
_MONGO = re.compile(r"mongodb(\+srv)?://[^\s/]+/[^\s/?]+(\?\S*)?")


def _listen(text: str) -> str:
    if re.fullmatch(r"unix:/[^\0]{1,100}", text):
        return text
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise expected("host:port, such as 127.0.0.1:8080, or unix:/run/portal.sock")
    return text


def _public_url(text: str) -> str:
    try:
        check_url(text, allow_private_networks=True)
    except OutboundRefused as error:
        rule, why = refusal(error)
        if rule == "scheme":
            raise refused("must be an https URL (http only for localhost)") from None
        raise refused(f"is refused: {why}") from None
    parts = urlsplit(text)
    if parts.path not in ("", "/") or "?" in text:
        raise expected("a URL without a path: the portal needs its own host name")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    standard = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, standard) else f":{parts.port}")


def _database(text: str) -> str:
    if text.startswith(SQLITE) and len(text) > len(SQLITE) and not text.endswith("/"):
        return text
    if _MONGO.fullmatch(text):
        return text
    raise refused("must be sqlite:///relative/path.db, sqlite:////absolute/path.db or mongodb://host/name")


def _network(text: object) -> Network:
    try:
        if isinstance(text, str):
            return ipaddress.ip_network(text)
    except ValueError:
        pass
    raise expected("an address such as 10.0.0.7 or a network such as 10.0.0.0/24")


_String = WithJsonSchema({"type": "string"})
ListenAt = Annotated[str, AfterValidator(_listen)]
ProxyNetwork = Annotated[Network, PlainValidator(_network), _String]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
