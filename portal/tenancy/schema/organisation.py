"""Keys of a tenant file for branding, displayed claims and session lifetimes."""

from __future__ import annotations

from pydantic import Field, model_validator

from portal.config.field_types import Color, Duration, OutboundUrl, Text, refused
from portal.config.logo_content import LARGEST_TENANT_LOGO
from portal.config.validation import FileModel


class BrandingFile(FileModel):
    """The appearance of the tenant in the portal."""

    color: Color | None = Field(
        default=None,
        description=(
            "The accent colour, in quotes: of the tenant's initials, and of primary buttons on its own pages."
        ),
        examples=["#1f6feb"],
    )
    logo_url: OutboundUrl | None = Field(
        default=None,
        description=(
            f"The https URL of a logo: SVG, PNG, WebP or JPEG, at most {LARGEST_TENANT_LOGO // 1024} KB, and "
            "at most four times as wide as high. The portal fetches it once a day and shows it on white, in "
            "place of the initials; browsers never send a request to that server."
        ),
        examples=["https://www.acme.example/logo.svg"],
    )


class ClaimsFile(FileModel):
    """Which claims the portal shows."""

    name: Text = Field(default="name", description="The claim with the user's name.")
    email: Text = Field(default="email", description="The claim with the user's e-mail address.")
    roles: Text | None = Field(
        default=None,
        description="The claim with the user's roles, which the tenant's page and GET /session show.",
        examples=["https://acme.example/roles"],
    )
    show: list[Text] = Field(
        default_factory=list,
        max_length=50,
        description="The claims that the tenant's page shows. Default: all except protocol claims.",
    )


class SessionFile(FileModel):
    """How long a login lasts. A tenant can only shorten the times in the portal's settings."""

    idle: Duration | None = Field(default=None, description="A login ends when it is unused for this long.")
    absolute: Duration | None = Field(default=None, description="A login always ends after this long.")

    @model_validator(mode="after")
    def _check_durations(self) -> SessionFile:
        for key, value in (("idle", self.idle), ("absolute", self.absolute)):
            if value is not None and value < 1:
                raise refused("must be at least 1s", key=key)
        if self.idle and self.absolute and self.idle > self.absolute:
            raise refused("is longer than absolute", key="idle")
        return self
