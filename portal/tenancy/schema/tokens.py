"""Keys of a tenant file for DPoP, UserInfo and the directories of accepted ID tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from portal.config.field_types import expected, refused
from portal.oidc.issuer import is_directory_id
from portal.tenancy.schema.requests import Algorithm

_MAX_DIRECTORIES = 1_000
_DIRECTORY_FORM = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"


def _tenant_ids(value: object) -> tuple[str, ...]:
    """Return directory ids in lower case; an empty tuple accepts any directory."""
    if value == "any":
        return ()
    if value == ["any"]:
        raise refused("is a list that contains any; write tenant_ids: any, without brackets")
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_DIRECTORIES:
        raise expected(f"any, or a list of 1 to {_MAX_DIRECTORIES} directory ids")
    ids = [one.lower() for one in value if isinstance(one, str)]
    if len(ids) != len(value) or not all(map(is_directory_id, ids)):
        raise expected("any, or a list of directory ids such as 72f988bf-86f1-41af-91ab-2d7cd011db47")
    return tuple(dict.fromkeys(ids))


Dpop = Annotated[
    bool,
    Field(
        description=(
            "Whether tokens are bound to a key that the portal generates for each login (DPoP, RFC 9449), so "
            "that a stolen token is useless. Provider and API must support it; the portal refuses token "
            "responses with unbound tokens."
        ),
    ),
]
UserInfo = Annotated[
    bool,
    Field(
        description=(
            "Whether the portal adds the claims of the provider's UserInfo endpoint to those of the ID token "
            "at each sign-in, for providers whose ID tokens contain few claims. Claims of the ID token take "
            "precedence. Default: set by the preset, usually false."
        ),
    ),
]
UserInfoAlgorithms = Annotated[
    list[Algorithm],
    Field(
        min_length=1,
        max_length=13,
        description=(
            "Algorithms with which the UserInfo response must be signed. Without this key, it need not be "
            "signed; a signed response must then use one of id_token_algs."
        ),
    ),
]
TenantIds = Annotated[
    tuple[str, ...],
    PlainValidator(_tenant_ids),
    WithJsonSchema(
        {
            "title": "list of: directory id, or `any`",
            "description": (
                "With preset entra and the shared domain organizations or common: the ids of the directories "
                "whose users may sign in. Required in that case. With any, every user with a Microsoft "
                "account of that kind can sign in, regardless of their organisation."
            ),
            "examples": [["72f988bf-86f1-41af-91ab-2d7cd011db47"]],
            "anyOf": [
                {"const": "any"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": _MAX_DIRECTORIES,
                    "items": {"type": "string", "pattern": _DIRECTORY_FORM},
                },
            ],
        }
    ),
]
