"""The settings of events: how long they are kept, and where they are delivered."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from portal.config.field_types import Text, check_outbound, expected, refused
from portal.config.load_context import LoadContext, SecretFiles
from portal.config.secret_references import resolve_secret
from portal.config.validation import FileModel, Place
from portal.config.yaml_document import KeyPath
from portal.errors import ConfigurationError, Problem

_DAYS = re.compile(r"([0-9]{1,4})d")
_DAY = 86_400.0
_MOST_DAYS = 3650
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret of Standard Webhooks
_SECRET_BYTES = range(24, 65)


@dataclass(frozen=True, slots=True)
class EventWebhook:
    """The receiver of events. `key` signs them (HMAC-SHA256)."""

    url: str = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EventSettings:
    """How long events are kept, in seconds, and where they are delivered."""

    retention: float = 90 * _DAY
    webhook: EventWebhook | None = None
    log: bool = False


def _retention(text: object) -> float:
    found = _DAYS.fullmatch(text) if isinstance(text, str) else None
    days = int(found[1]) if found else 0
    if not 1 <= days <= _MOST_DAYS:
        raise expected(f"a number of days from 1d to {_MOST_DAYS}d, such as 90d")
    return days * _DAY


Retention = Annotated[
    float,
    PlainValidator(_retention),
    WithJsonSchema({"type": "string", "title": "days", "pattern": "^[0-9]{1,4}d$", "examples": ["90d"]}),
]


class WebhookFile(FileModel):
    """The receiver of events."""

    url: Text = Field(
        description=(
            "The URL that receives events with POST; https. Private addresses need allow_private_networks."
        )
    )
    secret: Text = Field(
        description=(
            "What signs each request, as Standard Webhooks writes it: whsec_ and 24 to 64 random bytes in "
            "Base64. Write ${NAME} or file:/path, not the secret itself."
        )
    )


class EventsFile(FileModel):
    """How long events are kept, and where they are delivered."""

    retention: Retention = Field(
        default=90 * _DAY,
        description="Events that are older are deleted, within an hour; 1d to 3650d.",
        json_schema_extra={"default": "90d"},
    )
    webhook: WebhookFile | None = Field(
        default=None,
        description="The receiver of every event (see [Events](events.md)); null: none.",
    )
    log: bool = Field(
        default=False, description="Whether every event is also written to the log, as a line audit_event."
    )


def event_settings(
    file: EventsFile,
    *,
    folder: Path,
    environ: Mapping[str, str],
    allow_private_networks: bool,
    log_level: str,
    place: Place,
) -> EventSettings:
    """Return the settings with the secret that they refer to.

    Parameters: folder, what the name of a secret file is relative to; log_level, the lowest that is written;
    place, as in `validate`.
    Raises: ConfigurationError.
    """
    if file.log and log_level not in ("debug", "info"):
        path: KeyPath = ("events", "log")
        message = f"events.log has no effect with log.level: {log_level}; events are lines of the level info"
        raise ConfigurationError([Problem(place(path, False), message, path)])
    if file.webhook is None:
        return EventSettings(file.retention, log=file.log)
    context = LoadContext(SecretFiles(folder), environ, allow_private_networks)
    key = "url"
    try:
        url = check_outbound(file.webhook.url, allow_private_networks=allow_private_networks)
        key = "secret"
        secret = _signing_key(resolve_secret(file.webhook.secret, context).reveal())
    except PydanticCustomError as error:
        path = ("events", "webhook", key)
        must = "must be " if error.type == "expected" else ""
        problem = Problem(place(path, False), f"events.webhook.{key} {must}{error.message()}", path)
        raise ConfigurationError([problem]) from None
    return EventSettings(file.retention, EventWebhook(url, secret), file.log)


def _signing_key(text: str) -> bytes:
    """The bytes of a secret in the form of Standard Webhooks."""
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise refused(
            "is not whsec_ and the Base64 of 24 to 64 random bytes; write for instance "
            "whsec_ and the output of: openssl rand -base64 32"
        )
    return key
