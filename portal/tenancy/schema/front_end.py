"""The key `front_end` of a tenant file (THREATS F2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from portal.config.field_types import Text, refused
from portal.config.load_context import LoadContext
from portal.config.policy_sources import Directive, SafeSource, check_frame_ancestors
from portal.config.validation import FileModel


class FrontEndFile(FileModel):
    """The tenant's own application, served at / on the tenant's `hosts` and nowhere else."""

    directory: Text = Field(
        description=(
            "The folder of its built files, with an index.html; relative to the folder of the tenant file."
        ),
        examples=["../front-ends/acme"],
    )
    csp: Annotated[
        dict[Directive, list[SafeSource]],
        Field(json_schema_extra={"title": "mapping of lists of sources"}),
    ] = Field(
        default_factory=dict,
        description=(
            "Sources that its Content-Security-Policy allows in addition to the portal's origin, by "
            "directive. Not `'unsafe-inline'` and `'unsafe-eval'`."
        ),
    )
    source_maps: bool = Field(default=False, description="Whether files that end with `.map` are served.")

    @model_validator(mode="after")
    def _check(self) -> FrontEndFile:
        check_frame_ancestors(self.csp)
        return self


def _only_in_files(file: FrontEndFile, info: ValidationInfo) -> FrontEndFile:
    if isinstance(info.context, LoadContext) and info.context.open_sealed is not None:
        raise refused("names a folder of the portal's server: only a tenant file can have it")
    return file


FrontEndOption = Annotated[FrontEndFile, AfterValidator(_only_in_files)] | None


def check_hosts(front_end: FrontEndFile | None, hosts: list[str]) -> None:
    """Refuse a front end without hosts: its code would run where other tenants have their sessions."""
    if front_end is not None and not hosts:
        raise refused(
            "needs hosts: it is served on host names of its own, never on the address that all tenants share",
            key="front_end",
        )
