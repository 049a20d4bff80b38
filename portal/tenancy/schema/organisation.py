"""Keys of a tenant file about the organisation: how it looks, which claims count, how long logins last."""

from __future__ import annotations

from pydantic import Field, model_validator

from portal.config.field_types import Color, Duration, Text, refused
from portal.config.validation import FileModel


class BrandingFile(FileModel):
    """How the tenant looks in the portal."""

    color: Color | None = Field(default=None, description="A colour, in quotes.", examples=["#1f6feb"])


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
        description="The claims that the tenant's page shows. Default: all but protocol machinery.",
    )


class SessionFile(FileModel):
    """How long a login lasts. A tenant can only shorten what the portal's settings say."""

    idle: Duration | None = Field(default=None, description="A login unused for this long ends.")
    absolute: Duration | None = Field(default=None, description="A login ends after this long in any case.")

    @model_validator(mode="after")
    def _in_order(self) -> SessionFile:
        for key, value in (("idle", self.idle), ("absolute", self.absolute)):
            if value is not None and value < 1:
                raise refused("must be at least 1s", key=key)
        if self.idle and self.absolute and self.idle > self.absolute:
            raise refused("is longer than absolute", key="idle")
        return self
