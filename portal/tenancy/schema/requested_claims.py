"""Claims that a tenant asks for one by one (`claims` of OIDC Core 5.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from portal.config.field_types import Text, refused
from portal.config.validation import FileModel


class RequestedClaim(FileModel):
    """What is asked of one claim; empty: that it is there when there is one."""

    essential: bool = Field(default=False, description="Whether the login is of no use without it.")
    value: Text | None = Field(default=None, description="The value it should have.")
    values: list[Text] = Field(
        default_factory=list, max_length=50, description="Values of which it should have one, the best first."
    )

    @model_validator(mode="after")
    def _one_way(self) -> RequestedClaim:
        if self.value is not None and self.values:
            raise refused('is also said by "values"; keep one of the two', key="value")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """The values that will do; empty: any."""
        return tuple(self.values) if self.value is None else (self.value,)

    def asked(self) -> dict[str, object] | None:
        """The member of the `claims` parameter."""
        given: dict[str, object] = {"essential": True} if self.essential else {}
        if self.value is not None:
            given["value"] = self.value
        if self.values:
            given["values"] = self.values
        return given or None


def _few(claims: dict[str, RequestedClaim]) -> dict[str, RequestedClaim]:
    if len(claims) > 50:
        raise refused("asks for more than 50 claims")
    return claims


_Claims = Annotated[dict[Text, RequestedClaim], AfterValidator(_few)]


class RequestedClaimsFile(FileModel):
    """Claims asked for one by one."""

    id_token: _Claims = Field(
        default_factory=dict,
        description="Claims of the ID token. An acr that is essential is checked at every login.",
        examples=[{"acr": {"essential": True, "values": ["urn:acme:two-factors"]}}],
    )
    userinfo: _Claims = Field(default_factory=dict, description="Claims of the UserInfo endpoint.")

    def parameter(self) -> str | None:
        """The `claims` parameter as JSON; None when nothing is asked for."""
        members = {name: _members(claims) for name, claims in self._parts().items() if claims}
        return json.dumps(members, separators=(",", ":")) if members else None

    def essential_acr(self) -> tuple[str, ...] | None:
        """The values of an essential `acr`, empty for any; None when it is not essential."""
        acr = self.id_token.get("acr")
        return acr.wanted if acr is not None and acr.essential else None

    def _parts(self) -> Mapping[str, dict[str, RequestedClaim]]:
        return {"userinfo": self.userinfo, "id_token": self.id_token}


def _members(claims: Mapping[str, RequestedClaim]) -> dict[str, object]:
    return {name: claim.asked() for name, claim in claims.items()}
