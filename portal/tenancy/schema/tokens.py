"""Keys of a tenant file about tokens: what binds them, what adds to their claims, whose they may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from portal.config.field_types import expected, refused
from portal.oidc.issuer import is_directory_id
from portal.tenancy.schema.requests import Algorithm

_MOST_DIRECTORIES = 1_000
_DIRECTORY_FORM = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"


def _tenant_ids(value: object) -> tuple[str, ...]:
    """Directory ids in small letters; none stands for any directory."""
    if value == "any":
        return ()
    if value == ["any"]:
        raise refused("is a list with any in it; write tenant_ids: any, without brackets")
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_DIRECTORIES:
        raise expected(f"any, or a list of 1 to {_MOST_DIRECTORIES} directory ids")
    ids = [one.lower() for one in value if isinstance(one, str)]
    if len(ids) != len(value) or not all(map(is_directory_id, ids)):
        raise expected("any, or a list of directory ids such as 72f988bf-86f1-41af-91ab-2d7cd011db47")
    return tuple(dict.fromkeys(ids))


Dpop = Annotated[
    bool,
    Field(
        description=(
            "Whether tokens are bound to a key that the portal makes for each login (DPoP, RFC 9449), so "
            "that a stolen token is of no use. Provider and API have to support it; a provider that responds "
            "with a token that is not bound is refused."
        ),
    ),
]
UserInfo = Annotated[
    bool,
    Field(
        description=(
            "Whether the claims of the provider's UserInfo endpoint are added to those of the ID token at "
            "each sign-in, for providers that put few into ID tokens. What the ID token says wins. "
            "Default: as the preset says, mostly false."
        ),
    ),
]
UserInfoAlgorithms = Annotated[
    list[Algorithm],
    Field(
        min_length=1,
        max_length=13,
        description=(
            "Algorithms with which the UserInfo response must be signed. Without this key it need not be "
            "signed; when it is, it is with one of id_token_algs."
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
                "whose users may sign in. Required there. With any, everybody with a Microsoft account of "
                "that kind can sign in, whichever organisation they belong to."
            ),
            "examples": [["72f988bf-86f1-41af-91ab-2d7cd011db47"]],
            "anyOf": [
                {"const": "any"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": _MOST_DIRECTORIES,
                    "items": {"type": "string", "pattern": _DIRECTORY_FORM},
                },
            ],
        }
    ),
]
