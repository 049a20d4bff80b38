"""The settings of forward authentication, which reverse proxies use (THREATS P3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from portal.config.field_types import expected
from portal.config.validation import FileModel
from portal.secret import Secret

_SECRET = re.compile(r"[\x21-\x7e]{32,512}")


@dataclass(frozen=True, slots=True)
class ForwardAuthSettings:
    """What shows that a request comes from a proxy's own settings, beside `trusted_proxies`."""

    secret: Secret | None = None


def _secret(value: object) -> Secret:
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        raise expected(
            "32 to 512 printable ASCII characters without spaces, such as those of: openssl rand -hex 32"
        )
    return Secret(value)


ProxySecret = Annotated[
    Secret,
    PlainValidator(_secret),
    WithJsonSchema({"type": "string", "minLength": 32, "maxLength": 512, "pattern": "^[!-~]*$"}),
]


class ForwardAuthFile(FileModel):
    """What reverse proxies must send to ask about requests to applications."""

    secret: ProxySecret | None = Field(
        default=None,
        description=(
            "If set, /t/{tenant}/authz responds only to requests with this value in X-Portal-Forward-Auth. "
            "Required where a tenant has forward_auth.token: a browser must not be able to ask for the token "
            "through the proxy. Set PORTAL_FORWARD_AUTH_SECRET rather than writing it into the file."
        ),
    )
