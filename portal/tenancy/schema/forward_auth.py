"""Keys of a tenant file for applications behind the operator's reverse proxy."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from portal.config.field_types import refused
from portal.config.load_context import LoadContext
from portal.config.validation import FileModel
from portal.tenancy.schema.organisation import UserClaim


def _of_the_operator(token: bool, info: ValidationInfo) -> bool:
    if token and isinstance(info.context, LoadContext) and info.context.open_sealed is not None:
        raise refused("only the operator can set this, in a tenant file")
    return token


class ForwardAuthFile(FileModel):
    """What an application behind the operator's reverse proxy learns of a user who is signed in here."""

    claims: list[UserClaim] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "The claims of the user that applications get in X-Auth-Claims. Which user and which tenant it "
            "is, they get in any case."
        ),
        examples=[["name", "email"]],
    )
    token: Annotated[bool, AfterValidator(_of_the_operator)] = Field(
        default=False,
        description=(
            "Whether applications get the user's access token, in Authorization. Only in tenant files, and "
            "only with forward_auth.secret in portal.yaml: the operator decides which programs get tokens."
        ),
    )


def check_forward_auth(forward_auth: ForwardAuthFile, *, dpop: bool) -> None:
    """Refuse access tokens for applications when a provider binds them to a key of the portal.

    Parameters: dpop, whether a provider of the tenant does.
    """
    if forward_auth.token and dpop:
        raise refused(
            "has token: true, but with dpop the access token is bound to a key of the portal: an application "
            "cannot use it",
            key="forward_auth",
        )
