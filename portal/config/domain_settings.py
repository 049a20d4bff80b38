"""The settings of how the portal checks that tenants control the domains that they state."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from portal.config.field_types import expected
from portal.config.validation import FileModel

_ADDRESS_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})")
_PORT = 53


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """Where TXT records are looked up: addresses and ports; none: the system's name servers."""

    nameservers: tuple[tuple[str, int], ...] = ()


def _nameserver(text: object) -> tuple[str, int]:
    try:
        if isinstance(text, str):
            match = _ADDRESS_AND_PORT.fullmatch(text)
            address, port = (match[1] or match[2], int(match[3])) if match else (text, _PORT)
            if 0 < port < 65536:
                return str(ipaddress.ip_address(address)), port
    except ValueError:
        pass
    raise expected("an IP address such as 9.9.9.9, or with a port 127.0.0.1:5353 or [::1]:5353")


NameServerAddress = Annotated[
    tuple[str, int], PlainValidator(_nameserver), WithJsonSchema({"type": "string"})
]


class DomainsFile(FileModel):
    """How the proof of a host name or e-mail domain is looked up."""

    nameservers: list[NameServerAddress] = Field(
        default_factory=list,
        max_length=8,
        description=(
            "The name servers that are asked for the TXT records that prove host names and e-mail domains of "
            "tenants in the database, such as 9.9.9.9. Empty: those of the system. Two different ones make a "
            "forged response less likely to count."
        ),
    )
