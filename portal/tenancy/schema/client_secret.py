"""Keys of a tenant file for the client's secrets, of which there are two while one replaces the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from portal.config.field_types import expected, refused
from portal.config.secret_references import SecretValue, secret_value
from portal.config.validation import FileModel

MOST_SECRETS = 2
_TIME = re.compile(r"[2-9]\d{3}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z)?", re.ASCII)


def _expiry(text: object) -> float:
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass  # such as 2027-02-30: the same message as for any other text
    raise expected("a date such as 2027-01-31, or a time in UTC such as 2027-01-31T12:00:00Z")


ExpiryTime = Annotated[
    float,
    PlainValidator(_expiry),
    WithJsonSchema(
        {
            "type": "string",
            "title": "date or time in UTC",
            "pattern": r"^[2-9]\d{3}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z)?$",
            "examples": ["2027-01-31"],
        }
    ),
]
"""Seconds since the epoch, UTC; of a date, its beginning."""


class ClientSecretFile(FileModel):
    """A client secret, and when it expires."""

    value: SecretValue = Field(
        description=(
            "The secret: ${NAME} from the environment, or file:/path (relative to this file's folder)."
        )
    )
    expires_at: ExpiryTime | None = Field(
        default=None,
        description=(
            "When the provider stops accepting the secret: a date (its beginning in UTC) or a time in UTC. "
            "The portal warns 60, 30 and 7 days before."
        ),
        examples=["2027-01-31"],
    )


_SECRETS: TypeAdapter[list[ClientSecretFile]] = TypeAdapter(
    Annotated[list[ClientSecretFile], Field(min_length=1, max_length=MOST_SECRETS)]
)


def _secrets(value: object, info: ValidationInfo) -> tuple[ClientSecretFile, ...]:
    if isinstance(value, Mapping):
        return (ClientSecretFile.model_validate(value, context=info.context),)
    if not isinstance(value, list):
        return (ClientSecretFile.model_construct(value=secret_value(value, info)),)
    secrets = tuple(_SECRETS.validate_python(value, context=info.context))
    if len({one.value for one in secrets}) < len(secrets):
        raise refused("has the same secret twice; the second one is the one that replaces the first")
    return secrets


_TEXT = {"type": "string", "minLength": 1, "examples": ["${ACME_CLIENT_SECRET}", "file:/run/secrets/acme"]}


class _OneOrTwo:
    """Accepts what `_secrets` accepts, and describes it as JSON Schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(
            lambda value, _, info: _secrets(value, info), handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        several = {**handler(schema), "minItems": 1, "maxItems": MOST_SECRETS}
        return {"title": "text, a mapping, or a list of two", "anyOf": [_TEXT, several, several["items"]]}


ClientSecrets = Annotated[tuple[ClientSecretFile, ...], _OneOrTwo()]
"""One secret as text or as a mapping, or a list of one or two mappings."""
