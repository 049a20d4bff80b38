"""Individually requested claims (the `claims` parameter of OIDC Core 5.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from portal.config.field_types import Text, refused
from portal.config.validation import FileModel


class RequestedClaim(FileModel):
    """The request for one claim; without members, a voluntary claim with any value."""

    essential: bool = Field(default=False, description="Whether the claim is essential.")
    value: Text | None = Field(default=None, description="The requested value.")
    values: list[Text] = Field(
        default_factory=list, max_length=50, description="The requested values, in order of preference."
    )

    @model_validator(mode="after")
    def _check_one_form(self) -> RequestedClaim:
        if self.value is not None and self.values:
            raise refused('conflicts with "values"; keep one of the two', key="value")
        return self

    @property
    def accepted_values(self) -> tuple[str, ...]:
        """The accepted values; empty if any value is accepted."""
        return tuple(self.values) if self.value is None else (self.value,)

    def member(self) -> dict[str, object] | None:
        """Return the value of this claim's member in the `claims` parameter."""
        given: dict[str, object] = {"essential": True} if self.essential else {}
        if self.value is not None:
            given["value"] = self.value
        if self.values:
            given["values"] = self.values
        return given or None


def _limit_count(claims: dict[str, RequestedClaim]) -> dict[str, RequestedClaim]:
    if len(claims) > 50:
        raise refused("requests more than 50 claims")
    return claims


_Claims = Annotated[dict[Text, RequestedClaim], AfterValidator(_limit_count)]


class RequestedClaimsFile(FileModel):
    """Individually requested claims."""

    id_token: _Claims = Field(
        default_factory=dict,
        description="Claims of the ID token. The portal checks an essential acr at every login.",
        examples=[{"acr": {"essential": True, "values": ["urn:acme:two-factors"]}}],
    )
    userinfo: _Claims = Field(default_factory=dict, description="Claims of the UserInfo response.")

    def parameter(self) -> str | None:
        """Return the `claims` parameter as JSON, or None if no claims are requested."""
        members = {name: _members(claims) for name, claims in self._parts().items() if claims}
        return json.dumps(members, separators=(",", ":")) if members else None

    def essential_acr(self) -> tuple[str, ...] | None:
        """Return the accepted values of an essential `acr` (empty: any), or None if it is not essential."""
        acr = self.id_token.get("acr")
        return acr.accepted_values if acr is not None and acr.essential else None

    def _parts(self) -> Mapping[str, dict[str, RequestedClaim]]:
        return {"userinfo": self.userinfo, "id_token": self.id_token}


def _members(claims: Mapping[str, RequestedClaim]) -> dict[str, object]:
    return {name: claim.member() for name, claim in claims.items()}
