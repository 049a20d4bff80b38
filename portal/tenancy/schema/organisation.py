"""Keys of a tenant file for branding, displayed claims and session lifetimes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from portal.config.field_types import Color, Duration, LinkUrl, Name, OutboundUrl, Text, refused
from portal.config.logo_content import LARGEST_TENANT_LOGO
from portal.config.validation import FileModel
from portal.oidc.protocol_claims import PROTOCOL_CLAIMS


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


def _about_the_user(name: str) -> str:
    if name in PROTOCOL_CLAIMS:
        raise refused("is about the token, not about the user")
    return name


UserClaim = Annotated[Text, AfterValidator(_about_the_user)]
"""The name of a claim that is about the user."""


class LinkFile(FileModel):
    """An application of the organisation."""

    title: Name = Field(description="The name of the application.", examples=["Order desk"])
    url: LinkUrl = Field(
        description="Its https URL, or a path of the portal.", examples=["https://orders.acme.example/"]
    )
    description: Text | None = Field(
        default=None, description="What it is for, in one sentence.", examples=["Place and follow orders."]
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
    page: list[UserClaim] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "The claims that `GET /session` gives to pages of a front end; no others are given. Whoever can "
            "run code in such a page can read them. A value above 4 KB is left out."
        ),
        examples=[["department", "locale"]],
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
