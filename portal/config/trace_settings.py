"""The settings of traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from portal.config.field_types import Text, expected
from portal.config.validation import FileModel


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans are sent, and how many."""

    endpoint: str
    sample: float = 1.0
    service_name: str = "tenant-portal"
    continue_proxy_traces: bool = False


def _collector(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.port is None or parts.port > 0
    except ValueError:
        valid = False
    if not valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise expected("an http or https URL, such as http://localhost:4318/v1/traces")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise expected("a URL without user, query and fragment")
    if parts.path in ("", "/"):
        raise expected("a URL with a path, which is /v1/traces at most collectors")
    return text


class TracesFile(FileModel):
    """Where spans are sent, and how many."""

    endpoint: Annotated[Text, AfterValidator(_collector)] = Field(
        description=(
            "The URL of an OpenTelemetry collector that receives spans with OTLP over HTTP, path included, "
            "such as http://localhost:4318/v1/traces."
        )
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0,
        description=("The share of the traces that begin at the portal which are recorded, from 0 to 1."),
        json_schema_extra={"title": "number from 0 to 1", "default": "1"},
    )
    service_name: Text = Field(
        default="tenant-portal", description="The name of this portal among the services of the traces."
    )
    continue_proxy_traces: bool = Field(
        default=False,
        description=(
            "Whether requests from `trusted_proxies` continue the trace that their `traceparent` names, and "
            "are recorded if it says so. Only for proxies that set this header themselves: most pass on what "
            "a client sent."
        ),
    )

    def settings(self) -> TraceSettings:
        """The settings as the portal uses them."""
        return TraceSettings(self.endpoint, self.sample, self.service_name, self.continue_proxy_traces)
